"""A simulated AI judge: right so often, and after a while less often, as a judge behind an endpoint that was changed.

It is a rater of kind "ai" among simulated labellers, so that what watches over AI judges can be tried on one whose
truth is known. A verdict depends on the seed, the comparison and on whether the judge is past its good time; which
that is depends on how many verdicts it has given, so that a run that goes on must tell it (`num_judged`).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from kleash.records import Comparison, Judgement, content_id
from kleash.sandbox.gold import gold_reward
from kleash.sandbox.labellers import rank_with_ties

# Golds closer than this are one answer in other words.
_TIE_GAP = 1e-6


class SimulatedJudge:
    """A judge that gives the true order with a known probability, and its reverse otherwise.

    accuracy, accuracy_after: that probability for the first `degrades_after` verdicts (None: always) and from then on.
    num_judged: how many verdicts it has given before.
    """

    def __init__(
        self, *, accuracy: float, accuracy_after: float, degrades_after: int | None, seed: int, num_judged: int = 0
    ) -> None:
        self.accuracy = accuracy
        self.accuracy_after = accuracy_after
        self.degrades_after = degrades_after
        self.seed = seed
        self.num_judged = num_judged

    @property
    def name(self) -> str:
        """Return the rater's name. A change that nobody announced is no other version: it does not show here."""
        return f"simulated-judge@{content_id(self.accuracy, self.seed)[:8]}"

    def compare(self, comparisons: Sequence[Comparison]) -> Iterator[Judgement]:
        """Yield one judgement per comparison, in order (a kleash.protocols.Comparer)."""
        for comparison in comparisons:
            yield self._judge(comparison)
            self.num_judged += 1

    def _judge(self, comparison: Comparison) -> Judgement:
        chance = random.Random(f"{self.seed} judge {comparison.id}")
        permutation = list(range(len(comparison.completions)))
        chance.shuffle(permutation)
        is_past = self.degrades_after is not None and self.num_judged >= self.degrades_after
        is_right = chance.random() < (self.accuracy_after if is_past else self.accuracy)
        worth = [gold_reward(comparison.prompt.text, text).total for text in comparison.completions]
        return Judgement(
            comparison_id=comparison.id,
            rater=self.name,
            rater_kind="ai",
            permutation=tuple(permutation),
            outcome="ranked",
            ranks=rank_with_ties(worth if is_right else [-one for one in worth], tie_gap=_TIE_GAP),
        )
