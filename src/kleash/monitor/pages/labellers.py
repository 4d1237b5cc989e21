"""Who labelled the preferences of a run, and how well: read from what each preferences artifact froze, as page parts.

The same measures as the labelling service shows (`collection/quality.py`), of the labels that training really saw. A
frozen artifact never changes, so each is read once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from pydantic_core import from_json

from kleash.collection.quality import RaterRow, rater_table
from kleash.collection.recorded import Item, RecordedJudgement
from kleash.errors import DataError
from kleash.estimates import Estimate, estimate
from kleash.formats import read_judgements, read_preferences
from kleash.lineage import JUDGEMENTS_FILE
from kleash.monitor.pages.rendering import fragment
from kleash.monitor.read.reader import RunFolder, StageFolder
from kleash.records import Comparison
from kleash.results import PreferencesSummary

PREFERENCES_FILE, ITEMS_FILE = "preferences.jsonl", "items.jsonl"
# A program's judgement has no time of its own.
_NO_TIME = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Labels:
    """One round's preferences as frozen.

    summary: the artifact's. raters: None where no judgements were kept, or, for the reason in `problem`, not readable.
    """

    round_number: int
    summary: PreferencesSummary
    raters: tuple[RaterRow, ...] | None
    problem: str = ""

    @property
    def agreement(self) -> Estimate | None:
        return self.summary.agreement_interval or estimate(self.summary.agreement)


def labels_summary(run: RunFolder) -> str:
    """Return what each round's preferences say of their own labels, the newest first: at once, from the manifests."""
    rounds = [
        Labels(number, PreferencesSummary.from_json(stage.summary), None) for number, stage in frozen_preferences(run)
    ]
    return fragment("parts/labellers.html", rounds=rounds, is_counted=False)


def labels_page(labels: Sequence[Labels]) -> str:
    """Return the same with a table of raters in each round."""
    return fragment("parts/labellers.html", rounds=labels, is_counted=True)


def frozen_preferences(run: RunFolder) -> Iterator[tuple[int, StageFolder]]:
    """Yield (round number, stage) of each complete preferences artifact of a run, the newest first."""
    for round_folder in reversed(run.rounds):
        stage = round_folder.stages.get("preferences")
        if stage is not None and stage.artifact is not None:
            yield round_folder.number, stage


def labels_of(run: RunFolder) -> list[Labels]:
    """Return each round's labels, the newest first; the first look at a large campaign takes seconds."""
    labels = []
    for number, stage in frozen_preferences(run):
        try:
            raters, problem = _raters(str(stage.folder), stage.artifact.id if stage.artifact else ""), ""
        except DataError as error:
            raters, problem = None, str(error)
        labels.append(Labels(number, PreferencesSummary.from_json(stage.summary), raters, problem))
    return labels


# ----------------------------------------------------------------------------------------------------------- reading
@lru_cache(maxsize=32)
def _raters(folder: str, identity: str) -> tuple[RaterRow, ...] | None:
    """Describe an artifact's raters. identity: the artifact's, so that one made anew in the same place is read anew."""
    path = Path(folder)
    if not (path / JUDGEMENTS_FILE).is_file() or not (path / ITEMS_FILE).is_file():
        return None
    items = _items(path)
    marks = [from_json(line) for line in (path / JUDGEMENTS_FILE).read_bytes().split(b"\n") if line.strip()]
    judgements = read_judgements(path / JUDGEMENTS_FILE, strict=True).records
    recorded = [
        RecordedJudgement(
            id=str(index),
            item_id=judgement.comparison_id,
            judgement=judgement,
            given_at=_NO_TIME,
            is_repeat=bool(own.get("is_repeat")),
            is_surplus=bool(own.get("is_surplus")),
            is_adjudication=bool(own.get("is_adjudication")),
        )
        for index, (judgement, own) in enumerate(zip(judgements, marks, strict=True))
        if judgement.comparison_id in items
    ]
    return tuple(rater_table(items, recorded))


def _items(folder: Path) -> dict[str, Item]:
    rows = read_preferences(folder / PREFERENCES_FILE, strict=True).records
    extras = [from_json(line) for line in (folder / ITEMS_FILE).read_bytes().split(b"\n") if line.strip()]
    items = {}
    for row, extra in zip(rows, extras, strict=True):
        comparison = Comparison(row.prompt, row.completions, row.sources)
        items[comparison.id] = Item(comparison.id, comparison, gold_ranks=tuple(extra.get("gold_ranks", ())))
    return items
