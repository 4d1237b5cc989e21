"""Where one judgement came from and where it went: prompt, answers, what was shown, verdicts, exports, models.

The way back is in the label database; the way on is in the manifests of the runs' folder, which `lineage.py` walks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kleash.artifacts import Artifact
from kleash.collection.recorded import Item, RecordedJudgement
from kleash.errors import ArtifactError
from kleash.lineage import lineage_of


@dataclass(frozen=True)
class ShownAnswer:
    """One answer as the rater met it.

    position: 0 = leftmost.  index: of the answer in the comparison.  rank: what it was given; None where none was.
    """

    position: int
    index: int
    text: str
    source: str
    rank: int | None


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
    entry: RecordedJudgement
    shown: Sequence[ShownAnswer]
    earlier: Sequence[RecordedJudgement]
    rubric: str
    exports: Sequence[Export]


def descent(
    item: Item,
    entry: RecordedJudgement,
    *,
    earlier: Sequence[RecordedJudgement],
    rubrics: Sequence[tuple[str, str]],
    exports: Sequence[tuple[str, str]],
    runs: Path,
) -> Descent:
    """Put together what is known of one judgement.

    earlier: what the rater had said before on the same task.  rubrics: (version, text).  exports: (artifact
    id, path) of what the judgement went into.  runs: the folder whose runs are looked through.
    """
    judgement, comparison = entry.judgement, item.comparison
    shown = [
        ShownAnswer(
            position=position,
            index=index,
            text=comparison.completions[index],
            source=comparison.sources[index] if comparison.sources else "",
            rank=judgement.ranks[index] if judgement.ranks else None,
        )
        for position, index in enumerate(judgement.permutation)
    ]
    return Descent(
        item=item,
        entry=entry,
        shown=shown,
        earlier=earlier,
        rubric=dict(rubrics).get(judgement.rubric_version, ""),
        exports=[Export(artifact_id, path, used_in(artifact_id, Path(path), runs)) for artifact_id, path in exports],
    )


def used_in(artifact_id: str, path: Path, runs: Path) -> list[Artifact]:
    """Return every artifact one from this one, in the runs beside it and in those below `runs`, nearest first."""
    descendants: dict[str, Artifact] = {}
    folders = sorted(folder for folder in runs.iterdir() if folder.is_dir()) if runs.is_dir() else []
    for folder in [path, *folders]:
        try:
            lineage = lineage_of(folder)
        except ArtifactError:
            continue  # moved away, or a run that has not come to its first artifact
        if artifact_id in lineage.artifacts:
            descendants |= {one.id: one for one in lineage.descendants_of(artifact_id)}
    return list(descendants.values())
