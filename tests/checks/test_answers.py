"""Short answers, worked by hand: what passes, what does not, and what cannot be said."""

import pytest

from kleash.checks.answers import check_exact, check_grounded, check_numeric, check_regex, last_number


@pytest.mark.parametrize(
    ("answer", "params", "passes"),
    [
        ("  no ,\nnever ", {"expected": "no , never"}, True),
        ("No", {"expected": "no"}, False),
        ("No", {"expected": ["yes", "no"], "ignore_case": True}, True),
        ("no.", {"expected": "no"}, False),
        ("no.", {"expected": "no", "ignore_punctuation": True}, True),
        ("no and yes", {"expected": "no"}, False),
        ("", {"expected": "no"}, False),
    ],
)
def test_exact(answer, params, passes):
    assert check_exact(answer, params).passed is passes


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("48/2 = <<48/2=24>>24 clips\n#### 72", "72"),
        ("It is 3, no, 1,234.50 dollars.", "1234.50"),
        ("from 10-3 we get -7", "-7"),
        ("#### $1,000 in 3 days", "1000"),
        ("#### none, though 5 before", "5"),
        (".5", "0.5"),
        ("no number", None),
    ],
)
def test_the_last_number_is_found(text, number):
    found = last_number(text)
    assert (None if found is None else str(found)) == number


def test_numeric_tolerance_and_what_cannot_be_checked():
    assert check_numeric("about 3.14", {"expected": 3.14159, "tolerance": 0.01}).passed
    assert not check_numeric("about 3.1", {"expected": 3.14159, "tolerance": 0.01}).passed
    assert check_numeric("72", {"expected": "72.0"}).passed, "numbers are compared, not their texts"
    assert check_numeric("I cannot say", {"expected": "7"}).detail == "no number; expected 7"
    assert check_numeric("7", {"expected": "seven"}).passed is None


def test_regex():
    assert check_regex("The answer is (B).", {"pattern": r"answer is \(B\)"}).passed
    assert not check_regex("B or C", {"pattern": "[A-D]", "whole": True}).passed
    assert check_regex(" b ", {"pattern": "[A-D]", "whole": True, "ignore_case": True}).passed


PASSAGES = ["The heron stands in shallow water.", "It eats fish, frogs and\nvoles."]


@pytest.mark.parametrize(
    ("answer", "params", "fault"),
    [
        ('It eats frogs: "fish, frogs and voles."', {"expected": "frogs", "min_citations": 1}, None),
        ("It eats frogs.", {"expected": "frogs", "min_citations": 1}, "0 citations, expected 1 or more"),
        ('It eats frogs: "frogs and mice".', {"expected": "frogs"}, "not in the passages: 'frogs and mice'"),
        ("It eats rats.", {"expected": "rats"}, "its answer is in no passage"),
        ("It eats frogs.", {"expected": ["herons", "voles"]}, "does not say 'herons' or 'voles'"),
        ('A "her" is not a heron.', {}, "not in the passages: 'her'"),
    ],
)
def test_grounded_answers(answer, params, fault):
    verdict = check_grounded(answer, {"passages": PASSAGES, **params})
    assert verdict.passed is (fault is None)
    assert fault is None or verdict.detail == fault
