"""Which layout a file has, told by its first rows; where it is none that is known, a message that says what is.

The layouts are in `shapes.py`; what is done with a file whose layout is known is in `reading.py`.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from kleash.errors import DataError
from kleash.formats import fields
from kleash.formats.rows import Row, RowProblem
from kleash.formats.shapes import SHAPES, Kind, Shape
from kleash.plugins import resolve_row

NUM_ROWS_LOOKED_AT = 100
NAME_OF: Mapping[Kind, str] = {kind: kind for kind in get_args(Kind)} | {"labelled": "labelled answers"}


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that could not be used: where it stands, what is wrong with it, what would make it usable."""

    file: str
    line: int
    reason: str
    fix: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason} ({self.fix})"


def rows_and_shape(
    rows: Iterator[Row], path: str | Path, kind: Kind | None, format: str | None
) -> tuple[Iterator[Row], Shape]:
    """Return the rows, none lost, and the shape that the first of them have."""
    rows = map(_unpacked, rows)
    first = list(itertools.islice(rows, NUM_ROWS_LOOKED_AT))
    contents = [row.content for row in first if isinstance(row.content, Mapping)]
    rows = itertools.chain(first, rows)
    if format is not None:
        return rows, _named_shape(format, kind)
    if not first:
        raise DataError(f"{path} is empty. Expected at least one row. Check how the file was made.")
    if not contents:
        bad = [(row, row.content) for row in first if isinstance(row.content, RowProblem)][:3]
        shown = "; ".join(str(BadRow(row.file, row.line, problem.reason, problem.fix)) for row, problem in bad)
        raise DataError(f"{path} has no readable row: {shown}. Expected at least one. Repair the file or its export.")
    shape = _best_shape([shape for shape in SHAPES if kind is None or kind in shape.gives], contents)
    if shape is None:
        raise DataError(_not_understood(path, kind, contents))
    try:
        shape.check(contents)
    except RowProblem as problem:
        raise DataError(
            f"{path} is of the format {shape.name}, and {problem.reason}. Expected one meaning. In the file, "
            f"{problem.fix}."
        ) from problem
    return rows, shape


def _unpacked(row: Row) -> Row:
    if isinstance(row.content, RowProblem):
        return row
    try:
        return replace(row, content=fields.unpacked(row.content))
    except RowProblem as problem:
        return replace(row, content=problem)


def _best_shape(shapes: Sequence[Shape], contents: Sequence[Mapping[str, Any]]) -> Shape | None:
    """Return the first shape that fits at least half of the rows, else the one that fits most, if any fits one."""
    num_fitting = {shape.name: sum(shape.fits(content) for content in contents) for shape in shapes}
    for shape in shapes:
        if 2 * num_fitting[shape.name] >= len(contents):
            return shape
    best = max(shapes, key=lambda shape: num_fitting[shape.name])
    return best if num_fitting[best.name] else None


def _named_shape(format: str, kind: Kind | None) -> Shape:
    by_name = {shape.name: shape for shape in SHAPES}
    if ":" in format:
        by_name[format] = resolve_row("format", format, Shape)
    if format not in by_name:
        raise DataError(
            f"There is no format {format!r}. Expected one of {', '.join(by_name)}. Use one of these names, or "
            "name your own as module:SHAPE."
        )
    if kind is not None and kind not in by_name[format].gives:
        gives = ", ".join(by_name[format].gives)
        raise DataError(
            f"The format {format} holds no {NAME_OF[kind]}. Expected one that does: it gives {gives}. Choose another."
        )
    return by_name[format]


def _not_understood(path: str | Path, kind: Kind | None, contents: Sequence[Mapping[str, Any]]) -> str:
    columns = Counter(str(name) for content in contents for name in content)
    names = ", ".join(columns) or "none"
    other = _best_shape(SHAPES, contents) if kind else None
    if kind is not None and other is not None:
        holds = f"{path} has the format {other.name} (columns: {names}), which holds no {NAME_OF[kind]}"
    else:
        holds = f"{path} is not understood: its columns are {names}"
    return (
        f"{holds}. Expected one of: {_layouts(kind)}. Rename the columns to one of these layouts, or name the file "
        "you mean."
    )


def _layouts(kind: Kind | None) -> str:
    """List the known layouts, those that only vary others' names left off."""
    shapes = [shape for shape in SHAPES if shape.is_listed and (kind is None or kind in shape.gives)]
    return "; ".join(f"{shape.name} ({', '.join(shape.columns)})" for shape in shapes)


_SOUNDS_LIKE_AN_ANSWER = re.compile("answer|response|repl|output|completion|chosen|rejected|preferred", re.IGNORECASE)


def check_that_nothing_is_answered(path: str | Path, shape: Shape, rows: Iterable[Row]) -> None:
    """Refuse a layout with answers that nothing here reads: it must not be taken for prompts."""
    names = {name for row in rows if isinstance(row.content, Mapping) for name in row.content}
    answers = [
        name for name in sorted(names - {*shape.columns, *shape.optional}) if _SOUNDS_LIKE_AN_ANSWER.search(name)
    ]
    if answers:
        raise DataError(
            f"{path} has a column {shape.columns[0]!r} and, beside it, {', '.join(answers)}, in a layout that is not "
            f"known. Expected one of: {_layouts(None)}. Rename the columns to one of these, or say that only prompts "
            "are meant: --kind prompts."
        )
