"""Simulated labellers: raters who see the truth through noise and, if asked, through bias.

    utility = SHARPNESS * (gold + bias * (a * num_words / 4 + b * num_flattery + c * refuses + d * agrees))

A rater's choice is Bradley-Terry in the utilities (for more than two answers Plackett-Luce), realised as utility plus
Gumbel noise; now and then a rater slips and gives the reverse verdict. They yield the same Judgement records as people
do and go through the same store. Each verdict depends only on the seed, the comparison and the rater, never on the
order in which comparisons are judged.

Beside them a simulated AI judge, so that what watches over AI judges can be tried on one whose truth is known.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, replace

from kleash.errors import SettingsError
from kleash.protocols import Comparer
from kleash.raters.score_comparer import gumbel
from kleash.records import Comparison, Judgement, Strength, content_id
from kleash.sandbox.gold import Gold, gold_reward

# How sharply raters tell good from bad: at 1.5 two experts agree on about three pairs of four from the SFT policy.
SHARPNESS = 1.5
_TIE_GAP = 0.15
_BETTER_GAP = 1.0
_MUCH_GAP = 2.5
# Golds closer than this are one answer in other words.
_SAME_GOLD_GAP = 1e-6


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


@dataclass
class SimulatedLabellers:
    """A panel of simulated raters.

    panel: one of PANELS.  bias: 0 for raters who only err at random; .3 makes over-optimisation plain to see.
    num_raters: verdicts per comparison.  seed: of every chance event.
    Raises SettingsError for a panel that does not exist, a negative bias or no raters.
    """

    panel: str = "expert"
    _: KW_ONLY
    bias: float = 0.0
    num_raters: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.panel not in PANELS:
            raise SettingsError(
                f"No panel of simulated labellers is called {self.panel!r}. Expected one of {', '.join(PANELS)}. "
                "Correct the panel's name."
            )
        if self.bias < 0 or self.num_raters < 1:
            raise SettingsError(
                f"Simulated labellers cannot have bias {self.bias} with {self.num_raters} raters. Expected a bias of 0 "
                "or more and at least one rater. Correct the setting."
            )

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
        chance = random.Random(f"{self.seed} {rater} {_what_is_read(comparison)}")
        permutation = list(range(len(golds)))
        chance.shuffle(permutation)
        felt = [self.utility(gold) + gumbel(chance) for gold in golds]
        if chance.random() < PANELS[self.panel].slip_rate:
            felt = [-worth for worth in felt]
        ordered = sorted(felt, reverse=True)
        ranks = rank_with_ties(felt, tie_gap=_TIE_GAP)
        factuality = [_behaviour(gold) + gumbel(chance) for gold in golds]
        style = [gold.total - _behaviour(gold) + gumbel(chance) for gold in golds]
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


@dataclass(kw_only=True)
class SimulatedJudge:
    """A judge that gives the true order with a known probability, and its reverse otherwise.

    accuracy, accuracy_after: that probability for the first `degrades_after` verdicts (None: always) and from then on,
    as of a judge behind an endpoint that was changed.  num_judged: how many verdicts it has given before; a run that
    goes on must say so.  expert: who stands in for the people of its share.
    """

    accuracy: float
    accuracy_after: float
    degrades_after: int | None
    seed: int
    num_judged: int = 0
    expert: Comparer | None = None

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
        chance = random.Random(f"{self.seed} judge {_what_is_read(comparison)}")
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
            ranks=rank_with_ties(worth if is_right else [-one for one in worth], tie_gap=_SAME_GOLD_GAP),
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


def _what_is_read(comparison: Comparison) -> str:
    """Return the id of what a labeller sees: chance must not change with the names of the policies that answered."""
    return replace(comparison, sources=()).id
