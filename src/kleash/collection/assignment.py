"""Which task a rater gets next, and in which order its answers are shown: pure rules, no database.

Everything drawn here comes from the campaign's secret seed and the rater, so a reload shows the same page, a replay
gives the same tasks, and no rater can foresee which task is a calibration item.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from kleash.collection.campaign import CampaignSettings
from kleash.collection.recorded import SamplingArm
from kleash.records import Judgement

Purpose = Literal["vote", "gold", "repeat", "adjudication"]


def next_purpose(settings: CampaignSettings, *, seed: str, rater: str, num_tasks: int) -> Purpose:
    """Decide what kind of task a rater's next one is to be; where there is none of that kind, it is a vote.

    num_tasks: how many the rater has had in this campaign.
    """
    draw = random.Random(f"{seed} purpose {rater} {num_tasks}").random()
    if draw < settings.gold_share:
        return "gold"
    return "repeat" if draw < settings.gold_share + settings.repeat_share else "vote"


def presented_order(
    num_answers: int, *, seed: str, rater: str, item_id: int, earlier: Sequence[int] | None = None
) -> tuple[int, ...]:
    """Return the order in which an item's answers are shown: place i shows answer permutation[i].

    earlier: the order of the rater's first look at the item; a repeat reverses it.
    """
    if earlier is not None:
        return tuple(reversed(earlier))
    order = list(range(num_answers))
    random.Random(f"{seed} order {rater} {item_id}").shuffle(order)
    return tuple(order)


@dataclass(frozen=True)
class Pick:
    """An item chosen to be begun: by which arm, and with what probability this item was the one."""

    item_id: int
    arm: SamplingArm
    propensity: float


def pick_place(num_waiting: int, *, chance: random.Random) -> tuple[int, float]:
    """Choose among so many waiting items with `random` sampling: which one, counted from 0, and how likely it was."""
    return chance.randrange(num_waiting), 1 / num_waiting


def pick_item(priorities: Mapping[int, float], settings: CampaignSettings, *, chance: random.Random) -> Pick:
    """Choose which waiting item to put before raters first, with `uncertain` or `suspects` sampling.

    priorities: what the sampling policy goes by, per waiting item; 0 or more, larger is more worth a rater's time.
    `control_share` of the choices are uniform (the control arm, whose labels represent all items). The rest fall on an
    item in proportion to its priority; `suspects` takes the largest first. The propensity counts both arms, so that
    1 / propensity re-weights the sample to all items.
    """
    items = sorted(priorities)
    uniform = 1 / len(items)
    weights = _policy_weights(items, priorities, settings)
    is_control = chance.random() < settings.control_share
    chosen = chance.choice(items) if is_control else chance.choices(items, weights)[0]
    share = weights[items.index(chosen)] / sum(weights)
    propensity = settings.control_share * uniform + (1 - settings.control_share) * share
    return Pick(chosen, "control" if is_control else "policy", propensity)


def _policy_weights(items: Sequence[int], priorities: Mapping[int, float], settings: CampaignSettings) -> list[float]:
    if settings.sampling == "suspects":
        largest = max(priorities.values())
        return [float(priorities[item] == largest) for item in items]
    if not any(priorities.values()):
        return [1.0] * len(items)
    return [priorities[item] for item in items]


def wants_another_rater(verdicts: Sequence[Judgement], settings: CampaignSettings, *, overlap: int) -> bool:
    """Decide whether an item whose slots are all full gets one more: its raters disagree and there is room.

    Disagreement is that no verdict has more than two thirds of the votes.
    """
    if overlap >= settings.max_overlap or not verdicts:
        return False
    shapes = [(verdict.outcome, verdict.ranks) for verdict in verdicts]
    return max(shapes.count(shape) for shape in shapes) * 3 <= len(shapes) * 2
