"""What earlier versions of KLeash wrote, read as this one would have written it: formats, and settings since changed.

A settings record says what is true today. What an earlier version did where a setting did not exist yet stands in the
tables here, one line each; `docs/versions.md` says what ages how. Nothing else in KLeash asks who wrote a file.
"""

from __future__ import annotations

import functools
import json
import platform
import re
import subprocess
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from operator import attrgetter
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from kleash import __version__
from kleash.beside import table_beside
from kleash.durable import UNSEALED, sealed
from kleash.errors import KleashError, RunError, SettingsError
from kleash.settings import NONE, SettingsT, dump_toml, load_toml, record_in, with_overrides

FORMAT = 2
"""Of what a run keeps: settled recipe, begun.json, checkpoints, a campaign's export. 0.1.0 wrote none down: that is 1.

Raise it with the first change of a release that earlier versions would misread, a new setting included.
"""

ADDED: Mapping[str, Any] = {
    f"{record}.{name}": None if value == NONE else value
    for record, settings in table_beside(__file__).items()
    for name, value in settings.items()
}
"""By "Record.setting": how versions that lacked a setting behaved; `versions.toml`."""

RENAMED: Mapping[str, str] = {}
"""By "Record.former name": the setting's name of today."""

DROPPED: Mapping[str, Any] = {}
"""By "Record.setting": the value that KLeash now behaves by; recorded with any other, it is a difference."""

UNRECORDED: Sequence[str] = ("rendering",)
"""Tables of an artifact's settings that earlier versions did not record: what is missing is taken as it comes."""

LAST_ABLE: Mapping[tuple[str, int], str] = {}
"""By kind of artifact and format: the last version that goes on with an unfinished one, where this one cannot."""

_PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "peft", "numpy", "pydantic")
_HEADER = re.compile(r"# KLeash (\S+), format (\d+)")


# ---------------------------------------------------------------------------------------------------------- formats
def format_mark() -> dict[str, Any]:
    """Return what a JSON file says of who wrote it."""
    return {"format": FORMAT, "kleash": __version__}


def check_format(content: Mapping[str, Any], path: Path, error: type[KleashError] = RunError) -> int:
    """Return the format of a file's JSON. Raises `error` naming the version that wrote it, if that is a later one."""
    written, writer = content.get("format", 1), content.get("kleash", "a later version")
    if not isinstance(written, int) or written > FORMAT:
        raise error(
            f"{path} is of format {written}, written by KLeash {writer}; this is KLeash {__version__}, which reads up "
            f"to format {FORMAT}. Use the version that wrote it, or a later one."
        )
    return written


def check_unfinished(
    kind: str, written: int, folder: Path, last_able: Mapping[tuple[str, int], str] | None = None
) -> None:
    """Raise SettingsError naming the last version that can go on with an unfinished artifact, if this one cannot."""
    last = (LAST_ABLE if last_able is None else last_able).get((kind, written))
    if last is not None:
        raise SettingsError(
            f"{folder} was begun by an earlier version of KLeash (format {written}), and this is KLeash {__version__}. "
            f"The last version that goes on with an unfinished {kind} of that format is {last}. Finish it with that "
            "version, whose artifacts are read as ever, or remove the folder to make it anew."
        )


# ---------------------------------------------------------------------------------------------------------- recipes
def settled_text(recipe: BaseModel) -> str:
    """Return the recipe as a run keeps it: with every default; first lines say which version wrote it, and seal it."""
    return sealed(f"# KLeash {__version__}, format {FORMAT}\n# {UNSEALED}\n{dump_toml(recipe)}")


def load_settled(path: Path, model_class: type[SettingsT], overrides: Sequence[str] = ()) -> SettingsT:
    """Read the recipe that a run keeps; a setting it lacks has the value by which its version behaved."""
    check_recipe_format(path)
    return load_toml(path, model_class, overrides, as_now=lambda settings: as_now(settings, model_class))


def as_begun(recipe: SettingsT, settled: Path) -> SettingsT:
    """Return the recipe by which a run goes on: a setting younger than the run, if nobody set it, means what it did.

    settled: the recipe that the run keeps; where there is none yet, nothing changes.
    """
    if not settled.exists():
        return recipe
    check_recipe_format(settled)
    added = dict(_added(tomllib.loads(settled.read_text(encoding="utf-8")), type(recipe)))
    otherwise = {name: value for name, value in added.items() if attrgetter(name)(recipe) != value}
    return with_overrides(recipe, {name: value for name, value in otherwise.items() if not _is_set(recipe, name)})


def check_recipe_format(path: Path) -> None:
    """Refuse a recipe that a later version settled. Raises SettingsError."""
    try:
        with open(path, encoding="utf-8") as file:
            header = _HEADER.match(file.readline())
    except (OSError, UnicodeDecodeError):
        return  # whoever reads all of it says what is wrong
    if header:
        check_format({"format": int(header[2]), "kleash": header[1]}, path, SettingsError)


# --------------------------------------------------------------------------------------------------------- settings
def recorded_as_now(
    recorded: Mapping[str, Any], wanted: Mapping[str, Any], records: Mapping[str, type[BaseModel]]
) -> dict[str, Any]:
    """Return an artifact's recorded settings as this version would have recorded them.

    records: the settings record behind each table of the settings, "" for what stands at the top.
    """
    top = records.get("")
    own = {name for name in recorded if top and (name in top.model_fields or name not in wanted)}
    now = {name: value for name, value in recorded.items() if name not in own}
    for name, record in records.items():
        if name and isinstance(now.get(name), Mapping):
            now[name] = _filled(now[name], record)
    if top:
        now |= _filled({name: recorded[name] for name in own}, top)
    return {name: wanted[name] for name in UNRECORDED if name in wanted} | now


def as_now(recorded: Mapping[str, Any], record: type[BaseModel]) -> dict[str, Any]:
    """Return recorded settings with what the tables know of them; a new setting without a line keeps its default."""
    known = record.__name__
    now = {RENAMED.get(f"{known}.{name}", name): value for name, value in recorded.items()}
    now = {name: value for name, value in now.items() if DROPPED.get(f"{known}.{name}", _NEVER) != value}
    for name, field in record.model_fields.items():
        inner = record_in(field.annotation)
        if name not in now and f"{known}.{name}" in ADDED:
            now[name] = ADDED[f"{known}.{name}"]
        elif inner is not None and isinstance(now.get(name), Mapping):
            now[name] = as_now(now[name], inner)
    return now


def _added(recorded: Mapping[str, Any], record: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the settings that a recorded one lacks for its age, by dotted name, as its version behaved."""
    for name, field in record.model_fields.items():
        inner = record_in(field.annotation)
        if name not in recorded and f"{record.__name__}.{name}" in ADDED:
            yield prefix + name, ADDED[f"{record.__name__}.{name}"]
        elif inner is not None and isinstance(recorded.get(name), Mapping):
            yield from _added(recorded[name], inner, f"{prefix}{name}.")


def _is_set(settings: BaseModel, name: str) -> bool:
    """Say whether somebody set a setting, by its dotted name, or it is at its default."""
    first, _, rest = name.partition(".")
    return first in settings.model_fields_set and (not rest or _is_set(getattr(settings, first), rest))


def _filled(recorded: Mapping[str, Any], record: type[BaseModel]) -> dict[str, Any]:
    """Return recorded settings with today's defaults too, or as they are where today's record does not take them."""
    now = as_now(recorded, record)
    try:
        return record.model_validate_json(json.dumps(now)).model_dump(mode="json")
    except ValidationError:  # what it does not take is named as the difference
        return now


_NEVER = object()


# --------------------------------------------------------------------------------------------- who wrote an artifact
@functools.cache
def code_commit() -> str:
    """Return the commit this code was checked out from, "+" appended if it was changed since; "" if installed."""
    package = Path(__file__).parent
    git = ["git", "-C", str(package)]
    try:
        # An installed package may lie inside some other repository: only a tracked file makes the commit ours.
        subprocess.run([*git, "ls-files", "--error-unmatch", Path(__file__).name], capture_output=True, check=True)
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, check=True, text=True).stdout.strip()
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "."], capture_output=True).returncode != 0
    except (OSError, subprocess.CalledProcessError):
        return ""
    return commit + ("+" if changed else "")


@functools.cache
def package_versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "kleash": __version__}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
