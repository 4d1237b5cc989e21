"""Write and read artifacts: folders that say what they are, what made them and from which parents.

A stage fills `NAME.partial/`; the manifest `artifact.json` is written last and the folder is renamed to `NAME`. So a
folder with its plain name is complete, and a `.partial` one is where a killed stage goes on. An artifact's id is a
hash over kind, parents, resolved settings and files: the same work has the same id, whether interrupted or not.
No torch here. How artifacts hang together, and whether one is still whole, is in `lineage.py`; how bytes get safely to
the disk in `durable.py`.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from kleash.durable import (
    TEMPORARY,
    clear_write_errors,
    file_digest,
    finite_numbers,
    json_text,
    partial_path,
    publish,
    read_object,
    remembered_digest,
    sync_path,
    touched,
    write_text,
)
from kleash.errors import ArtifactError, SettingsError
from kleash.formats.sources import files_of, names_several
from kleash.functions import FUNCTIONS, edited
from kleash.records import content_id
from kleash.settings import difference
from kleash.versions import (
    check_format,
    check_unfinished,
    code_commit,
    format_mark,
    package_versions,
    recorded_as_now,
)

MANIFEST = "artifact.json"
MANIFEST_FORMAT = 1
_BEGUN = "begun.json"
_WORK = "work"
_logger = logging.getLogger(__name__)
Records = Mapping[str, type[BaseModel]]
_NO_RECORDS: Records = {}


@dataclass(frozen=True)
class Origin:
    """Where a parent was when it was used: an artifact folder (relative, within one run) or an outside file."""

    kind: str
    path: str


@dataclass(frozen=True)
class Artifact:
    """What `artifact.json` says, and where it was read.

    parents: {role: id}, and `origins` by the same roles. settings, settings_given: as resolved with every default.
    files: {relative path: sha256}; those in `unhashed` (logs with timings) stay out of the id.
    text_format: {"tokenizer": digest, "chat_template": digest}, or None where no text was turned into tokens.
    summary: figures worth showing; they may hold timings and are not part of the id either.
    """

    kind: str
    id: str
    files: Mapping[str, str]
    path: Path = field(compare=False)
    parents: Mapping[str, str] = field(default_factory=dict)
    origins: Mapping[str, Origin] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    settings_given: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    unhashed: tuple[str, ...] = ()
    text_format: Mapping[str, str | None] | None = None
    summary: Mapping[str, Any] = field(default_factory=dict)
    code_commit: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)
    created: str = ""


_ARTIFACT = TypeAdapter(Artifact)


@dataclass
class Draft:
    """An artifact being made: fill `path`, keep checkpoints in `work`, set `summary` before leaving `writing`.

    `work` is deleted at the end. A stage that goes on writes every file anew, or touches what it keeps: what it `found`
    and left alone is nobody's, and set aside. Add to `unhashed` the files and folders that differ between two runs of
    the same work; their digests are recorded all the same.
    """

    path: Path
    is_resumed: bool
    summary: dict[str, Any] = field(default_factory=dict)
    unhashed: set[str] = field(default_factory=lambda: {"metrics.jsonl", "tensorboard"})
    found: Mapping[str, list[int]] = field(default_factory=dict)

    @property
    def work(self) -> Path:
        return self.path / _WORK


# ------------------------------------------------------------------------------------------------------------ write
@contextmanager
def writing(
    folder: Path,
    *,
    kind: str,
    parents: Mapping[str, Artifact],
    settings: Mapping[str, Any],
    records: Records = _NO_RECORDS,
    seed: int | None = None,
    text_format: Mapping[str, str | None] | None = None,
) -> Iterator[Draft]:
    """Make the artifact `folder`: complete and whole after a clean exit, left to be resumed after any other.

    settings, summary: whatever JSON holds. Ask `find` first whether the artifact is there already.
    Raises SettingsError if the folder was begun with other settings or parents, ArtifactError if it is complete,
    RunError if the disk refuses.
    """
    folder = Path(folder)
    begun = _beginning(kind, parents, settings)
    with clear_write_errors(f"{kind} artifact", partial_path(folder)):
        if find(folder) is not None:
            raise ArtifactError(f"{folder} is a complete artifact already. Use it, or remove it to make it again.")
        draft = _open_draft(folder, begun, records)
        yield draft
        _set_strays_aside(draft, folder)
        unsealed = Artifact(
            kind=kind,
            id="",
            parents=begun["parents"],
            origins={role: _origin(parent, folder) for role, parent in parents.items()},
            settings=begun["settings"],
            settings_given=begun["settings"],
            seed=seed,
            files=file_digests(draft.path),
            unhashed=tuple(sorted(draft.unhashed)),
            text_format=dict(text_format) if text_format is not None else None,
            summary=_plain(draft.summary),
            code_commit=code_commit(),
            packages=package_versions(),
            created=datetime.now(UTC).isoformat(timespec="microseconds"),
            path=folder,
        )
        write_text(draft.path / MANIFEST, _manifest_text(replace(unsealed, id=artifact_id(unsealed))))
        _finish(folder)


def find(
    folder: Path,
    *,
    kind: str | None = None,
    parents: Mapping[str, Artifact] | None = None,
    settings: Mapping[str, Any] | None = None,
    records: Records = _NO_RECORDS,
) -> Artifact | None:
    """Return the complete artifact in `folder`, or None if it is still to be made or finished.

    Given what is wanted, raises SettingsError naming each difference from what is there, complete or begun.
    records: the settings records behind `settings`, as `versions.recorded_as_now` takes them.
    """
    folder = Path(folder)
    partial = partial_path(folder)
    if (partial / MANIFEST).exists() and not folder.exists():
        # Killed between the manifest and the rename: all that is missing is the name.
        with clear_write_errors("artifact", partial):
            _finish(folder)
    artifact = read(folder) if folder.exists() else None
    if kind is not None and parents is not None and settings is not None:
        wanted = _beginning(kind, parents, settings)
        if artifact is not None:
            there = {"kind": artifact.kind, "parents": artifact.parents, "settings": artifact.settings}
            _refuse_difference(folder, there, wanted, records)
        elif (partial / _WORK / _BEGUN).exists():
            _refuse_difference(partial, _read_begun(partial), wanted, records)
    return artifact


def external(
    path: Path,
    kind: str,
    *,
    text_format: Mapping[str, str | None] | None = None,
    digest_of: Callable[[Path], str] = remembered_digest,
) -> Artifact:
    """Describe a file or folder that no stage made (a model folder, a data file) so that it can be a parent.

    Its id is a hash over its contents. A folder that is an artifact is returned as that artifact, with its own kind.
    digest_of: by default, large files that were hashed before and not touched since are not read again.
    """
    path = Path(path)
    if (path / MANIFEST).exists():
        return read(path)
    if path.is_file():
        files = {path.name: digest_of(path)}
    elif path.is_dir():
        found = file_digests(path, digest_of=digest_of)
        files = {name: digest for name, digest in found.items() if not name.startswith(".")}
    elif names_several(path):
        files = {str(file): digest_of(file) for file in files_of(path)}
    else:
        raise ArtifactError(f"No {kind} at {path}: no such file or folder. Give the path of an existing {kind}.")
    identity = content_id("external", kind, sorted(files.values()))
    return Artifact(kind=kind, id=identity, files=files, path=path, text_format=text_format)


# ------------------------------------------------------------------------------------------------------------- read
def read(folder: Path) -> Artifact:
    """Read a complete artifact's manifest; its files are trusted (`lineage.verify` checks them)."""
    folder = Path(folder)
    path = folder / MANIFEST
    if not path.exists():
        if partial_path(folder).exists():
            raise ArtifactError(
                f"{folder} is unfinished: only {partial_path(folder).name} is there. "
                "A complete artifact is needed. Run the command that makes it again; it goes on where it stopped."
            )
        missing = f"it has no {MANIFEST}" if folder.exists() else "no such folder"
        raise ArtifactError(
            f"No artifact at {folder}: {missing}. A folder made by a kleash stage is needed. "
            "Run that stage first or correct the path."
        )
    manifest = read_manifest(path)
    if manifest.get("format") != MANIFEST_FORMAT:
        raise ArtifactError(
            f"{path} has manifest format {manifest.get('format')!r}, this version of kleash reads {MANIFEST_FORMAT}. "
            "Use the version of kleash that wrote it, or make the artifact again."
        )
    try:
        return _ARTIFACT.validate_python({**manifest["artifact"], "path": folder})
    except (KeyError, TypeError, ValidationError) as error:
        faults = error.errors() if isinstance(error, ValidationError) else []
        said = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults[:3]) or str(error)
        raise ArtifactError(
            f"{path} is damaged: {said}. A manifest as kleash writes it is needed. Make the artifact again."
        ) from error


def require(source: Path | Artifact, kind: str | Collection[str]) -> Artifact:
    """Return the artifact, sure to be complete and of the right kind.

    kind: one kind or several acceptable ones. How its texts were read is checked once a stage's model is loaded
    (`stages/context.py`). Raises ArtifactError before any compute is spent.
    """
    artifact = source if isinstance(source, Artifact) else read(source)
    kinds = (kind,) if isinstance(kind, str) else tuple(kind)
    if artifact.kind not in kinds:
        raise ArtifactError(
            f"{artifact.path} is of kind {artifact.kind}, but {' or '.join(kinds)} is needed here. "
            f"Give the folder of a {kinds[0]} artifact."
        )
    return artifact


def begun_settings(folder: Path) -> Mapping[str, Any] | None:
    """Return the settings that an artifact was begun with, by whichever version; None where nothing was begun."""
    partial = partial_path(Path(folder))
    if Path(folder).exists():
        return read(folder).settings
    return _read_begun(partial)["settings"] if (partial / _WORK / _BEGUN).exists() else None


def parent_path(artifact: Artifact, role: str) -> Path:
    """Return where a parent was when the artifact was made; it may have gone since."""
    return Path(os.path.normpath(artifact.path / artifact.origins[role].path))


# ----------------------------------------------------------------------------------------------------------- inside
def _beginning(kind: str, parents: Mapping[str, Artifact], settings: Mapping[str, Any]) -> dict[str, Any]:
    ids = {role: parent.id for role, parent in parents.items()}
    return {"kind": kind, "parents": ids, "settings": _plain(settings)}


def _read_begun(partial: Path) -> dict[str, Any]:
    """Return how an unfinished artifact was begun; refuses one that this version cannot go on with."""
    begun = read_manifest(partial / _WORK / _BEGUN)
    check_unfinished(str(begun.get("kind")), check_format(begun, partial / _WORK / _BEGUN, ArtifactError), partial)
    return {name: begun.get(name, {}) for name in ("kind", "parents", "settings")}


def _open_draft(folder: Path, begun: Mapping[str, Any], records: Records) -> Draft:
    partial = partial_path(folder)
    draft = Draft(path=partial, is_resumed=(partial / _WORK / _BEGUN).exists())
    if draft.is_resumed:
        _refuse_difference(partial, _read_begun(partial), begun, records)
        draft.found = {name: touched(partial / name) for name in _own_files(partial)}
        return draft
    if _own_files(partial):
        raise ArtifactError(
            f"{partial} holds files but no record of how they were begun. A new artifact needs an empty folder. "
            "Remove it or choose another run name."
        )
    draft.work.mkdir(parents=True, exist_ok=True)
    write_text(draft.work / _BEGUN, json_text({**format_mark(), **begun}, indent=1))
    return draft


def _refuse_difference(
    folder: Path, there: Mapping[str, Any], wanted: Mapping[str, Any], records: Records = _NO_RECORDS
) -> None:
    if difference(there, wanted):  # or only as an earlier version recorded it
        there = {**there, "settings": recorded_as_now(there["settings"], wanted["settings"], records)}
    was, now = ({**part, "settings": {**part["settings"], FUNCTIONS: {}}} for part in (there, wanted))
    functions = [part["settings"].get(FUNCTIONS, {}) for part in (there, wanted)]
    changes = difference(was, now) + edited(*functions, place=folder)
    if changes:
        raise SettingsError(
            f"{folder} was begun with other settings: {'; '.join(changes)}. An existing run keeps its settings. "
            f"Set them back, start a sibling run with --branch NAME, or remove {folder}."
        )


def _finish(folder: Path) -> None:
    partial = partial_path(folder)
    # The manifest must be on the disk before the checkpoints go: from here on only this function can be interrupted,
    # and `find` completes it.
    sync_path(partial / MANIFEST)
    if (partial / _WORK).exists():
        shutil.rmtree(partial / _WORK)
    for leftover in partial.rglob(f"*{TEMPORARY}"):
        leftover.unlink()
    publish(partial, folder)


def _set_strays_aside(draft: Draft, folder: Path) -> None:
    """Move what lay in a draft when it was gone on with, and no stage wrote or kept, out of the artifact."""
    aside = folder.with_name(f"{folder.name}.stray")
    for name, before in draft.found.items():
        stray = draft.path / name
        if not _is_among(name, draft.unhashed) and stray.is_file() and touched(stray) == before:
            (aside / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(stray, aside / name)
            _logger.warning("%s is no file of the artifact; it was moved to %s.", stray, aside / name)


def file_digests(folder: Path, *, digest_of: Callable[[Path], str] = file_digest) -> dict[str, str]:
    return {name: digest_of(folder / name) for name in _own_files(folder)}


def _own_files(folder: Path) -> list[str]:
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    work = f"{_WORK}/"
    return [name for name in names if name != MANIFEST and not name.startswith(work) and not name.endswith(TEMPORARY)]


def _is_among(name: str, unhashed: Collection[str]) -> bool:
    return not {name, *(parent.as_posix() for parent in Path(name).parents)}.isdisjoint(unhashed)


def artifact_id(artifact: Artifact) -> str:
    hashed = {name: digest for name, digest in artifact.files.items() if not _is_among(name, artifact.unhashed)}
    return content_id(artifact.kind, dict(artifact.parents), _plain(artifact.settings), hashed)


def _manifest_text(artifact: Artifact) -> str:
    # asdict copies deep, so the path, which would not survive a move of the folder, can simply be dropped.
    content = {name: value for name, value in asdict(artifact).items() if name != "path"}
    content = _plain(content)
    manifest = {"format": MANIFEST_FORMAT, "artifact": content, "seal": seal_of(content)}
    return json_text(manifest, indent=1) + "\n"


def seal_of(content: Mapping[str, Any]) -> str:
    return content_id("manifest", content)


def _origin(parent: Artifact, folder: Path) -> Origin:
    # Within one run the way is relative, so that the run may be moved or copied as a whole.
    run = folder.absolute().parent.parent
    path = parent.path.absolute()
    where = os.path.relpath(path, folder.absolute()) if path.is_relative_to(run) else str(path)
    return Origin(kind=parent.kind, path=where)


def _plain(value: Any) -> Any:
    """Return the value as JSON would give it back, so that what is compared with a file compares equal."""
    return finite_numbers(json.loads(json.dumps(value, default=str)))


def read_manifest(path: Path) -> dict[str, Any]:
    return read_object(path, remedy="A whole JSON object is needed. Restore or remove the file.", error=ArtifactError)
