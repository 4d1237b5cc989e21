"""Where one judgement came from and where it went: prompt, answers, what was shown, verdicts, exports, models.

The way back is in the label database; the way on is in the manifests of the runs' folder, which `lineage.py` walks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from kleash.artifacts import Artifact
from kleash.collection.ballots import Ballot, Item
from kleash.collection.store.events import Event
from kleash.errors import ArtifactError
from kleash.lineage import lineage_of


@dataclass(frozen=True)
class ShownAnswer:
    """One answer as the rater met it.

    place: 0 = leftmost.  index: of the answer in the comparison.  rank: what it was given; None where none was.
    """

    place: int
    index: int
    text: str
    source: str
    rank: int | None


@dataclass(frozen=True)
class EarlierVerdict:
    """A verdict that its rater replaced, and when."""

    replaced_at: datetime
    outcome: str
    ranks: tuple[int, ...]


@dataclass(frozen=True)
class Export:
    """A frozen artifact that a judgement went into, and everything that was made from it, nearest first."""

    artifact_id: str
    path: str
    used_in: Sequence[Artifact]

    @property
    def models(self) -> list[Artifact]:
        """What was trained on it, and not only measured with it."""
        return [artifact for artifact in self.used_in if artifact.kind in ("reward", "policy")]


@dataclass(frozen=True)
class Descent:
    """One judgement's way from the prompt to the models trained on it."""

    item: Item
    ballot: Ballot
    shown: Sequence[ShownAnswer]
    earlier: Sequence[EarlierVerdict]
    rubric: str
    exports: Sequence[Export]


def descent(
    item: Item,
    ballot: Ballot,
    *,
    events: Iterable[Event],
    rubrics: Sequence[tuple[str, str]],
    exports: Sequence[tuple[str, str]],
    runs: Path,
) -> Descent:
    """Put together what is known of one judgement.

    events: the campaign's audit log, which holds the verdicts that were replaced.  rubrics: (version, text).
    exports: (artifact id, path) of what the judgement went into.  runs: the folder whose runs are looked through.
    """
    judgement, comparison = ballot.judgement, item.comparison
    shown = [
        ShownAnswer(
            place=place,
            index=index,
            text=comparison.completions[index],
            source=comparison.sources[index] if comparison.sources else "",
            rank=judgement.ranks[index] if judgement.ranks else None,
        )
        for place, index in enumerate(judgement.permutation)
    ]
    return Descent(
        item=item,
        ballot=ballot,
        shown=shown,
        earlier=_earlier_verdicts(ballot, events),
        rubric=dict(rubrics).get(judgement.rubric_version, ""),
        exports=[Export(artifact_id, path, used_in(artifact_id, Path(path), runs)) for artifact_id, path in exports],
    )


def used_in(artifact_id: str, path: Path, runs: Path) -> list[Artifact]:
    """Return every artifact made from this one, in the runs beside it and in those below `runs`, nearest first."""
    found: dict[str, Artifact] = {}
    folders = sorted(folder for folder in runs.iterdir() if folder.is_dir()) if runs.is_dir() else []
    for place in [path, *folders]:
        try:
            lineage = lineage_of(place)
        except ArtifactError:
            continue  # moved away, or a run that has not come to its first artifact
        if artifact_id in lineage.artifacts:
            found |= {made.id: made for made in lineage.descendants_of(artifact_id)}
    return list(found.values())


def _earlier_verdicts(ballot: Ballot, events: Iterable[Event]) -> list[EarlierVerdict]:
    """Return the verdicts that the rater gave on the item before, the first one first."""
    earlier = []
    for event in events:
        is_its = event.action == "verdict changed" and event.actor == ballot.judgement.rater
        if is_its and event.subject == ballot.item_id:
            before: dict[str, Any] = event.before
            earlier.append(EarlierVerdict(event.at, before["outcome"], tuple(before["ranks"])))
    return earlier[::-1]
