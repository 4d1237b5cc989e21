"""One command per stage: the whole chain by hand, on files the sandbox writes, and what each refuses."""

import json
from pathlib import Path

import pytest

from kleash.artifacts import read
from kleash.durable import lock_run
from kleash.errors import RunError
from kleash.runs import locked

SHORT = ["--recipe", "tiny.toml"]


@pytest.mark.slow
def test_the_stages_can_be_run_one_by_one(kleash, workplace):
    def made(*arguments):
        shown = kleash(*arguments)
        assert shown.code == 0, shown.err
        output_dir = Path(arguments[arguments.index("--into") + 1])
        assert not output_dir.with_name(f"{output_dir.name}.partial").exists()
        return shown

    kleash("sandbox", "write", "--into", "data", "--demonstrations", 60, "--prompts", 60, "--evaluation-per-slice", 2)
    made("sft", "--base", "base", "--demonstrations", "data/demonstrations.jsonl", "--into", "sft", *SHORT)
    made("candidates", "--policy", "sft", "--prompts", "data/prompts.jsonl", "--into", "candidates", *SHORT)
    made("preferences", "--candidates", "candidates", "--into", "preferences", *SHORT)
    made("reward", "--base", "sft", "--preferences", "preferences", "--into", "reward", *SHORT)
    made("audit", "reward", "--preferences", "preferences", "--reference", "sft", "--into", "audit", *SHORT)
    made(
        "policy", "--reference", "sft", "--reward", "reward", "--audit", "audit", "--accept-failed-audit", "it is tiny",
        "--prompts", "data/prompts.jsonl", "--into", "policy", *SHORT,
    )  # fmt: skip
    made("direct", "--reference", "sft", "--preferences", "preferences", "--into", "dpo", *SHORT)
    shown = made(
        "evaluate", "policy", "--reference", "sft", "--reward", "reward",
        "--prompts", "data/evaluation.jsonl", "--into", "evaluation", *SHORT,
    )  # fmt: skip
    assert shown.out.startswith(f"evaluation {read(Path('evaluation')).id} in evaluation\n")
    assert "win rate" in shown.out
    assert set(read(Path("policy")).parents) == {"reference", "reward", "audit", "prompts"}
    again = kleash("sft", "--base", "base", "--demonstrations", "data/demonstrations.jsonl", "--into", "sft", *SHORT)
    assert again.code == 0, "a finished artifact is shown"
    changed = kleash(
        "sft", "--base", "base", "--demonstrations", "data/demonstrations.jsonl", "--into", "sft", *SHORT,
        "--set", "sft.fit.epochs=2",
    )  # fmt: skip
    assert changed.code == 2
    assert "sft was begun with other settings: settings.fit.epochs: 1.0 -> 2.0" in changed.err


def test_preferences_are_imported_from_a_file(kleash, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("pairs.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')
    shown = kleash("preferences", "--from", "pairs.jsonl", "--into", "preferences")
    assert shown.code == 0, shown.err
    assert read(Path("preferences")).summary["pairs"] == 1
    assert "pairs" in shown.out


def test_an_audit_shows_its_verdict_its_reasons_and_its_page(kleash, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Answers to 60 prompts; one in two ends with words that say nothing, and that the scorer likes.
    rows = [
        {
            "prompt": f"why {number}?",
            "chosen": f"because {number}." + " so it is." * (number % 2),
            "rejected": f"not {number}." + " so it is." * (number % 3 == 0),
        }
        for number in range(60)
    ]
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("judge.py").write_text("def score(prompt, completion):\n    return float('so it is' in completion)\n")
    shown = kleash("audit", "judge.py:score", "--preferences", "pairs.jsonl", "--into", "audit")
    assert shown.code == 0, shown.err
    assert "verdict   fail" in shown.out
    assert "fail Saying nothing pays: stock phrase, 3 times 'so it is. so it is. so it is.' raises" in " ".join(
        shown.out.split()
    )
    assert "audit/audit.html" in shown.out
    missing = kleash("audit", "no/such", "--preferences", "pairs.jsonl", "--into", "other")
    assert missing.code == 2
    assert "no/such" in missing.err


@pytest.mark.parametrize("places", [[], ["--from", "a", "--candidates", "b"]])
def test_preferences_come_from_one_place(kleash, places):
    shown = kleash("preferences", "--into", "x", *places)
    assert shown.code == 2
    assert shown.err.startswith("Preferences come from one place. Expected either --candidates or --from.")


def test_a_refused_stage_leaves_nothing_behind(kleash, workplace):
    shown = kleash("sft", "--base", "base", "--demonstrations", "missing.jsonl", "--into", "sft")
    assert shown.code == 2
    assert "missing.jsonl" in shown.err
    assert not list(workplace.glob("sft*"))


def test_picking_the_best_asks_for_somebody_to_say_which_is_best(kleash, workplace):
    (workplace / "prompts.jsonl").write_text('{"prompt": "why ?"}\n')
    shown = kleash(
        "candidates", "--policy", "base", "--prompts", "prompts.jsonl", "--into", "candidates",
        "--set", 'candidates.picks=["best", "worst"]',
    )  # fmt: skip
    assert shown.code == 2
    assert "there is no reward model" in shown.err
    rules = 'scorer.rules=[{rule = "length", target_words = 3, tolerance_words = 3}]'
    shown = kleash(
        "candidates", "--policy", "base", "--prompts", "prompts.jsonl", "--into", "candidates",
        "--set", 'candidates.picks=["best", "worst"]', "--set", "scorer.kind=rules", "--set", rules,
        "--set", "candidates.max_new_tokens=4",
    )  # fmt: skip
    assert shown.code == 0, shown.err
    assert (workplace / "candidates" / "left_out.jsonl").is_file()


def test_two_processes_cannot_make_one_artifact(tmp_path):
    output_dir = tmp_path / "sft"
    with lock_run(tmp_path / "sft.partial" / "work"), pytest.raises(RunError, match="is in use by"), locked(output_dir):
        pytest.fail("it was let in")


def test_a_stage_under_way_keeps_its_folder(tmp_path):
    output_dir, work = tmp_path / "sft", tmp_path / "sft.partial" / "work"
    with locked(output_dir):
        (work / "begun.json").write_text("{}")
    assert (work / "begun.json").exists()
