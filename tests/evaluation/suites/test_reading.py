"""Suite files to items: our own rows, public sets as published, and every fault named before anything is sampled."""

import json
from pathlib import Path

import pytest

from kleash.errors import DataError
from kleash.evaluation.suites.reading import find_suite, read_suite
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
