"""Read a run folder into plain records: recipe, summary and, per round, each stage's manifest and row files.

Nothing is interpreted here (that is `findings.py`), and nothing is written. A run is read as it stands: stages may be
missing or unfinished, a last line may be torn by a kill or still being written, a manifest may be damaged; what cannot
be read is left out and named in `RunFolder.problems`. `live.py` reads the same files again and again while they grow.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from kleash.artifacts import MANIFEST, Artifact, read
from kleash.durable import PARTIAL, read_object, read_regular
from kleash.errors import ArtifactError, RunError
from kleash.results import CheckpointQuality, Summary
from kleash.run_summary import RunSummary
from kleash.stages.table import STAGES

Row = Mapping[str, Any]
SummaryT = TypeVar("SummaryT", bound=Summary)
Rows = Sequence[Row]
ReadRows = Callable[[Path, list[str]], Rows]


@dataclass(frozen=True)
class StageFolder:
    """One stage of one round. artifact: what its manifest says, None while unfinished; rows: {file stem: its rows}."""

    name: str
    folder: Path
    artifact: Artifact | None
    rows: Mapping[str, Rows] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        return self.artifact is not None

    @property
    def summary(self) -> Mapping[str, Any]:
        return self.artifact.summary if self.artifact else {}

    @property
    def settings(self) -> Mapping[str, Any]:
        return self.artifact.settings if self.artifact else {}


@dataclass(frozen=True)
class RoundFolder:
    """One pass of the recipe, with its stages in the order of `stages/table.py`."""

    number: int
    stages: Mapping[str, StageFolder]

    def rows(self, stage: str, file: str) -> Rows:
        """Return a stage's rows of `file`.jsonl; none if the stage or the file is missing."""
        return self.stages[stage].rows.get(file, ()) if stage in self.stages else ()

    def summary(self, stage: str, kind: type[SummaryT]) -> SummaryT:
        """Return what a stage came to, as a record of its kind; an empty one if the stage is missing or unfinished."""
        return kind.from_json(self.stages[stage].summary if stage in self.stages else {})

    def checkpoints(self, stage: str) -> list[CheckpointQuality]:
        """Return how a run's checkpoints stand by the evaluation's judge, or by people's and AI judges' votes."""
        return [CheckpointQuality.from_json(row) for row in self.rows(stage, "checkpoints")]

    def settings(self, stage: str) -> Mapping[str, Any]:
        return self.stages[stage].settings if stage in self.stages else {}


@dataclass(frozen=True)
class RunFolder:
    """A run as it lies on the disk. recipe_text is the file as the user wrote it; problems: what could not be read."""

    name: str
    folder: Path
    recipe_text: str
    recipe: Mapping[str, Any]
    summary: RunSummary | None
    rounds: tuple[RoundFolder, ...]
    problems: Sequence[str] = ()

    def wanted_stages(self, round_folder: RoundFolder | None) -> list[str]:
        """Return the stages that the recipe lists; without such a list those that a round has begun."""
        stages = self.recipe.get("stages")
        begun = round_folder.stages if round_folder else ()
        return [str(name) for name in (stages if isinstance(stages, list) else begun)]


def read_rows(path: Path, problems: list[str]) -> tuple[Row, ...]:
    """Return the JSON objects of a JSON-lines file; a torn last line is still being written and no problem."""
    rows = []
    lines = read_regular(path).split(b"\n")
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line) if line.strip() else None
        except (ValueError, RecursionError):
            if number < len(lines):
                problems.append(f"{path.parent.name}/{path.name}, line {number}, is not JSON and was left out")
            continue
        if isinstance(row, dict):
            rows.append(row)
    return tuple(rows)


def read_run(folder: Path, *, rows_of: ReadRows = read_rows, is_lazy: bool = False) -> RunFolder:
    """Read the run in `folder`, finished or not.

    rows_of: what reads a JSON-lines file.  is_lazy: each file is read when it is
    first asked for, and `problems` is complete only then.
    Raises RunError if there is no run: no such folder, or neither a recipe nor any stage in it.
    """
    folder = Path(folder)
    problems: list[str] = []
    rounds = tuple(
        RoundFolder(number=int(path.name.removeprefix("round-")), stages=_read_stages(path, problems, rows_of, is_lazy))
        for path in sorted(folder.glob("round-*"))
        if path.is_dir() and path.name.removeprefix("round-").isdecimal()
    )
    recipe_text, content = _text(folder / "recipe.toml"), _json_object(folder / "summary.json", problems)
    if not recipe_text and not any(round_folder.stages for round_folder in rounds):
        reason = "it holds neither recipe.toml nor a stage" if folder.exists() else "no such folder"
        raise RunError(
            f"No run at {folder}: {reason}. A folder that `kleash run` made is needed. "
            "Correct the path, or run a recipe first."
        )
    return RunFolder(
        name=folder.absolute().name,
        folder=folder,
        recipe_text=recipe_text,
        recipe=_recipe(recipe_text, problems),
        summary=RunSummary.from_json(content) if content else None,
        rounds=rounds,
        problems=problems if is_lazy else tuple(problems),
    )


def newest_round(run: RunFolder) -> RoundFolder | None:
    """Return the newest round that trained something, or simply the newest one."""
    trained = tuple(folder for folder in run.rounds if {"policy", "direct"} & set(folder.stages))
    return (trained or run.rounds)[-1] if run.rounds else None


# ----------------------------------------------------------------------------------------------------------- inside
class _LazyRows(Mapping[str, Rows]):
    """A stage's row files by their stem, each read when it is first asked for."""

    def __init__(self, files: Sequence[Path], rows_of: ReadRows, problems: list[str]) -> None:
        self._files = {file.stem: file for file in files}
        self._rows_of = rows_of
        self._problems = problems
        self._read: dict[str, Rows] = {}

    def __getitem__(self, stem: str) -> Rows:
        if stem not in self._read:
            self._read[stem] = self._rows_of(self._files[stem], self._problems)
        return self._read[stem]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def _read_stages(folder: Path, problems: list[str], rows_of: ReadRows, is_lazy: bool) -> dict[str, StageFolder]:
    names = {path.name.removesuffix(PARTIAL) for path in folder.iterdir() if path.is_dir()}
    # What `discard` was killed in the middle of is named NAME.old.partial: debris, not a stage.
    names = {name for name in names if "." not in name}
    # What the table of stages does not name, such as a campaign of people, follows by name.
    order = [name for name in STAGES if name in names] + sorted(names - set(STAGES))
    return {name: _read_stage(folder, name, problems, rows_of, is_lazy) for name in order}


def _read_stage(folder: Path, name: str, problems: list[str], rows_of: ReadRows, is_lazy: bool) -> StageFolder:
    complete, partial = folder / name, folder / (name + PARTIAL)
    path = complete if complete.is_dir() else partial
    artifact = None
    if (path / MANIFEST).exists():
        try:
            artifact = read(path)
        except ArtifactError as error:
            problems.append(str(error))
    files = sorted(path.glob("*.jsonl"))
    problems += [f"{name}/{file.name} is no file and was left out" for file in files if not file.is_file()]
    rows = _LazyRows([file for file in files if file.is_file()], rows_of, problems)
    return StageFolder(name=name, folder=path, artifact=artifact, rows=rows if is_lazy else dict(rows))


def _recipe(text: str, problems: list[str]) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problems.append(f"recipe.toml is not TOML: {error}")
        return {}


def _json_object(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        return read_object(path, remedy="It was left out.") if path.is_file() else {}
    except RunError as error:
        problems.append(str(error))
        return {}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
