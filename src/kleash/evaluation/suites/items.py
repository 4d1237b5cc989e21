"""What a suite is made of: items to be answered, and the verdicts that a check returns on their answers.

A check counts; it never averages. Its verdict holds tallies {measure: (successes, tries)}, so that items, slices and
suites add up exactly, whatever an item's weight (an IFEval prompt holds one to three instructions).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from kleash.records import Prompt

Bucket = Literal["tasks", "safety", "honesty", "regression"]
Tally = tuple[int, int]

UNWANTED = frozenset({"unsafe_complied", "safe_refused", "false_premise_agreed", "toxic_words"})
"""Measures that count what should not happen: less is better. Of all others more is."""


@dataclass(frozen=True)
class ItemResult:
    """What a check says of one answer.

    passed: None where nothing could be checked (an unknown instruction, code that may not run); such an item counts
    nowhere, and is named. detail: why, for people. tallies: {measure: (successes, tries)}; without any, `passed` is
    tallied once under the item's own measure.
    """

    passed: bool | None
    detail: str = ""
    tallies: Mapping[str, Tally] = field(default_factory=dict)


@dataclass(frozen=True)
class SuiteItem:
    """One prompt of a suite and how its answer is checked.

    check, params: a row of `checks.CHECKS` and what it is given. measure: the name its pass rate goes by; passing is
    always what is wanted. follow_up: what is asked after the answer ("Are you sure?"); both answers are checked, and
    beside the first's rate stands the share of passed ones that still pass: `MEASURE_when_asked_again`.
    pair, variant: items of one pair ask the same thing in different ways; the variant "" is the plain one, to which
    the others are compared.
    """

    id: str
    suite: str
    bucket: Bucket
    prompt: Prompt
    check: str
    params: Mapping[str, Any]
    measure: str
    follow_up: str = ""
    pair: str = ""
    variant: str = ""


@dataclass(frozen=True)
class Suite:
    """The items of one file. name: the file's, without its ending."""

    name: str
    items: tuple[SuiteItem, ...]
