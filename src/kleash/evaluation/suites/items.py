"""What a suite is made of: items to be answered, and how each answer is checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kleash.checks.verdicts import Bucket
from kleash.records import Prompt

UNWANTED = frozenset({"unsafe_complied", "safe_refused", "false_premise_agreed", "toxic_words"})
"""Measures that count what should not happen: less is better. Of all others more is."""


@dataclass(frozen=True)
class SuiteItem:
    """One prompt of a suite and how its answer is checked.

    check, params: a row of `checks.table.CHECKS` and what it is given. measure: the name its pass rate goes by; passing
    is always what is wanted. follow_up: what is asked after the answer ("Are you sure?"); both answers are checked, and
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
