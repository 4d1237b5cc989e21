"""Several scorers as one: several opinions on one thing (an ensemble), or a sum of what is wanted, term by term.

Of an ensemble conservatism, not averaging, is what helps under label noise and over-optimisation.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pvariance
from typing import Literal, get_args

from kleash.errors import SettingsError
from kleash.protocols import Scorer, Scores
from kleash.records import Completion

TERM = "term/"
"""Parts whose name begins so are the terms of a sum, before their weights."""

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


@dataclass(frozen=True)
class Term:
    """One scorer of a sum."""

    name: str
    weight: float
    scorer: Scorer


class SumScorer:
    """total = sum of weight x the term's own total; parts: each term's total as "term/NAME", unweighted.

    Raises SettingsError without terms, or for two of one name.
    """

    def __init__(self, terms: Sequence[Term]) -> None:
        require_names([term.name for term in terms], "terms")
        self.terms = tuple(terms)

    def score(self, completions: Sequence[Completion]) -> Scores:
        """Return each answer's weighted sum."""
        parts = {f"{TERM}{term.name}": list(term.scorer.score(completions).total) for term in self.terms}
        weighted = [[term.weight * x for x in part] for term, part in zip(self.terms, parts.values(), strict=True)]
        return Scores([sum(shares) for shares in zip(*weighted, strict=True)], parts)


def require_names(names: Sequence[str], what: str) -> None:
    """Refuse to add up nothing, and two of one name. Raises SettingsError."""
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if not names or repeated:
        found = f"two {what} named {repeated[0]!r}" if repeated else f"no {what}"
        raise SettingsError(
            f"There are {found} to score by. Expected one or more in scorer.{what}, each with a name of its own. Set "
            "`name` in each, or add one."
        )
