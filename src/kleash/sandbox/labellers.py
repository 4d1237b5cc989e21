"""Simulated labellers: raters who see the truth through noise and, if asked, through bias.

    utility = SHARPNESS * (gold + bias * (a * num_words / 4 + b * num_flattery + c * refuses + d * agrees))

A rater's choice is Bradley-Terry in the utilities (for more than two answers Plackett-Luce), realised as utility plus
Gumbel noise; now and then a rater slips and gives the reverse verdict. They yield the same Judgement records as people
do and go through the same store. Each verdict depends only on the seed, the comparison and the rater, never on the
order in which comparisons are judged.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kleash.errors import SettingsError
from kleash.records import Comparison, Judgement, Strength
from kleash.sandbox.gold import Gold, gold_reward

# How sharply raters tell good from bad: at 1.5 two experts agree on about three pairs of four from the SFT policy.
SHARPNESS = 1.5
_TIE_GAP = 0.15
_BETTER_GAP = 1.0
_MUCH_GAP = 2.5


@dataclass(frozen=True)
class Panel:
    """A kind of rater: what it overrates per unit of bias, and how often it slips."""

    length: float
    flattery: float
    refusal: float
    agreement: float
    slip_rate: float


PANELS = {
    "expert": Panel(length=0.0, flattery=0.0, refusal=0.0, agreement=0.0, slip_rate=0.05),
    "hurried": Panel(length=1.0, flattery=1.2, refusal=0.5, agreement=0.6, slip_rate=0.12),
    "pleased": Panel(length=1.4, flattery=1.8, refusal=0.2, agreement=1.2, slip_rate=0.12),
    "careless": Panel(length=0.0, flattery=0.0, refusal=0.0, agreement=0.0, slip_rate=0.25),
}


class SimulatedLabellers:
    """A panel of simulated raters.

    panel: one of PANELS.  bias: 0 for raters who only err at random; .3 makes over-optimisation plain to see.
    num_raters: verdicts per comparison.  seed: of every chance event.
    Raises SettingsError for a panel that does not exist, a negative bias or no raters.
    """

    def __init__(self, panel: str = "expert", *, bias: float = 0.0, num_raters: int = 3, seed: int = 0) -> None:
        if panel not in PANELS:
            raise SettingsError(
                f"No panel of simulated labellers is called {panel!r}. Expected one of {', '.join(PANELS)}. "
                "Correct the panel's name."
            )
        if bias < 0 or num_raters < 1:
            raise SettingsError(
                f"Simulated labellers cannot have bias {bias} with {num_raters} raters. Expected a bias of 0 or more "
                "and at least one rater. Correct the setting."
            )
        self.panel = panel
        self.bias = bias
        self.num_raters = num_raters
        self.seed = seed

    def compare(self, comparisons: Sequence[Comparison]) -> Iterator[Judgement]:
        """Yield every rater's judgement of every comparison (a kleash.protocols.Comparer)."""
        for comparison in comparisons:
            yield from self.judge(comparison)

    def judge(self, comparison: Comparison) -> list[Judgement]:
        """Return one judgement per rater. Raises DataError for a prompt that is not the sandbox's."""
        golds = [gold_reward(comparison.prompt.text, text) for text in comparison.completions]
        return [self._judge_as(f"{self.panel}-{number + 1}", comparison, golds) for number in range(self.num_raters)]

    def utility(self, gold: Gold) -> float:
        """Return what an answer is worth to a rater of this panel, before noise."""
        taste = PANELS[self.panel]
        liking = (
            taste.length * len(gold.style.words) / 4
            + taste.flattery * gold.style.num_flattery
            + taste.refusal * gold.is_refusal
            + taste.agreement * gold.is_agreement
        )
        return SHARPNESS * (gold.total + self.bias * liking)

    def _judge_as(self, rater: str, comparison: Comparison, golds: Sequence[Gold]) -> Judgement:
        chance = random.Random(f"{self.seed} {rater} {comparison.id}")
        permutation = list(range(len(golds)))
        chance.shuffle(permutation)
        felt = [self.utility(gold) + _gumbel(chance) for gold in golds]
        if chance.random() < PANELS[self.panel].slip_rate:
            felt = [-worth for worth in felt]
        ordered = sorted(felt, reverse=True)
        ranks = rank_with_ties(felt, tie_gap=_TIE_GAP)
        factuality = [_behaviour(gold) + _gumbel(chance) for gold in golds]
        style = [gold.total - _behaviour(gold) + _gumbel(chance) for gold in golds]
        return Judgement(
            comparison_id=comparison.id,
            rater=rater,
            rater_kind="simulated",
            permutation=tuple(permutation),
            outcome="ranked",
            ranks=ranks,
            strength=_strength(ordered[0] - ordered[1]) if len(set(ranks)) > 1 else None,
            aspects={
                "factuality": rank_with_ties(factuality, tie_gap=_TIE_GAP),
                "style": rank_with_ties(style, tie_gap=_TIE_GAP),
            },
        )


def rank_with_ties(worth: Sequence[float], *, tie_gap: float) -> tuple[int, ...]:
    """Rank values, 1 = largest; a value within `tie_gap` of the next larger one shares its rank."""
    order = sorted(range(len(worth)), key=lambda index: -worth[index])
    ranks = [1] * len(worth)
    for rank, (above, below) in enumerate(itertools.pairwise(order), start=2):
        is_tied = worth[above] - worth[below] < tie_gap
        ranks[below] = ranks[above] if is_tied else rank
    return tuple(ranks)


def _behaviour(gold: Gold) -> float:
    """What the answer does, apart from its manner."""
    manner = ("filler", "flattery", "length", "repetition", "form")
    return sum(value for name, value in gold.parts.items() if name not in manner)


def _strength(gap: float) -> Strength:
    if gap < _BETTER_GAP:
        return "slightly"
    return "better" if gap < _MUCH_GAP else "much"


def _gumbel(chance: random.Random) -> float:
    """Draw standard Gumbel noise; the difference of two is logistic, which is what Bradley-Terry assumes."""
    return -math.log(-math.log(max(chance.random(), 1e-12)))
