"""data check, and the sandbox's commands."""

from pathlib import Path

import pytest


@pytest.fixture
def pairs(tmp_path):
    file = tmp_path / "pairs.jsonl"
    file.write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n{"prompt": "d", "chosen": "e"}\n')
    return file


def test_data_check_says_what_a_file_is_and_which_rows_are_bad(kleash, pairs):
    shown = kleash("data", "check", pairs)
    assert shown.code == 0, shown.err
    assert "preferences (format" in shown.out
    assert "line 2" in shown.out


def test_data_check_strict_exits_with_2(kleash, pairs):
    shown = kleash("data", "check", pairs, "--strict")
    assert shown.code == 2
    assert f"{pairs}:2" in shown.err


def test_data_check_reads_a_file_as_what_it_is_told(kleash, pairs):
    assert "demonstrations (format" in kleash("data", "check", pairs, "--kind", "demonstrations").out
    shown = kleash("data", "check", pairs, "--kind", "poems")
    assert shown.code == 2
    assert shown.err.startswith("There is no kind 'poems'. Expected one of prompts, ")


def test_data_check_measures_in_tokens(kleash, pairs, sandbox_model):
    assert "length in tokens" in kleash("data", "check", pairs, "--tokenizer", sandbox_model).out


def test_sandbox_show_prices_answers(kleash):
    shown = kleash("sandbox", "show")
    assert shown.code == 0
    assert "flattering" in shown.out


def test_sandbox_write_writes_files_that_check_understands(kleash, tmp_path):
    folder = tmp_path / "data"
    shown = kleash("sandbox", "write", "--into", folder, "--demonstrations", 20, "--prompts", 30)
    assert shown.code == 0, shown.err
    files = [Path(line) for line in shown.out.splitlines()]
    assert {file.name for file in files} >= {"demonstrations.jsonl", "prompts.jsonl"}
    assert len((folder / "prompts.jsonl").read_text().splitlines()) == 30
    assert kleash("data", "check", folder / "demonstrations.jsonl").code == 0


@pytest.mark.slow
def test_sandbox_base_trains_a_model_folder(kleash, tmp_path):
    shown = kleash("sandbox", "base", "--into", tmp_path / "base", "--steps", 1)
    assert shown.code == 0, shown.err
    assert (tmp_path / "base" / "model.safetensors").is_file()
    again = kleash("sandbox", "base", "--into", tmp_path / "base", "--steps", 1)
    assert again.code == 2
    assert "exists already. Expected a folder to be made." in again.err


def test_data_check_reads_conversations_without_an_answer_as_prompts(kleash, tmp_path):
    file = tmp_path / "evaluation.jsonl"
    file.write_text('{"messages": [{"role": "user", "content": "Why?"}]}\n' * 3)
    shown = kleash("data", "check", file)
    assert shown.code == 0, shown.err
    assert "prompts (format messages)" in shown.out


def test_commands_say_what_they_left_out(pairs, tmp_path):
    import subprocess
    import sys

    command = ["import", "preferences", str(pairs), "--into", str(tmp_path / "made"), "--origin", "us"]
    done = subprocess.run([sys.executable, "-m", "kleash", *command], capture_output=True, text=True, check=True)
    assert f"{pairs}: 2 rows of the format trl-preference gave 1 preferences; bad rows left out: 1" in done.stderr
