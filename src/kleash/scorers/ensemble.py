"""Several scorers as one: conservatism, not averaging, is what helps under label noise and over-optimisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, pvariance
from typing import Literal, get_args

from kleash.errors import SettingsError
from kleash.protocols import Scorer, Scores
from kleash.records import Completion

Combine = Literal["mean", "worst_case", "uncertainty"]


def as_one(members: Sequence[Scorer], *, combine: Combine = "mean", penalty: float = 1.0) -> Scorer:
    """Return one scorer for all members: the only one itself, several combined."""
    return members[0] if len(members) == 1 else EnsembleScorer(members, combine=combine, penalty=penalty)


class EnsembleScorer:
    """Combines the totals s_1 ... s_k of members that are normalised already, so that they are on one scale.

        mean: sum s_i / k      worst_case (WCO): min s_i      uncertainty (UWO): mean - penalty * variance

    The variance is over the k members (divided by k). Parts: "member_0" ..., and "disagreement", the members' standard
    deviation.
    Raises SettingsError without members, for an unknown way to combine, or a penalty below 0.
    Source: Coste et al. 2023, arXiv:2310.02743.
    """

    def __init__(self, members: Sequence[Scorer], *, combine: Combine = "mean", penalty: float = 1.0) -> None:
        if not members or combine not in get_args(Combine) or not 0 <= penalty < math.inf:
            raise SettingsError(
                f"An ensemble of {len(members)} members cannot be combined by {combine!r} with penalty {penalty}. "
                f"Expected one member or more, one of {', '.join(get_args(Combine))}, and a penalty of at least 0. "
                "Correct scorer.combine and scorer.uncertainty_penalty, or name reward models."
            )
        self.members = tuple(members)
        self.combine = combine
        self.penalty = penalty

    def score(self, completions: Sequence[Completion]) -> Scores:
        """Return the combined score of each answer."""
        totals = [list(member.score(completions).total) for member in self.members]
        by_answer = list(zip(*totals, strict=True))
        parts = {f"member_{index}": total for index, total in enumerate(totals)}
        parts["disagreement"] = [math.sqrt(pvariance(scores)) for scores in by_answer]
        return Scores([self._combined(scores) for scores in by_answer], parts)

    def _combined(self, scores: Sequence[float]) -> float:
        if self.combine == "worst_case":
            return min(scores)
        if self.combine == "uncertainty":
            return fmean(scores) - self.penalty * pvariance(scores)
        return fmean(scores)
