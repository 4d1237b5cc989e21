"""A scorer as a rater: compares answers by their scores, with noise if asked. For rules and experiments."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass

from kleash.protocols import Scorer
from kleash.records import Comparison, Completion, Judgement


@dataclass
class ScoreComparer:
    """Ranks answers by a scorer's total.

    temperature: 0 ranks exactly, ties only where scores are equal; above 0 the choice is Bradley-Terry (Plackett-Luce
    for more than two) at score / temperature.  num_raters: independent verdicts per comparison.
    """

    scorer: Scorer
    _: KW_ONLY
    name: str
    temperature: float = 0.0
    num_raters: int = 1
    seed: int = 0

    def compare(self, comparisons: Sequence[Comparison]) -> Iterable[Judgement]:
        """Yield each rater's judgement of each comparison; a verdict depends on seed, rater and comparison alone."""
        answers = [Completion(comparison.prompt, text) for comparison in comparisons for text in comparison.completions]
        totals = iter(self.scorer.score(answers).total)
        for comparison in comparisons:
            scores = [next(totals) for _ in comparison.completions]
            for rater in range(self.num_raters):
                yield self._judge(comparison, scores, f"{self.name}-{rater + 1}")

    def _judge(self, comparison: Comparison, scores: Sequence[float], rater: str) -> Judgement:
        chance = random.Random(f"{self.seed} {rater} {comparison.id}")
        permutation = list(range(len(scores)))
        chance.shuffle(permutation)
        felt = list(scores)
        if self.temperature > 0:
            felt = [score / self.temperature + gumbel(chance) for score in scores]
        return Judgement(
            comparison_id=comparison.id,
            rater=rater,
            rater_kind="rule",
            permutation=tuple(permutation),
            outcome="ranked",
            ranks=tuple(1 + sum(other > own for other in felt) for own in felt),
        )


def gumbel(chance: random.Random) -> float:
    """Draw standard Gumbel noise; the difference of two is logistic, which is what Bradley-Terry assumes."""
    return -math.log(-math.log(max(chance.random(), 1e-12)))
