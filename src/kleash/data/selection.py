"""Which pairs of answers are worth a rater's time: those the reward model is unsure of, those it may be wrong about.

Labels are dear, so a later round does not ask about every pair. Part of the budget goes to pairs the reward model can
hardly tell apart (and its members, if it is an ensemble, disagree about), part to suspects, which score high and lose
before somebody who did not train the proxy, and part is drawn blindly: the control arm, without which no figure
computed from the labels would be unbiased. Every chosen pair says which arm chose it, in its tag `selected_by`.
Pure: scores come in as numbers. What is done with the pairs is in `stages/preferences.py`.
"""

from __future__ import annotations

import itertools
import math
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import Field, model_validator

from kleash.errors import DataError
from kleash.records import Comparison, Completion
from kleash.settings import Settings

ARM = "selected_by"
ARMS = ("uncertain", "suspect", "control")


class SelectionSettings(Settings):
    """Which pairs of candidates are put before raters in the rounds after the first."""

    num_pairs: int | None = Field(None, ge=1, description="pairs to label in a round; none = one pair per prompt")
    uncertain_share: float = Field(0.4, ge=0, le=1, description="share that the reward model can hardly tell apart")
    suspect_share: float = Field(0.4, ge=0, le=1, description="share that the reward model may overrate; rest: control")

    @model_validator(mode="after")
    def _leaves_a_control_arm(self) -> SelectionSettings:
        if self.uncertain_share + self.suspect_share > 1:
            raise ValueError(
                f"uncertain_share {self.uncertain_share} and suspect_share {self.suspect_share} are more than the "
                "whole; lower them"
            )
        return self


@dataclass(frozen=True)
class Scored:
    """A candidate with what is known of its worth.

    proxy: the reward model's z-score.  members: each member's, for an ensemble.  external: share of the votes it got
    against another answer to the prompt, by anybody who did not train the proxy; None where nobody was asked.
    """

    answer: Completion
    proxy: float
    members: tuple[float, ...] = ()
    external: float | None = None


@dataclass(frozen=True, eq=False)
class _ScoredPair:
    first: Scored
    second: Scored


def select_pairs(candidates: Sequence[Scored], settings: SelectionSettings, *, seed: int) -> list[Comparison]:
    """Choose pairs of different answers to one prompt; an arm asks about every prompt before it asks twice about one.

    The control arm draws first, blindly; the uncertain and the suspect arm then take their best of what is left. An
    arm that finds too few leaves its places to the control arm.
    Raises DataError when no prompt has two different answers.
    """
    pairs = _pairs(candidates)
    if not pairs:
        raise DataError(
            f"None of the {len(candidates)} candidates differs from another one to the same prompt. Expected at least "
            "one pair to compare. Raise candidates.samples_per_prompt or the temperature."
        )
    num_prompts = len({pair.first.answer.prompt.id for pair in pairs})
    budget = min(settings.num_pairs or num_prompts, len(pairs))
    num_uncertain, num_suspect = (round(share * budget) for share in (settings.uncertain_share, settings.suspect_share))
    shuffled = list(pairs)
    random.Random(f"{seed} control arm").shuffle(shuffled)
    taken: dict[_ScoredPair, str] = {}
    _take(taken, "control", shuffled, budget - num_uncertain - num_suspect)
    gap_of = _overrating(candidates)
    by_uncertainty = sorted(shuffled, key=lambda pair: -uncertainty(pair.first, pair.second))
    _take(taken, "uncertain", by_uncertainty, num_uncertain)
    _take(taken, "suspect", sorted(shuffled, key=lambda pair: -_suspicion(pair, gap_of)), num_suspect)
    _take(taken, "control", shuffled, budget - len(taken))
    return [_comparison(pair, taken[pair]) for pair in pairs if pair in taken]


def uncertainty(first: Scored, second: Scored) -> float:
    """Return how hard the pair is for the reward model: p (1 - p), times the members' disagreement where there are any.

    p: the Bradley-Terry probability that the first is better.  Disagreement: v (1 - v) of the members' votes v, moved
    off zero so that a unanimous ensemble still ranks its pairs.
    """
    p = 1 / (1 + math.exp(min(max(second.proxy - first.proxy, -50.0), 50.0)))
    if len(first.members) < 2:
        return p * (1 - p)
    votes = [float(a > b) for a, b in zip(first.members, second.members, strict=True)]
    share = sum(votes) / len(votes)
    return p * (1 - p) * (share * (1 - share) + 0.05)


# ----------------------------------------------------------------------------------------------------------- inside
def _pairs(candidates: Sequence[Scored]) -> list[_ScoredPair]:
    per_prompt: dict[str, dict[str, Scored]] = defaultdict(dict)
    for one in candidates:
        per_prompt[one.answer.prompt.id].setdefault(one.answer.text, one)
    return [
        _ScoredPair(first, second)
        for different in per_prompt.values()
        for first, second in itertools.combinations(different.values(), 2)
    ]


def _take(taken: dict[_ScoredPair, str], arm: str, order: Sequence[_ScoredPair], number: int) -> None:
    """Give the arm its first pairs that are still free: one per prompt as long as there are prompts without."""
    left = number
    chosen_prompts: set[str] = set()
    for only_fresh_prompts in (True, False):
        for pair in order:
            if left <= 0:
                return
            prompt = pair.first.answer.prompt.id
            if pair not in taken and not (only_fresh_prompts and prompt in chosen_prompts):
                taken[pair] = arm
                chosen_prompts.add(prompt)
                left -= 1


def _overrating(candidates: Sequence[Scored]) -> Mapping[int, float]:
    """Return by how much each candidate's proxy rank, in [0, 1], is above its share of external votes, in [-1, 1].

    Where nobody was asked, the votes count as even: a high proxy alone makes a suspect, less than one that lost.
    """
    from scipy.stats import rankdata

    ranks = (rankdata([one.proxy for one in candidates]) - 1) / max(len(candidates) - 1, 1)
    votes = [0.5 if one.external is None else one.external for one in candidates]
    return {id(one): float(rank - vote) for one, rank, vote in zip(candidates, ranks, votes, strict=True)}


def _suspicion(pair: _ScoredPair, gap_of: Mapping[int, float]) -> float:
    """Return how overrated the answer is that the proxy prefers."""
    return gap_of[id(max(pair.first, pair.second, key=lambda one: one.proxy))]


def _comparison(pair: _ScoredPair, arm: str) -> Comparison:
    answers = (pair.first.answer, pair.second.answer)
    prompt = answers[0].prompt.with_dimensions({ARM: arm})
    return Comparison(prompt, tuple(one.text for one in answers), tuple(one.policy_id for one in answers))
