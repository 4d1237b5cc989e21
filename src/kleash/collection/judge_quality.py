"""How the AI judges of a campaign do beside its people: `raters/monitoring.py` measures, here is what it is given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from kleash.collection.recorded import Item, RecordedJudgement
from kleash.raters.monitoring import Dated, JudgeFigures, judge_figures
from kleash.records import JudgeCall, Judgement


def measure_judges(
    items: Mapping[str, Item],
    ballots: Sequence[RecordedJudgement],
    calls: Sequence[tuple[JudgeCall, datetime]],
    *,
    is_weekly: bool,
) -> list[JudgeFigures]:
    """Measure each judge version, per week or over all time, against all that people have said so far.

    A judge's second looks and people's rulings, second looks and surplus verdicts are left out. Simulated labellers
    are people here.
    """
    return judge_figures(
        calls=[Dated(at, call) for call, at in calls],
        judgements=[Dated(ballot.given_at, ballot.judgement) for ballot in ballots if not ballot.is_repeat],
        comparisons=[item.comparison for item in items.values()],
        by_people=votes_of_people(ballots),
        is_weekly=is_weekly,
    )


def votes_of_people(ballots: Iterable[RecordedJudgement]) -> list[Judgement]:
    """Return what a judge is held against."""
    return [
        ballot.judgement
        for ballot in ballots
        if ballot.judgement.rater_kind in ("person", "simulated") and ballot.is_vote
    ]
