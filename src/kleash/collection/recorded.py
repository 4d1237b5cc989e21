"""What the store holds, as the statistics read it: items put before raters, and the judgements of them.

`quality.py` measures these records, `exporting.py` freezes them; neither knows the database.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from kleash.records import Comparison, Judgement

SamplingArm = Literal["policy", "control"]


@dataclass(frozen=True)
class Item:
    """One comparison in a campaign.

    gold_ranks: the known right ranks of a calibration item, in the comparison's own order; empty for an ordinary one.
    overlap: how many raters it is to have now (adaptive overlap may have raised it).
    arm, propensity: which arm of the sampling policy put it before raters, and with what probability; None before.
    hold: why it is not given out ("names a model"), empty for an item that is.
    """

    id: str
    comparison: Comparison
    gold_ranks: tuple[int, ...] = ()
    overlap: int = 1
    arm: SamplingArm | None = None
    propensity: float | None = None
    hold: str = ""

    @property
    def is_gold(self) -> bool:
        return bool(self.gold_ranks)

    @property
    def dimensions(self) -> Mapping[str, str]:
        return self.comparison.prompt.dimensions


@dataclass(frozen=True)
class RecordedJudgement:
    """One judgement in force (never one that was taken back), and the circumstances that decide how it counts.

    id, item_id: the database's; empty for a judgement from an export that is about to be restored.
    is_repeat: the same rater's second look at the item, with the answers in other places.
    is_surplus: came after its lease had expired and the item was full: kept, and left out of every count of n.
    is_adjudication: the ruling of an adjudicator, which overrides the votes.
    """

    id: str
    item_id: str
    judgement: Judgement
    given_at: datetime
    is_repeat: bool = False
    is_surplus: bool = False
    is_adjudication: bool = False
    skip_reason: str = ""

    @property
    def is_vote(self) -> bool:
        """Whether this is one of the item's n independent judgements with a verdict in it."""
        return not (self.is_repeat or self.is_surplus or self.is_adjudication or self.judgement.outcome == "skipped")


def ordinary_votes(items: Mapping[str, Item], recorded: Iterable[RecordedJudgement]) -> list[RecordedJudgement]:
    """Return the votes that bring a campaign nearer its end: those on calibration items do not."""
    return [entry for entry in recorded if entry.is_vote and not items[entry.item_id].is_gold]


def by_item(recorded: Iterable[RecordedJudgement]) -> defaultdict[str, list[RecordedJudgement]]:
    """Group judgements by item, in the order in which items first appear; an item without any has an empty list."""
    groups: defaultdict[str, list[RecordedJudgement]] = defaultdict(list)
    for entry in recorded:
        groups[entry.item_id].append(entry)
    return groups


def by_rater(recorded: Iterable[RecordedJudgement]) -> dict[str, list[RecordedJudgement]]:
    """Group judgements by the name of their rater, in the order of names."""
    groups: dict[str, list[RecordedJudgement]] = {}
    for entry in recorded:
        groups.setdefault(entry.judgement.rater, []).append(entry)
    return dict(sorted(groups.items()))
