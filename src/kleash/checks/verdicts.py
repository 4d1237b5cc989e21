"""What a checker says of one answer.

A check counts; it never averages. Its verdict holds tallies {measure: (successes, tries)}, so that items, slices and
suites add up exactly, whatever an item's weight (an IFEval prompt holds one to three instructions).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Bucket = Literal["tasks", "safety", "honesty", "regression"]
Tally = tuple[int, int]
INSTRUCTIONS_FOLLOWED = "instruction_strict"


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

    @property
    def share(self) -> float:
        """The share of the instructions that the answer follows; where there is no list of them 1 or 0, unchecked 0."""
        successes, tries = self.tallies.get(INSTRUCTIONS_FOLLOWED, (int(bool(self.passed)), 1))
        return successes / max(tries, 1)
