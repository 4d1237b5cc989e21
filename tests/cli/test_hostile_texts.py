"""Commands over what others wrote: whatever its texts hold, nothing steers the terminal."""

import json

import pytest

from kleash.artifacts import writing
from test_screen import HOSTILE, steering

FILE = HOSTILE.replace("\udc80", "")


@pytest.fixture
def hostile_run(small_run):
    summary = {"verdict": HOSTILE, "algorithm": HOSTILE, "outcome": HOSTILE}
    with writing(small_run / "round-000" / "evaluation", kind="evaluation", parents={}, settings={}) as draft:
        figures = {"n": 2, "win_rate": 0.5, "judge_sft": 0.0, "judge_policy": 1.0}
        draft.summary |= {**summary, "slices": {f"topic={HOSTILE}": figures}, "judge": HOSTILE}
    (small_run / "summary.json").write_text(
        json.dumps({"name": HOSTILE, "outcome": HOSTILE, "slices": {HOSTILE: figures}, "unfinished": [HOSTILE]})
    )
    (small_run / "round-000" / "policy" / FILE).write_text("added")
    return small_run


def command_lines(folder):
    (folder / "pairs.jsonl").write_text(json.dumps({"prompt": FILE, "completion": "a", FILE: 1}) + "\n")
    (folder / "bad.jsonl").write_text(json.dumps({FILE: "\x1b[2J"}) + "\n")
    (folder / "bad.csv").write_text(f'"{FILE}",prompt\n"{FILE}"\n')
    (folder / "bad.toml").write_text(f'name = {json.dumps(FILE)}\nbase = "\\u001b[2J"\n')
    (folder / FILE).mkdir()
    yield 0, ("data", "check", folder / "pairs.jsonl")
    yield 2, ("data", "check", folder / "pairs.jsonl", "--slice", HOSTILE)
    yield 2, ("data", "check", folder / "pairs.jsonl", "--format", HOSTILE)
    yield 2, ("data", "check", folder / "bad.jsonl")
    yield 2, ("data", "check", folder / "bad.csv")
    yield 2, ("data", "check", folder / f"{FILE}.jsonl")
    yield 2, ("recipe", "check", folder / "bad.toml")
    yield 2, ("run", folder / "bad.toml", "--name", HOSTILE)
    yield 0, ("summary", "small")
    yield 0, ("summary", "small", "--json")
    yield 0, ("lineage", "small")
    yield 2, ("lineage", "small", "--label", HOSTILE)
    yield 1, ("verify", "small")
    yield 2, ("verify", FILE)
    yield 2, ("summary", FILE)
    yield 2, ("sample", folder / FILE, "--prompt", HOSTILE)
    yield 2, ("collect", "status", FILE, "--store", folder / f"{FILE}.sqlite")
    yield 2, (f"no{FILE}",)
    yield 2, ("summary", f"--{FILE}")


def test_no_command_passes_on_what_steers(kleash, hostile_run, tmp_path):
    for code, line in command_lines(tmp_path):
        shown = kleash(*line)
        assert not steering(shown.out + shown.err), line
        assert shown.code == code, (line, shown.err)
        assert any(sign in shown.out + shown.err for sign in ("␛[2J", "\\x1b[2J", "\\u001b[2J")), (line, shown)


def test_a_functions_words_are_shown_harmless(kleash, tmp_path, monkeypatch, sandbox_model):
    (tmp_path / "mine.py").write_text(f"def score(prompt, completion):\n    raise ValueError({HOSTILE!r})\n")
    shown = kleash("compare", sandbox_model, sandbox_model, "--prompt", "hi", "--scorer", f"{tmp_path}/mine.py:score")
    assert shown.code == 2
    assert "raised ValueError: a␛[2J" in shown.err
    assert not steering(shown.err)


def test_a_name_is_shown_as_it_was_typed(kleash, workplace):
    shown = kleash("run", "tiny.toml", "--name", "[bold]c", "--set", 'stages=["world"]')
    assert shown.code == 0, shown.err
    assert "runs/[bold]c: world" in shown.err
