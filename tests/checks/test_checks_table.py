"""The table of checks: how a row finds its check, and what a verdict without tallies counts as."""

import pytest

from kleash.checks.table import CHECKS, find_check
from kleash.errors import DataError
from kleash.evaluation.suites.items import SuiteItem
from kleash.evaluation.suites.running import judge_answer
from kleash.records import Prompt


def item(check, params):
    return SuiteItem("1", "mine", "tasks", Prompt("?"), check, params, measure="correct")


def test_an_unknown_kind_is_refused_with_the_nearest_one():
    with pytest.raises(DataError, match=r"There is no check 'exakt'\. Expected one of .*\. Did you mean exact\?"):
        find_check("exakt", {})
    with pytest.raises(DataError, match=r"There is no check 'zzz'.*Use one of them\."):
        find_check("zzz", {})


def test_parameters_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match=r"The check numeric lacks expected and has answer\. Expected: expected, toler"):
        find_check("numeric", {"answer": 3})


@pytest.mark.parametrize("kind", CHECKS)
def test_every_check_passes_what_it_should_be_given(kind):
    check = CHECKS[kind]
    assert find_check(kind, dict.fromkeys((*check.required, *check.optional), "x")) is check


def test_a_plain_verdict_counts_once_and_an_unchecked_one_nowhere():
    assert judge_answer(item("exact", {"expected": "a"}), "a").tallies == {"correct": (1, 1)}
    assert judge_answer(item("exact", {"expected": "a"}), "b").tallies == {"correct": (0, 1)}
    assert judge_answer(item("numeric", {"expected": "none"}), "3").tallies == {}
