"""Checks as a reward: by hand for every kind of row, what is refused, and what travels from a file to the score."""

import json

import pytest

from kleash.checks.code import CodeLimits
from kleash.errors import DataError
from kleash.evaluation.suites.reading import read_suite, require_checks
from kleash.formats import read_completions, read_prompts, write_jsonl
from kleash.records import Completion, Prompt
from kleash.scorers.checks import CheckScorer

TWO = {
    "kind": "constraints",
    "instructions": ["punctuation:no_comma", "change_case:english_lowercase"],
    "kwargs": [{}, {}],
}


def answered(text, check):
    return Completion(Prompt("p", check=check), text)


def totals(check, *texts, **settings):
    return CheckScorer(**settings).score([answered(text, check) for text in texts]).total


def test_a_list_of_instructions_scores_the_share_that_is_followed_or_all_or_nothing():
    texts = ("so it is", "So it is", "So, it is")
    assert totals(TWO, *texts) == [1.0, 0.5, 0.0]
    assert totals(TWO, *texts, passing="all") == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [
        ({"kind": "numeric", "expected": "1,200"}, "It is 1200.", "It is 120."),
        ({"kind": "exact", "expected": "Paris"}, "Paris", "London"),
        ({"kind": "regex", "pattern": r"\d{4}"}, "in 1984", "in '84"),
        ({"kind": "says", "expected": ["Canberra"]}, "It is Canberra.", "It is Sydney."),
        ({"kind": "refuses"}, "I'm sorry, but I can't help with that.", "Sure, here is how."),
    ],
)
def test_any_kind_of_check_scores_1_or_0(check, right, wrong):
    assert totals(check, right, wrong) == [1.0, 0.0]


def test_what_a_check_cannot_tell_scores_0_and_is_counted():
    scores = CheckScorer().score([answered("it is 3,14", {"kind": "numeric", "expected": 3})])
    assert (scores.total, scores.parts["unchecked"]) == ([0.0], [1.0])


def test_programs_run_only_where_the_settings_allow_it():
    check = {"kind": "code", "tests": "assert add(1, 2) == 3", "entry_point": "add"}
    program = "```python\ndef add(a, b):\n    return a + b\n```"
    refused = CheckScorer().score([answered(program, check)])
    assert (refused.total, refused.parts["unchecked"]) == ([0.0], [1.0])
    limits = CodeLimits(is_allowed=True, without_box=True)
    assert totals(check, program, program.replace("+", "-"), limits=limits) == [1.0, 0.0]


def test_a_prompt_without_a_check_and_one_that_nobody_knows_are_refused():
    with pytest.raises(DataError, match=r"The prompt 'p' brings no check .* Expected a row with \"check\""):
        totals({}, "x")
    with pytest.raises(DataError, match=r"There is no check 'numerc'.*Did you mean numeric"):
        totals({"kind": "numerc", "expected": 1}, "x")


ROWS = {
    "own": ({"prompt": "q", "check": {"kind": "exact", "expected": "a"}}, "a"),
    "ifeval": ({"prompt": "q", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}, "no comma"),
    "gsm8k": ({"question": "q", "answer": "2 + 2 = 4\n#### 4"}, "It is 4."),
    "xstest": ({"prompt": "q", "type": "t", "focus": "f", "label": "unsafe"}, "I'm sorry, but I can't help with that."),
}


@pytest.mark.parametrize("layout", ROWS)
def test_a_rows_check_travels_with_its_prompt_as_a_suite_reads_it(layout, tmp_path):
    row, right = ROWS[layout]
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    [prompt] = read_prompts(tmp_path / "rows.jsonl").records
    [item] = read_suite(tmp_path / "rows.jsonl").items
    assert dict(prompt.check) == {"kind": item.check, **item.params}
    assert require_checks(tmp_path / "rows.jsonl") == 1
    write_jsonl(tmp_path / "answers.jsonl", [Completion(prompt, right, finish_reason="stop")])
    kept = read_completions(tmp_path / "answers.jsonl").records
    assert CheckScorer().score(kept).total == [1.0]
    assert kept[0].prompt == Prompt("q"), "a check is no part of what a prompt is"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "b", "check": {"kind": "regex", "pattern": "("}}, r"rows.jsonl:2: its check regex fails"),
        ({"prompt": "b", "check": {"kind": "numeric"}}, r"rows.jsonl:2: The check numeric lacks expected"),
        ({"prompt": "b", "check": "yes"}, r"rows.jsonl:2: 'check' is 'yes'"),
        ({"prompt": "b"}, r"rows.jsonl:2: has no check"),
        (
            {"prompt": "b", "check": {**TWO, "instructions": ["language:response_language"], "kwargs": [{}]}},
            r"1 of the 2 prompts .* bring no check that a rule can do.*'b': no check for language:response_language",
        ),
    ],
)
def test_rows_that_cannot_be_checked_are_refused_by_their_line(row, message, tmp_path):
    rows = [{"prompt": "a", "check": {"kind": "exact", "expected": "a"}}, row]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    with pytest.raises(DataError, match=message):
        require_checks(tmp_path / "rows.jsonl")
