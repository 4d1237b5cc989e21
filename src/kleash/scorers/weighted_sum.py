"""Several scorers added up by weight, each with a name, so that the balance between them stays in view.

For a reward model beside hard constraints, or for one reward model per aspect of what is wanted (helpful, honest,
harmless). An ensemble (`ensemble.py`) is something else: several opinions on one thing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from kleash.errors import SettingsError
from kleash.protocols import Scorer, Scores
from kleash.records import Completion

TERM = "term/"
"""Parts whose name begins so are the terms of a sum, before their weights."""


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
        repeated = [name for name, count in Counter(term.name for term in terms).items() if count > 1]
        if not terms or repeated:
            found = f"two terms named {repeated[0]!r}" if repeated else "no terms"
            raise SettingsError(
                f'scorer.kind is "sum" and there are {found}. Expected [[scorer.terms]], each with a name of its own. '
                "Add or rename them."
            )
        self.terms = tuple(terms)

    def score(self, completions: Sequence[Completion]) -> Scores:
        """Return each answer's weighted sum."""
        totals = [list(term.scorer.score(completions).total) for term in self.terms]
        weights = [term.weight for term in self.terms]
        by_answer = zip(*totals, strict=True)
        parts = {f"{TERM}{term.name}": total for term, total in zip(self.terms, totals, strict=True)}
        return Scores([sum(w * x for w, x in zip(weights, one, strict=True)) for one in by_answer], parts)
