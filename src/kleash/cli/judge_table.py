"""The AI judges of a campaign as a table: what they gave, how it compares with people's, and what of it counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from kleash.cli.tables import rate, rows_table

if TYPE_CHECKING:
    from kleash.collection.recorded import RecordedJudgement
    from kleash.collection.store.raters import Rater
    from kleash.raters.monitoring import JudgeFigures

HEADINGS = ("judge", "verdicts", "count", "agrees with people", "flips", "demoted")


def judges_status_table(
    raters: Sequence[Rater],
    *,
    recorded: Sequence[RecordedJudgement],
    counting: Sequence[RecordedJudgement],
    figures: Mapping[str, JudgeFigures],
) -> Table | None:
    """Return a row per judge; None for a campaign without AI judges.

    recorded, counting: all judgements, and those that demotions left in.  figures: over all time, by judge.
    """
    judges = [rater for rater in raters if rater.kind == "ai"]
    num_recorded = Counter(entry.judgement.rater for entry in recorded)
    num_counting = Counter(entry.judgement.rater for entry in counting)
    rows = []
    for judge in judges:
        own = figures[judge.name]
        shares = (own.agreement_without_ties, own.flip_rate)
        rows.append(
            (
                judge.name,
                f"{num_recorded[judge.name]:,}",
                f"{num_counting[judge.name]:,}",
                *(rate(share) if share.n else "-" for share in shares),
                judge.demotion or "-",
            )
        )
    return rows_table(HEADINGS, rows) if rows else None
