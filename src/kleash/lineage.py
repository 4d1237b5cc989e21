"""Walk artifacts both ways, from what one was made of to what was made of it, and check that they are still whole.

Nothing is stored for this: every manifest names its parents, so the graph is read from the manifests below the runs'
folder. An artifact reached from two runs (a branch and its origin) is one node, because its id is its content.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from kleash.artifacts import (
    MANIFEST,
    Artifact,
    artifact_id,
    external,
    file_digests,
    parent_path,
    read,
    read_manifest,
    seal_of,
)
from kleash.durable import PARTIAL, file_digest, read_rows, remembered_digest
from kleash.errors import ArtifactError, KleashError

JUDGEMENTS_FILE = "judgements.jsonl"
_ROUNDS = "round-*"
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Link:
    """One parent's part in one child: the child calls `parent_id` its `role`."""

    role: str
    parent_id: str
    child_id: str


@dataclass(frozen=True)
class Lineage:
    """Artifacts by id with the links among them; `focus` holds the ids that were asked about, oldest first.

    A parent that is no longer there, or never was an artifact (a data file, a model from elsewhere), is a node too:
    an Artifact without a `created` date.
    """

    artifacts: Mapping[str, Artifact]
    links: tuple[Link, ...]
    focus: tuple[str, ...]

    def parents_of(self, identity: str) -> list[Link]:
        return [link for link in self.links if link.child_id == identity]

    def children_of(self, identity: str) -> list[Link]:
        return [link for link in self.links if link.parent_id == identity]

    def ancestors_of(self, identity: str) -> list[Artifact]:
        """Return everything the artifact was made from, nearest first."""
        return [self.artifacts[found] for found in self._reach(identity, upwards=True)]

    def descendants_of(self, identity: str) -> list[Artifact]:
        """Return everything that was made from the artifact, nearest first."""
        return [self.artifacts[found] for found in self._reach(identity, upwards=False)]

    def _reach(self, identity: str, *, upwards: bool) -> list[str]:
        reached: list[str] = []
        waiting = [identity]
        while waiting:
            for link in self.parents_of(waiting[0]) if upwards else self.children_of(waiting[0]):
                other = link.parent_id if upwards else link.child_id
                if other not in reached:
                    reached.append(other)
                    waiting.append(other)
            waiting.pop(0)
        return reached


def lineage_of(path: Path) -> Lineage:
    """Read the lineage around a run folder or a single artifact folder.

    Children are looked for in all runs beside this one, so that a branch is found as well. Raises ArtifactError if
    there is no complete artifact at `path`.
    """
    path = Path(path).absolute()
    if (path / MANIFEST).exists():
        asked = [read(path)]
        run = run_around(path)
    else:
        run, asked = path, _artifacts_of_run(path)
    if not asked:
        raise ArtifactError(
            f"No complete artifact in {path}. A run folder (with round-000/*/{MANIFEST}) or an artifact folder is "
            "needed. Correct the path, or run a stage first."
        )
    neighbours = [artifact for other in sorted(run.parent.iterdir()) for artifact in _readable_artifacts(other)]
    artifacts: dict[str, Artifact] = {}
    links: dict[Link, None] = {}
    # The asked ones come first: a copy of an artifact in another run must not take the place of this run's.
    waiting = asked + neighbours
    while waiting:
        artifact = waiting.pop(0)
        if artifact.id in artifacts and artifacts[artifact.id].created:
            continue
        artifacts[artifact.id] = artifact
        for role, identity in artifact.parents.items():
            links[Link(role, identity, artifact.id)] = None
            if identity not in artifacts:
                waiting.append(_parent(artifact, role))
    found = _connected(Lineage(artifacts, tuple(links), tuple(dict.fromkeys(artifact.id for artifact in asked))))
    try:
        TopologicalSorter({one.id: one.parents.values() for one in found.artifacts.values()}).prepare()
    except CycleError as error:
        raise ArtifactError(
            f"{path}: artifacts name each other as what they were made from ({' <- '.join(error.args[1])}). No stage "
            "writes that: a manifest was altered. Restore it, or make the artifact again."
        ) from error
    return found


def run_around(artifact: Path) -> Path:
    """Return the run that an artifact folder lies in, or the folder it lies in where that is no run."""
    return artifact.parent.parent if artifact.parent.match(_ROUNDS) else artifact.parent


def labels_behind(lineage: Lineage, identity: str) -> Iterator[dict[str, Any]]:
    """Yield every judgement that an artifact rests on, as its row of JSON (rater, comparison_id, ranks ...).

    Judgements are read from `judgements.jsonl` of the artifact and of all it was made from.
    """
    for artifact in [lineage.artifacts[identity], *lineage.ancestors_of(identity)]:
        yield from _labels_in(artifact)


def made_with_label(lineage: Lineage, label: str) -> list[Artifact]:
    """Return every artifact that a label entered, nearest first; `label` is a comparison's id or a rater's name."""
    found: dict[str, Artifact] = {}
    for artifact in lineage.artifacts.values():
        if any(label in (row.get("comparison_id"), row.get("rater")) for row in _labels_in(artifact)):
            found |= {entered.id: entered for entered in [artifact, *lineage.descendants_of(artifact.id)]}
    return list(found.values())


def render(lineage: Lineage) -> list[str]:
    """Return the lineage as lines of text: what each result was made from, then what each source was used for."""
    focus = set(lineage.focus)
    results = [
        identity for identity in lineage.focus if not {x.child_id for x in lineage.children_of(identity)} & focus
    ]
    sources = [identity for identity in lineage.artifacts if not lineage.parents_of(identity)]
    lines = ["Made from:"]
    for identity in results:
        lines += _tree(lineage, identity, upwards=True)
    lines.append("Used for:")
    for identity in sources if len(focus) > 1 else lineage.focus:
        lines += _tree(lineage, identity, upwards=False)
    return lines


def describe(artifact: Artifact, *, role: str = "") -> str:
    """Return one line about an artifact: its role, kind, id, place, the figures of its summary and audit verdicts."""
    figures = [f"{name} {_short(value)}" for name, value in artifact.summary.items() if isinstance(value, int | float)]
    verdicts = {"verdict": artifact.summary.get("verdict"), "audit": artifact.settings.get("audit")}
    figures += [f"{name}: {said}" for name, said in verdicts.items() if isinstance(said, str)]
    index = "/".join(artifact.path.parts[-3:]) if artifact.created else str(artifact.path)
    kind = artifact.kind if role in ("", artifact.kind) else f"{role}: {artifact.kind}"
    return f"{kind} {artifact.id[:8]} {index}" + (f" ({', '.join(figures)})" if figures else "")


def verify(folder: Path, *, within: Path | None = None) -> list[str]:
    """Hash an artifact again and list what does not agree with its manifest; an empty list means it is whole.

    Also compares its parents, where they still are at the recorded place, with the ids they had when they were used.
    within: a run whose own stages must all be there.
    """
    folder = Path(folder)
    try:
        artifact = read(folder)
    except ArtifactError as error:
        return [str(error)]
    problems = []
    manifest = read_manifest(folder / MANIFEST)
    if manifest.get("seal") != seal_of(manifest["artifact"]):
        problems.append(f"{folder / MANIFEST} was altered: its seal does not fit what it says")
    problems += _changed_files(artifact)
    if artifact.id != artifact_id(artifact):
        problems.append(
            f"{folder} is not what its id {artifact.id} stands for: kind, parents, settings or files differ"
        )
    return problems + [problem for role in artifact.origins if (problem := _parent_problem(artifact, role, within))]


def verify_run(run: Path) -> list[str]:
    """Hash every artifact of a run, or a single artifact folder, again; list all that does not agree.

    What was begun and not finished is no fault: it is resumed by the command that began it.
    """
    run = Path(run)
    folders = [run] if (run / MANIFEST).exists() else [artifact.path for artifact in _artifacts_of_run(run)]
    if not folders:
        raise ArtifactError(
            f"No complete artifact in {run}. A run folder or an artifact folder is needed. "
            "Correct the path, or run a stage first."
        )
    return [problem for folder in folders for problem in verify(folder, within=run)]


def require_whole(parents: Iterable[Artifact]) -> None:
    """Refuse parents that are not what their manifests say, before a stage is begun. Raises ArtifactError.

    Large files that were hashed before and not touched since are not read again, and hidden ones that a desktop added
    are read by nobody.
    """
    made_here = {parent.path: parent for parent in parents if parent.created}
    for path, parent in made_here.items():
        if changes := _changed_files(parent, digest_of=remembered_digest, minds_hidden=False):
            raise ArtifactError(
                f"{path}, a {parent.kind} to go on from, is damaged: {'; '.join(changes)}. Expected what was made. Put "
                "the files back, or remove that folder and run the same command again to make it anew."
            )


# ----------------------------------------------------------------------------------------------------------- inside
def _changed_files(
    artifact: Artifact, *, digest_of: Callable[[Path], str] = file_digest, minds_hidden: bool = True
) -> list[str]:
    changes, found = [], file_digests(artifact.path, digest_of=digest_of)
    for name in sorted(artifact.files.keys() | found.keys()):
        path, known = artifact.path / name, artifact.files.get(name)
        if name not in found:
            changes.append(f"{path} is missing")
        elif known is None and not minds_hidden and path.name.startswith("."):
            continue
        elif known is None:
            changes.append(f"{path} was added: the manifest does not list it")
        elif found[name] != known:
            changes.append(f"{path} was altered: sha256 {found[name][:12]}, not {known[:12]}")
    return changes


def _labels_in(artifact: Artifact) -> Iterator[dict[str, Any]]:
    path = artifact.path / JUDGEMENTS_FILE
    if artifact.created and path.exists():
        yield from read_rows(path)


def _artifacts_of_run(run: Path) -> list[Artifact]:
    manifests = [*run.glob(f"{_ROUNDS}/*/{MANIFEST}"), *run.glob(f"*/{MANIFEST}")]
    found = [read(path.parent) for path in sorted(set(manifests)) if not path.parent.name.endswith(PARTIAL)]
    return sorted(found, key=lambda artifact: artifact.created)


def _readable_artifacts(run: Path) -> list[Artifact]:
    try:
        return _artifacts_of_run(run)
    except ArtifactError as error:
        # Another run's damage must not hide this run's lineage; what it may have taken from here goes unseen.
        _logger.warning("Left out of the lineage: %s", error)
        return []


def _parent(artifact: Artifact, role: str) -> Artifact:
    path = parent_path(artifact, role)
    if (path / MANIFEST).exists():
        with suppress(ArtifactError):  # of what cannot be read, only what its child says is known
            there = read(path)
            if there.id == artifact.parents[role]:
                return there
    return Artifact(kind=artifact.origins[role].kind, id=artifact.parents[role], files={}, path=path)


def _connected(lineage: Lineage) -> Lineage:
    """Keep the asked artifacts with all their ancestors and descendants."""
    kept = set(lineage.focus)
    for identity in lineage.focus:
        kept |= {found.id for found in lineage.ancestors_of(identity) + lineage.descendants_of(identity)}
    artifacts = {identity: artifact for identity, artifact in lineage.artifacts.items() if identity in kept}
    links = tuple(link for link in lineage.links if link.parent_id in kept and link.child_id in kept)
    return Lineage(artifacts, links, lineage.focus)


def _tree(lineage: Lineage, root: str, *, upwards: bool) -> list[str]:
    lines = ["  " + describe(lineage.artifacts[root])]
    shown: set[str] = set()

    def branches(identity: str, indent: str) -> Iterator[str]:
        links = lineage.parents_of(identity) if upwards else lineage.children_of(identity)
        for index, link in enumerate(links):
            is_last = index == len(links) - 1
            other = link.parent_id if upwards else link.child_id
            again = other in shown
            shown.add(other)
            role = link.role if upwards else f"as {link.role}"
            text = describe(lineage.artifacts[other], role=role)
            yield f"{indent}{'└─ ' if is_last else '├─ '}{text}{' (see above)' if again else ''}"
            if not again:
                yield from branches(other, indent + ("   " if is_last else "│  "))

    lines += branches(root, "  ")
    return lines


def _short(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3g}"


def _parent_problem(artifact: Artifact, role: str, within: Path | None) -> str | None:
    path = parent_path(artifact, role)
    try:
        now = external(path, artifact.origins[role].kind, digest_of=file_digest).id
    except KleashError:
        if path.exists():
            raise
        is_own = within is not None and path.absolute().is_relative_to(within.absolute())
        return f"{path} ({role} of {artifact.path}) is missing" if is_own else None
    if now == artifact.parents[role]:
        return None
    return f"{path} ({role} of {artifact.path}) has id {now} now; {artifact.parents[role]} was used"
