"""Checks as a scorer: each answer is held to the check that its prompt's row brings, as a suite's rows do.

For rewards that can be known rather than learned: instructions that a rule can follow up, results of sums, programs
with tests. Which kinds there are is in `kleash/checks/table.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from kleash.checks.code import CodeLimits
from kleash.checks.table import find_check
from kleash.checks.verdicts import ItemResult
from kleash.errors import DataError
from kleash.protocols import Scores
from kleash.records import Completion

Passing = Literal["share", "all"]


class CheckScorer:
    """Scores an answer from 0 to 1 by its prompt's check.

    passing: "share" = of a list of instructions the share that is followed, "all" = 1 only for all of them.
    limits: whether and how far programs in answers are run.
    Parts: "unchecked", 1 where the check could not tell (a number that can be read in two ways, code that may not run);
    such an answer scores 0.
    """

    def __init__(self, *, passing: Passing = "share", limits: CodeLimits | None = None) -> None:
        self.passing, self.limits = passing, limits or CodeLimits()

    def score(self, completions: Sequence[Completion]) -> Scores:
        """Return each answer's score. Raises DataError for a prompt with no check, or with one that cannot be read."""
        verdicts = [self._verdict(completion) for completion in completions]
        totals = [one.share if self.passing == "share" else float(one.passed or False) for one in verdicts]
        return Scores(totals, {"unchecked": [float(one.passed is None) for one in verdicts]})

    def _verdict(self, completion: Completion) -> ItemResult:
        params = dict(completion.prompt.check)
        kind = params.pop("kind", None)
        if kind is None:
            raise DataError(
                f"The prompt {completion.prompt.text[:60]!r} brings no check to score its answers by. Expected a row "
                'with "check": {"kind": ...}, or IFEval\'s or GSM8K\'s columns. Add it, or choose another scorer.kind.'
            )
        check = find_check(kind, params)
        return check.judge(completion.text, params | ({"limits": self.limits} if kind == "code" else {}))
