"""How the AI judges of a campaign do beside its people: `raters/monitoring.py` measures, here is what it is given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

from kleash.collection.recorded import Item, RecordedJudgement
from kleash.raters.monitoring import JudgeFigures, judge_figures
from kleash.records import UNANSWERED, JudgeCall, Judgement


def measure_judges(
    items: Mapping[str, Item],
    recorded: Sequence[RecordedJudgement],
    calls: Sequence[tuple[JudgeCall, datetime]],
    *,
    is_weekly: bool,
) -> list[JudgeFigures]:
    """Measure each judge version, per week or over all time, against all that people have said so far.

    A judge's second looks and people's rulings, second looks and surplus verdicts are left out. Simulated labellers
    are people here.
    """
    return judge_figures(
        calls=calls,
        judgements=[(entry.judgement, entry.given_at) for entry in recorded if not entry.is_repeat],
        comparisons=[item.comparison for item in items.values()],
        by_people=votes_of_people(recorded),
        is_weekly=is_weekly,
    )


def unanswered(
    recorded: Sequence[RecordedJudgement], calls: Sequence[tuple[JudgeCall, datetime]], judges: Collection[str]
) -> dict[str, int]:
    """Count per judge the comparisons that its endpoint gave no answer about, and that it has not judged since."""
    judged = {(entry.judgement.rater, entry.judgement.comparison_id) for entry in recorded}
    asked = {(call.judge, call.comparison_id) for call, _ in calls if call.status in UNANSWERED}
    return dict(Counter(judge for judge, _ in sorted(asked - judged) if judge in judges))


def votes_of_people(recorded: Iterable[RecordedJudgement]) -> list[Judgement]:
    """Return what a judge is held against."""
    return [
        entry.judgement for entry in recorded if entry.judgement.rater_kind in ("person", "simulated") and entry.is_vote
    ]
