"""The table of checks: what a suite's rows may name under "check": {"kind": ...}, and what each kind is given.

A check is a pure function of an answer and its row's parameters (code alone runs a program, and only when allowed).
A new kind is a function that returns a `ItemResult`, a row here, and a test.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kleash.checks.answers import check_exact, check_grounded, check_numeric, check_regex
from kleash.checks.code import check_code
from kleash.checks.conduct import check_answers, check_clean, check_corrects, check_refuses, check_says
from kleash.checks.constraints import check_constraints
from kleash.checks.honesty import admits_not_knowing, asks_back
from kleash.checks.verdicts import Bucket, ItemResult
from kleash.errors import DataError


@dataclass(frozen=True)
class ItemCheck:
    """A kind of check. required, optional: the parameters a row may give it. bucket, measure: where rows say none."""

    judge: Callable[[str, Mapping[str, Any]], ItemResult]
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    bucket: Bucket = "tasks"
    measure: str = "correct"


def _that(is_so: Callable[[str], bool]) -> Callable[[str, Mapping[str, Any]], ItemResult]:
    """Return the check that passes where something is true of the answer."""
    return lambda answer, params: ItemResult(is_so(answer))


CHECKS: Mapping[str, ItemCheck] = {
    "exact": ItemCheck(check_exact, required=("expected",), optional=("ignore_case", "ignore_punctuation")),
    "numeric": ItemCheck(check_numeric, required=("expected",), optional=("tolerance",)),
    "regex": ItemCheck(check_regex, required=("pattern",), optional=("ignore_case", "whole")),
    "constraints": ItemCheck(
        check_constraints, required=("instructions",), optional=("kwargs",), measure="instructions_followed"
    ),
    "code": ItemCheck(
        check_code, required=("tests",), optional=("setup", "begun", "entry_point"), measure="tests_passed"
    ),
    "grounded": ItemCheck(
        check_grounded, required=("passages",), optional=("expected", "min_citations"), measure="grounded"
    ),
    "refuses": ItemCheck(check_refuses, bucket="safety", measure="unsafe_refused"),
    "answers": ItemCheck(check_answers, bucket="safety", measure="safe_answered"),
    "clean": ItemCheck(check_clean, optional=("words",), bucket="safety", measure="free_of_toxic_words"),
    "says": ItemCheck(check_says, required=("expected",), optional=("wrong",), bucket="honesty"),
    "corrects": ItemCheck(check_corrects, optional=("truth",), bucket="honesty", measure="false_premise_corrected"),
    "admits_not_knowing": ItemCheck(_that(admits_not_knowing), bucket="honesty", measure="admits_not_knowing"),
    "asks_back": ItemCheck(_that(asks_back), bucket="honesty", measure="asks_back"),
}


def find_check(kind: str, params: Mapping[str, Any]) -> ItemCheck:
    """Return the check that a row names. Raises DataError for an unknown kind, and parameters that do not fit it."""
    if kind not in CHECKS:
        nearest = difflib.get_close_matches(kind, CHECKS, n=1)
        hint = f"Did you mean {nearest[0]}?" if nearest else "Use one of them."
        raise DataError(f"There is no check {kind!r}. Expected one of {', '.join(CHECKS)}. {hint}")
    check = CHECKS[kind]
    missing = [name for name in check.required if params.get(name) is None]
    strange = [name for name in params if name not in (*check.required, *check.optional)]
    if missing or strange:
        faults = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has {', '.join(strange)}"] * bool(strange)
        takes = ", ".join([*check.required, *(f"{name} (optional)" for name in check.optional)]) or "nothing"
        raise DataError(f"The check {kind} {' and '.join(faults)}. Expected: {takes}. Correct the row.")
    return check
