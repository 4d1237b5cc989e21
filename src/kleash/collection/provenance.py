"""Where one judgement came from and where it went: prompt, answers, what was shown, verdicts, exports, models.

The way back is in the label database; the way on is in the manifests of the runs' folder, which `lineage.py` walks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kleash.artifacts import Artifact
from kleash.errors import ArtifactError
from kleash.lineage import lineage_of
from kleash.records import Comparison, Judgement


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


def shown_answers(comparison: Comparison, judgement: Judgement) -> list[ShownAnswer]:
    """Return a comparison's answers as the rater met them, from left to right."""
    return [
        ShownAnswer(
            position=position,
            index=index,
            text=comparison.completions[index],
            source=comparison.sources[index] if comparison.sources else "",
            rank=judgement.ranks[index] if judgement.ranks else None,
        )
        for position, index in enumerate(judgement.permutation)
    ]


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
