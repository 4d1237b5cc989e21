"""What the admin pages show of a campaign: progress and pace, quality, people, judges. Records in, records out.

No SQL, no HTML, no clock: `now` is given. The figures are `quality.py`'s; here they are chosen, ordered worst first
and put beside their gates. `charts.py` draws them, `snapshot.py` reads and keeps them.
"""

from __future__ import annotations

import difflib
import itertools
import json
import math
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from kleash.collection import quality
from kleash.collection.aggregation import AggregationSettings
from kleash.collection.campaign import Campaign
from kleash.collection.gates import DEFAULT, WORST_FIRST, Gate, GateState, campaign_gates, rater_gates, worst
from kleash.collection.quality import Agreement, RaterRow
from kleash.collection.recorded import Item, RecordedJudgement, by_item
from kleash.collection.store.campaigns import CampaignProgress
from kleash.collection.wording import place_letter
from kleash.maths.intervals import Interval, mean_interval

ItemState = Literal["gold", "held", "ruled", "full", "begun", "waiting"]

NO_FIGURE = Interval(math.nan, math.nan, math.nan, 0)
PACE_DAYS = 14
DAILY_UP_TO_DAYS = 28
# Intervals of parts are wide anyway; a thousand resamples of each would keep the page waiting.
RESAMPLES_OF_PARTS = 200
GATE_BOUNDS: Mapping[str, float] = {
    "agreement_without_ties": DEFAULT.min_agreement,
    "easy_gold_accuracy": DEFAULT.min_gold_accuracy,
    "self_consistency": DEFAULT.min_self_consistency,
    "longer_preferred": DEFAULT.max_longer,
}


# ------------------------------------------------------------------------------------------------------------ progress
@dataclass(frozen=True)
class Pace:
    """How fast votes come in, and when the campaign is done if it goes on so.

    votes_per_day: the mean over the last days, 24 hours each and counted back from now; n is the number of days.
    num_wanted, num_left: votes that make the campaign complete, and those of them still to come.
    finish, earliest, latest: at the mean, and at the ends of its interval; None = never at that pace.
    """

    votes_per_day: Interval
    num_wanted: int
    num_left: int
    finish: datetime | None
    earliest: datetime | None
    latest: datetime | None


def pace(votes: Sequence[RecordedJudgement], progress: CampaignProgress, *, now: datetime) -> Pace:
    """Measure the pace of `ordinary_votes` over the last two weeks, or since the first of them."""
    num_wanted = round(progress.target * progress.num_slots / max(progress.num_items, 1))
    num_left = 0 if progress.is_complete else max(num_wanted - progress.num_done, 1)
    times = [vote.given_at for vote in votes if vote.given_at <= now]
    if not times:
        return Pace(NO_FIGURE, num_wanted, num_left, None, None, None)
    one_day = timedelta(days=1)
    age_days = (now - min(times)) / one_day
    if age_days < 2:
        rate = Interval(len(times) / max(age_days, 1 / 24), math.nan, math.nan, 1)
    else:
        num_days = min(PACE_DAYS, int(age_days))
        days_ago = Counter(int((now - time) / one_day) for time in times)
        # Student's t does not know that nobody votes less than never.
        rate = mean_interval([days_ago[day] for day in range(num_days)], bounds=(0.0, math.inf))
    finish, earliest, latest = (_finish(num_left, per_day, now) for per_day in (rate.value, rate.high, rate.low))
    return Pace(rate, num_wanted, num_left, finish, earliest, latest)


def _finish(num_left: int, per_day: float, now: datetime) -> datetime | None:
    if math.isnan(per_day) or per_day <= 0 or num_left / per_day > 3650:
        return None
    return now + timedelta(days=num_left / per_day)


def votes_by_day(votes: Sequence[RecordedJudgement]) -> dict[str, int]:
    """Count votes per calendar day (UTC), days without any included: {"2026-11-23": 41}, ascending."""
    counts = Counter(vote.given_at.date() for vote in votes)
    if not counts:
        return {}
    first, last = min(counts), max(counts)
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    return {day.isoformat(): counts[day] for day in days}


# ------------------------------------------------------------------------------------------------------------- quality
@dataclass(frozen=True)
class RaterLine:
    """One rater's habits beside the gates a rater can miss. state: of the worst gate."""

    row: RaterRow
    gates: Sequence[Gate]
    state: GateState


@dataclass(frozen=True)
class QualityView:
    """Everything measured of a campaign's labels. over_time: by `period`; by_slice: {dimension: {value: agreement}}."""

    agreement: Agreement
    gates: Sequence[Gate]
    by_aspect: Mapping[str, Agreement]
    by_slice: Mapping[str, Mapping[str, Agreement]]
    over_time: Mapping[str, Agreement]
    period: Literal["day", "week"]
    raters: Sequence[RaterLine]

    @property
    def state(self) -> GateState:
        return worst(self.gates)


def quality_of(items: Mapping[str, Item], recorded: Sequence[RecordedJudgement], *, min_seconds: float) -> QualityView:
    """Measure a campaign whole. Slow for a big one: `snapshot.py` keeps the outcome."""
    measured = quality.agreement(items, recorded)
    times = [entry.given_at for entry in recorded]
    is_young = not times or max(times) - min(times) <= timedelta(days=DAILY_UP_TO_DAYS)
    period: Literal["day", "week"] = "day" if is_young else "week"
    return QualityView(
        agreement=measured,
        gates=campaign_gates(measured, items, recorded),
        by_aspect=quality.agreement_by_aspect(items, recorded, num_resamples=RESAMPLES_OF_PARTS),
        by_slice=quality.agreement_by_slice(items, recorded, num_resamples=RESAMPLES_OF_PARTS),
        over_time=quality.agreement_over_time(items, recorded, period=period, num_resamples=RESAMPLES_OF_PARTS),
        period=period,
        raters=rater_lines(items, recorded, min_seconds=min_seconds),
    )


def rater_lines(
    items: Mapping[str, Item], recorded: Sequence[RecordedJudgement], *, min_seconds: float
) -> list[RaterLine]:
    """Describe every rater who votes, worst first: by gates, then by agreement with the others."""
    lines, by_raters = [], [entry for entry in recorded if not entry.is_adjudication]
    for row in quality.rater_table(items, by_raters, min_seconds=min_seconds):
        gates = rater_gates(row)
        lines.append(RaterLine(row, gates, worst(gates)))
    by_share = sorted(lines, key=lambda line: share.value if (share := line.row.with_others).n else math.inf)
    return sorted(by_share, key=lambda line: WORST_FIRST.index(line.state))


# --------------------------------------------------------------------------------------------------------------- items
@dataclass(frozen=True)
class ItemLine:
    """One item in a list. split: how many votes each verdict got, largest first, without saying which verdict."""

    item: Item
    num_votes: int
    split: tuple[int, ...]
    state: ItemState


def item_lines(items: Mapping[str, Item], recorded: Sequence[RecordedJudgement]) -> list[ItemLine]:
    """Describe every item, in the order they were added."""
    per_item = by_item(recorded)
    lines = []
    for item in items.values():
        own = per_item[item.id]
        votes = [entry.judgement for entry in own if entry.is_vote]
        split = Counter((vote.outcome, _dense(vote.ranks)) for vote in votes)
        state = _state(item, len(votes), is_ruled=any(entry.is_adjudication for entry in own))
        lines.append(ItemLine(item, len(votes), tuple(sorted(split.values(), reverse=True)), state))
    return lines


def _state(item: Item, num_votes: int, *, is_ruled: bool) -> ItemState:
    if item.is_gold:
        return "gold"
    if item.hold:
        return "held"
    if is_ruled:
        return "ruled"
    return "full" if num_votes >= item.overlap else "begun" if num_votes else "waiting"


def _dense(ranks: Sequence[int]) -> tuple[int, ...]:
    """Return ranks without gaps, so that (1, 3) and (1, 2) are one verdict."""
    order = sorted(set(ranks))
    return tuple(order.index(rank) for rank in ranks)


def verdict_words(outcome: str, ranks: Sequence[int], strength: str | None = None) -> str:
    """Return a verdict as a person says it, answers called A, B, C in the comparison's own order."""
    if outcome != "ranked":
        return outcome.replace("_", " ")
    letters = [place_letter(index) for index in range(len(ranks))]
    groups = [
        " = ".join(letter for letter, rank in zip(letters, ranks, strict=True) if rank == value)
        for value in sorted(set(ranks))
    ]
    if len(groups) == 1:
        return "tie"
    if len(ranks) == 2:
        return f"{groups[0]} {strength} better" if strength in ("slightly", "much") else f"{groups[0]} better"
    return " > ".join(groups)


# -------------------------------------------------------------------------------------------------------------- rubric
@dataclass(frozen=True)
class RubricVersion:
    """One version of the rubric, and how many judgements were given under it.

    changes: its lines beside those of the version before it, each behind "+", "-" or " "; "@@" where some are left out.
    """

    version: str
    text: str
    num_judgements: int
    changes: Sequence[str]


def rubric_versions(rubrics: Sequence[tuple[str, str]], recorded: Sequence[RecordedJudgement]) -> list[RubricVersion]:
    """Describe each version against the one before it, the present one first."""
    used = Counter(entry.judgement.rubric_version.partition("+")[0] for entry in recorded)
    texts = [("", ""), *rubrics]
    versions = [
        RubricVersion(version, text, used[version], text_changes(before, text) if before else ())
        for (_, before), (version, text) in itertools.pairwise(texts)
    ]
    return versions[::-1]


def text_changes(before: str, after: str) -> list[str]:
    """Return the lines of two texts with what was taken out and put in; long unchanged stretches are cut."""
    return list(difflib.unified_diff(before.splitlines(), after.splitlines(), n=2, lineterm=""))[2:]


# -------------------------------------------------------------------------------------------------------------- export
def export_command(campaign: Campaign, settings: AggregationSettings) -> str:
    """Return the command that writes what the page previews."""
    default = AggregationSettings()
    words = ["kleash", "collect", "export", campaign.name, "--into", "preferences"]
    for name in AggregationSettings.model_fields:
        value = getattr(settings, name)
        if value != getattr(default, name):
            words += ["--set", f"{name}={json.dumps(value) if not isinstance(value, str) else value}"]
    return shlex.join(words)
