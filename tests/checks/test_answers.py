"""Short answers, worked by hand: what passes, what does not, and what cannot be said."""

import pytest

from kleash.checks import patterns
from kleash.checks.answers import check_exact, check_grounded, check_numeric, check_regex
from kleash.checks.constraints import check_constraints
from kleash.checks.numbers import last_number


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


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("-$5", -5), ("$-5", -5), ("−5", -5), ("–5", -5), ("1.5e3", 1500), ("1.5E-3", 0.0015), ("3/4", 0.75),
        ("1 3/4 cups", 1.75), ("1 000", 1000), ("1 000 000", 1_000_000), ("1'000", 1000), ("1.234,50", 1234.5),
        ("1,234,567.5", 1234567.5), ("1,00,000", 100_000), (r"\boxed{42} in 10 steps", 42),
        (r"so \boxed{\frac{3}{4}}.", 0.75), (r"\boxed{1{,}000}", 1000), (r"$\boxed{-7}$ (see 3)", -7),
        ("42, as shown in [1]", 42), ("It is 42 (see step 3).", 42), ("42, by step 3", 42), ("[42]", 42),
        ("range 5-10", 10), ("range 5–10", 10), ("#### The 3 friends get 12 each", 12), ("#### **18** in 2 boxes", 18),
        ("#### -$5 for 3", -5), ("3 x 10^4", 30_000), (r"3 \times 10^{-2}", 0.03), ("0.0000001", 1e-7), ("x=5.", 5),
        ("5%", 5), ("$1,234.", 1234), ("10-3=7", 7), ("(-2)", -2), ("1.234", 1.234), ("step 3", 3),
    ],
)  # fmt: skip
def test_numbers_in_the_forms_people_write(answer, number):
    assert check_numeric(answer, {"expected": number}).passed is True, last_number(answer)
    assert check_numeric(answer, {"expected": -number}).passed is False
    assert check_numeric(answer, {"expected": number + 1}).passed is False


@pytest.mark.parametrize("answer", ["{1,2,3}", r"\{1, 2\}", "1,5", "12,34", "1,2345", "it is 3,14", "1/0"])
def test_what_can_be_read_in_two_ways_is_not_read(answer):
    verdict = check_numeric(answer, {"expected": 3})
    assert (verdict.passed, verdict.detail) == (None, "not read: its number can be read in two ways")


@pytest.mark.parametrize(
    ("expected", "right", "wrong"),
    [(0.0000001, "0.0000001", "-7"), (1e21, "1e21", "21"), ("1/2", "0.5", "2"), (10**30, "1" + "0" * 30, "30"),
     ("$1,000", "1000", "0"), (-0.5, "-1/2", "1/2"), ("1e-7", "0.0000001", "-7")],
)  # fmt: skip
def test_an_expected_number_is_that_number(expected, right, wrong):
    assert check_numeric(right, {"expected": expected}).passed is True
    assert check_numeric(wrong, {"expected": expected}).passed is False


@pytest.mark.parametrize("expected", ["seven", "3 or 4", "1,5", True, None, [1], float("nan"), float("inf")])
def test_an_expected_value_that_is_not_one_number_checks_nothing(expected):
    assert check_numeric("7", {"expected": expected}).passed is None


def test_regex():
    assert check_regex("The answer is (B).", {"pattern": r"answer is \(B\)"}).passed
    assert not check_regex("B or C", {"pattern": "[A-D]", "whole": True}).passed
    assert check_regex(" b ", {"pattern": "[A-D]", "whole": True, "ignore_case": True}).passed


def test_a_pattern_that_backtracks_without_end_checks_nothing_and_stops(monkeypatch):
    monkeypatch.setattr(patterns, "SECONDS", 0.05)
    endless, text = "^(a|aa)+$", "a" * 60 + "!"
    for params in ({"pattern": endless}, {"pattern": endless, "whole": True}):
        verdict = check_regex(text, params)
        assert (verdict.passed, verdict.detail) == (None, patterns.TOO_SLOW)
    slow = {"instructions": ["keywords:existence"], "kwargs": [{"keywords": [endless]}]}
    assert check_constraints(text, slow).passed is None
    assert check_regex("aaa", {"pattern": endless}).passed
    assert check_regex(text, {"pattern": r"^(\w+\s?)*$"}).passed is False


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
