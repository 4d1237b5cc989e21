"""The data and raters of recipes/chat.toml: constraints worded as they are checked, raters who see through noise."""

import importlib.util
import json
import random
import sys
from pathlib import Path
from statistics import fmean

import pytest

from kleash.checks.constraints import INSTRUCTIONS, check_constraints
from kleash.formats import read_prompts

CHAT = Path(__file__).parents[1] / "recipes" / "chat"


def module(name):
    spec = importlib.util.spec_from_file_location(name, CHAT / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture
def raters(monkeypatch):
    monkeypatch.syspath_prepend(str(CHAT))
    yield module("raters")
    sys.modules.pop("gold", None)


make_data = module("make_data")


def written(tmp_path, num_rows):
    rows = [{"instruction": f"Tell me about thing {number}", "input": ""} for number in range(num_rows)]
    (tmp_path / "dolly.json").write_text(json.dumps([*rows, rows[0], {"instruction": "Sum up", "input": "a text"}]))
    make_data.main(str(tmp_path / "dolly.json"), str(tmp_path))


def test_every_prompt_brings_a_check_that_a_loader_reads(tmp_path, capsys):
    written(tmp_path, 600)
    assert "600 of 602 instructions taken" in capsys.readouterr().out
    files = {name: read_prompts(tmp_path / f"{name}.jsonl").records for name in ("prompts", "evaluation_prompts")}
    assert {name: len(rows) for name, rows in files.items()} == {"prompts": 100, "evaluation_prompts": 300}
    asked = [row for rows in files.values() for row in rows]
    assert len({row.text for row in asked}) == 400
    assert {name for row in asked for name in row.check["instructions"]} == set(make_data.KINDS)
    plain = read_prompts(tmp_path / "plain_prompts.jsonl").records
    assert len(plain) == 200
    assert not {row.text for row in plain} & {row.text.partition(". ")[0] + "." for row in asked}


def test_too_small_a_file_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="more than 300 are needed"):
        written(tmp_path, 400)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("punctuation:no_comma", "red and blue"),
        ("startend:quotation", '"red"'),
        ("change_case:english_lowercase", "red"),
        ("change_case:english_capital", "RED"),
        ("detectable_format:title", "<<Red>> is a colour"),
    ],
)
def test_an_answer_that_does_as_it_is_told_passes(name, answer):
    for seed in range(10):
        _, kwargs = make_data.KINDS[name](random.Random(seed))
        assert check_constraints(answer, {"instructions": [name], "kwargs": [kwargs]}).passed
        assert not check_constraints("Red, or blue", {"instructions": [name], "kwargs": [kwargs]}).passed


@pytest.mark.parametrize("name", ["length_constraints:number_words", "length_constraints:number_sentences"])
def test_the_wording_says_the_number_that_is_checked(name):
    for seed in range(30):
        wordings, kwargs = make_data.KINDS[name](random.Random(seed))
        number = next(value for key, value in kwargs.items() if key.startswith("num_"))
        fewer = {"under", "fewer", "below"}
        for wording in wordings:
            assert str(number) in wording
            assert bool(fewer & set(wording.lower().split())) == (kwargs["relation"] == "less than")


def test_kinds_are_left_for_evaluation():
    assert len(make_data.KINDS) == 10
    assert len(set(INSTRUCTIONS) - set(make_data.KINDS)) == 14


def test_raters_see_the_truth_through_noise_and_the_biased_ones_like_length(raters, monkeypatch):
    check = {"kind": "constraints", "instructions": ["punctuation:no_comma"], "kwargs": [{}]}
    monkeypatch.setitem(raters.gold.__globals__, "_checks", lambda: {"Say it.": check})
    good, bad = ([f"{text} {number}" for number in range(300)] for text in ("well then", "well, then"))
    felt = {
        name: [fmean(rate("Say it.", text) for text in texts) for texts in (good, bad)]
        for name, rate in (("unbiased", raters.unbiased), ("biased", raters.biased))
    }
    assert felt["unbiased"][0] - felt["unbiased"][1] == pytest.approx(3.0, abs=0.3)
    assert raters.gold("Say it.", good[0]) == 1.0
    assert raters.biased("Say it.", "one " * 40) - raters.unbiased("Say it.", "one " * 40) == pytest.approx(0.9)
