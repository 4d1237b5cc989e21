"""Suite files to items: our own rows, public sets as published, and every fault named before anything is sampled."""

import json
from pathlib import Path

import pytest

from kleash.checks.code import CodeLimits
from kleash.errors import DataError
from kleash.evaluation.suites.reading import find_suite, read_suite
from kleash.evaluation.suites.running import judge_answer, with_limits
from kleash.records import Message

FIXTURES = Path(__file__).parents[2] / "fixtures" / "formats"
PLAIN = {"prompt": "2 + 2?", "check": {"kind": "numeric", "expected": 4}}


@pytest.fixture
def suite_of(tmp_path):
    """Return a function that writes rows as a suite and reads it."""

    def write_and_read(*rows):
        path = tmp_path / "mine.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return read_suite(path)

    return write_and_read


def test_a_row_of_our_own_with_everything(suite_of):
    suite = suite_of(
        {
            "id": 7,
            "prompt": [{"role": "user", "content": "2 + 2?"}],
            "slices": {"topic": "sums"},
            "bucket": "honesty",
            "measure": "sums",
            "follow_up": "Are you sure?",
            "pair": "p",
            "variant": "in words",
            "check": {"kind": "numeric", "expected": 4, "tolerance": 0.5},
        }
    )
    [item] = suite.items
    assert (suite.name, item.suite, item.id, item.bucket, item.measure) == ("mine", "mine", "7", "honesty", "sums")
    assert (item.follow_up, item.pair, item.variant) == ("Are you sure?", "p", "in words")
    assert item.prompt.content == (Message("user", "2 + 2?"),)
    assert item.prompt.slices == {"topic": "sums"}
    assert (item.check, item.params) == ("numeric", {"expected": 4, "tolerance": 0.5})


def test_a_row_without_an_id_gets_one_from_its_content(suite_of):
    first = suite_of(PLAIN).items[0]
    assert (first.bucket, first.measure) == ("tasks", "correct")
    assert suite_of({**PLAIN, "slices": {"topic": "sums"}}).items[0].id == first.id
    assert suite_of({**PLAIN, "check": {"kind": "numeric", "expected": 5}}).items[0].id != first.id


def test_gsm8k_and_ifeval_are_read_as_published():
    [first, *_] = read_suite(FIXTURES / "gsm8k.jsonl").items
    assert (first.check, first.params, first.measure) == ("numeric", {"expected": "72"}, "correct")
    assert first.prompt.text.startswith("Natalia sold clips")
    [jokes, *_] = read_suite(FIXTURES / "ifeval.jsonl").items
    assert jokes.id == "1107"
    assert jokes.params["instructions"] == ["punctuation:no_comma", "combination:two_responses"]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"prompt": "a", "check": "exact"}, r"mine.jsonl:2: 'check' is 'exact' \(write"),
        ({"prompt": "a", "check": {"kind": "exact"}}, r"mine.jsonl:2: The check exact lacks expected"),
        (
            {"prompt": "a", "check": {"kind": "regex", "pattern": "("}},
            "its check regex fails: PatternError|error: missing",
        ),
        ({"prompt": 3, "check": PLAIN["check"]}, "'prompt' is 3, neither text nor messages"),
        ({**PLAIN, "bucket": "wit"}, "'bucket' is 'wit', not one of tasks, safety"),
        ({**PLAIN, "check": {"kind": "code", "tests": "", "limits": {}}}, "The check code has limits"),
    ],
)
def test_a_faulty_row_is_refused_with_its_place(suite_of, row, fault):
    with pytest.raises(DataError, match=r"1 of the 2 rows of the suite .*cannot be used.*Correct or remove") as refused:
        suite_of(PLAIN, row)
    refused.match(fault)


def test_gsm8k_without_its_mark_is_refused(suite_of):
    with pytest.raises(DataError, match="its answer has no '####' before the result"):
        suite_of({"question": "2 + 2?", "answer": "4"})


def test_an_item_may_stand_in_a_suite_once(suite_of):
    with pytest.raises(DataError, match=r"holds the id [0-9a-f]{16} more than once\. Expected each item once"):
        suite_of(PLAIN, PLAIN)


def test_a_file_that_is_no_suite_is_refused(suite_of):
    with pytest.raises(
        DataError, match=r"is not understood as a suite: its columns are prompt, chosen\. Expected one of"
    ):
        suite_of({"prompt": "a", "chosen": "b"})


def test_a_suite_is_a_file_or_one_that_comes_with_kleash():
    assert find_suite("safety").is_file()
    with pytest.raises(DataError, match=r"There is no suite safty: no such file.*one of honesty, safety"):
        find_suite("safty")


HUMANEVAL = {
    "task_id": "HumanEval/900",
    "prompt": 'from typing import List\n\n\ndef total(xs: List[int]) -> int:\n    """Return the sum."""\n',
    "entry_point": "total",
    "canonical_solution": "    return sum(xs)\n",
    "test": "\n\nM = {}\n\ndef check(candidate):\n    assert candidate([1, 2]) == 3\n    assert candidate([]) == 0\n",
}  # fmt: skip
MBPP = {
    "task_id": 602,
    "text": "Write a function to find the first repeated character in a given string.",
    "code": "def first_repeated_char(s):\n    return next((c for n, c in enumerate(s) if c in s[:n]), None)",
    "test_list": ['assert first_repeated_char("abcabc") == "a"', 'assert first_repeated_char("abc") == None'],
    "test_setup_code": "",
    "challenge_test_list": [],
}  # fmt: skip
SANITIZED = {
    "task_id": 2,
    "source_file": "x.ipynb",
    "prompt": "Write a function to get the area of a circle.",
    "code": "import math\ndef area(r):\n    return math.pi * r * r",
    "test_imports": ["import math"],
    "test_list": ["assert math.isclose(area(1), math.pi, rel_tol=0.001)"],
}


@pytest.mark.parametrize(
    ("row", "right", "wrong"),
    [
        (HUMANEVAL, HUMANEVAL["canonical_solution"], "    return 0\n"),
        (MBPP, MBPP["code"], "def first_repeated_char(s):\n    return 'a'"),
        (SANITIZED, f"```python\n{SANITIZED['code']}\n```", "```python\ndef area(r):\n    return 3 * r\n```"),
    ],
)
def test_humaneval_and_mbpp_run_as_they_are(suite_of, row, right, wrong):
    [item] = suite_of(row).items
    assert (item.id, item.check, item.measure) == (str(row["task_id"]), "code", "tests_passed")
    item = with_limits(item, CodeLimits(is_allowed=True))
    assert judge_answer(item, right).passed is True
    assert judge_answer(item, wrong).passed is False
