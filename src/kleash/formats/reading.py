"""Files to records: find out what a file's columns mean, keep the rows that can be used, account for those that cannot.

The shape is found once per file from its first rows, among those that can give what was asked for, and holds for all
of its rows. Exact repeats are dropped and counted, but for sampled completions and judgements: two equal samples are
two samples, and two equal votes are two votes.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from kleash.errors import DataError
from kleash.formats import fields
from kleash.formats.canonical import to_json
from kleash.formats.readings import Reading
from kleash.formats.recognising import (
    NAME_OF,
    NUM_ROWS_LOOKED_AT,
    BadRow,
    check_that_nothing_is_answered,
    rows_and_shape,
)
from kleash.formats.rows import Row, RowProblem, rows_of
from kleash.formats.shapes import SHAPES, Kind, Shape
from kleash.records import Comparison, Completion, Demonstration, Judgement, LabelledCompletion, Preference, Prompt

RecordT = TypeVar("RecordT")

LOG = logging.getLogger(__name__)
_NUM_SHOWN = 3


@dataclass(frozen=True)
class Loaded(Generic[RecordT]):
    """What a file held: the records, and an account of every row that did not become one.

    num_rows: rows found, bad ones included; a tree is one row and many records. num_duplicates: exact repeats dropped.
    columns_unused: what the format does not speak of; name such columns as slice_columns to keep them as slices.
    path, kind: what was read as what.  places: file and line of each record.
    """

    records: list[RecordT]
    bad_rows: list[BadRow]
    format: str
    num_rows: int
    num_duplicates: int = 0
    columns_unused: tuple[str, ...] = ()
    path: str = ""
    kind: Kind = "prompts"
    places: tuple[tuple[str, int], ...] = ()

    def losses(self) -> str:
        """Say what was left out or not read, and of the bad rows the first; empty where nothing was."""
        lost = []
        if self.bad_rows:
            lost.append(f"bad rows left out: {len(self.bad_rows):,} (the first: {self.bad_rows[0]})")
        if self.num_duplicates:
            lost.append(f"exact repeats left out: {self.num_duplicates:,}")
        if self.columns_unused:
            lost.append(f"not read: {', '.join(self.columns_unused)}")
        return "; ".join(lost)


def read_prompts(
    path: str | Path, *, strict: bool = False, format: str | None = None, slice_columns: Sequence[str] = ()
) -> Loaded[Prompt]:
    """Read prompts from any file whose rows have one, answers or not; a text file holds one per line.

    Here and below: path may be a file, a folder (an artifact, or shards), FOLDER:SPLIT, a pattern, or
    `hub:owner/name[:split]`. strict: raise DataError at bad rows rather than leave them out; what is left out is said,
    as a warning in the log, which the command line shows. format: a name of `format_names()`, where finding out fails.
    slice_columns: columns to keep as slices, beside those under "slices". Raises DataError when nothing can be used.
    """
    return _said(read(path, "prompts", strict=strict, format=format, slice_columns=slice_columns))


def read_demonstrations(
    path: str | Path, *, strict: bool = False, format: str | None = None, slice_columns: Sequence[str] = ()
) -> Loaded[Demonstration]:
    """Read answers worth imitating; of preferences, the chosen one. Plain text gives documents with empty prompts."""
    return _said(read(path, "demonstrations", strict=strict, format=format, slice_columns=slice_columns))


def read_preferences(
    path: str | Path, *, strict: bool = False, format: str | None = None, slice_columns: Sequence[str] = ()
) -> Loaded[Preference]:
    """Read which answers were preferred: pairs, votes, rankings with ties."""
    return _said(read(path, "preferences", strict=strict, format=format, slice_columns=slice_columns))


def read_labelled(
    path: str | Path, *, strict: bool = False, format: str | None = None, slice_columns: Sequence[str] = ()
) -> Loaded[LabelledCompletion]:
    """Read single answers with a thumb up or down."""
    return _said(read(path, "labelled", strict=strict, format=format, slice_columns=slice_columns))


def read_completions(
    path: str | Path, *, strict: bool = False, format: str | None = None, slice_columns: Sequence[str] = ()
) -> Loaded[Completion]:
    """Read every answer of every row, repeats included: candidates to score or to compare."""
    return _said(read(path, "completions", strict=strict, format=format, slice_columns=slice_columns))


def read_comparisons(
    path: str | Path, *, strict: bool = False, format: str | None = None, slice_columns: Sequence[str] = ()
) -> Loaded[Comparison]:
    """Read prompts with two or more answers, to be judged; what was judged already is left aside."""
    return _said(read(path, "comparisons", strict=strict, format=format, slice_columns=slice_columns))


def read_judgements(path: str | Path, *, strict: bool = False, format: str | None = None) -> Loaded[Judgement]:
    """Read what each rater said, of our own judgements or of PandaLM's three annotators."""
    return _said(read(path, "judgements", strict=strict, format=format))


def format_names() -> tuple[str, ...]:
    """Return the names that `format=` accepts."""
    return tuple(shape.name for shape in SHAPES)


def kind_of_file(path: str | Path, *, format: str | None = None) -> Kind:
    """Return what a file is mainly kept for: demonstrations, preferences, prompts ... Raises DataError.

    A format that may hold several kinds is told by its first rows: conversations without an answer are prompts.
    """
    rows, shape = rows_and_shape(rows_of(path, own_files=list(_OWN_FILES.values())), path, None, format)
    first = list(itertools.islice(rows, NUM_ROWS_LOOKED_AT))
    if shape.gives == ("prompts",) and format is None:
        check_that_nothing_is_answered(path, shape, first)
    num_of = {kind: len(_gather(path, first, shape, kind).records) for kind in shape.gives}
    return next(
        (kind for kind, number in num_of.items() if 2 * number >= len(first)), max(num_of, key=num_of.__getitem__)
    )


_KINDS: Mapping[Kind, Callable[[Reading], Iterable[Any]]] = {
    "prompts": lambda reading: [] if reading.prompt is None else [reading.prompt],
    "demonstrations": lambda reading: [] if reading.demonstration is None else [reading.demonstration],
    "preferences": lambda reading: [] if reading.preference is None else [_comparing_texts(reading.preference)],
    "labelled": lambda reading: [] if reading.labelled is None else [reading.labelled],
    "completions": lambda reading: reading.completions,
    "comparisons": lambda reading: [] if reading.comparison is None else [reading.comparison],
    "judgements": lambda reading: reading.judgements,
}
# In the order in which an artifact folder that holds several is understood.
_OWN_FILES: Mapping[Kind, str] = {
    "preferences": "preferences.jsonl",
    "demonstrations": "demonstrations.jsonl",
    "labelled": "labelled.jsonl",
    "comparisons": "comparisons.jsonl",
    "completions": "candidates.jsonl",
    "judgements": "judgements.jsonl",
    "prompts": "prompts.jsonl",
}
_PART_OF_OTHERS: frozenset[Kind] = frozenset({"prompts", "completions", "comparisons"})
_KEEPS_REPEATS: frozenset[Kind] = frozenset({"completions", "judgements"})


_SAID: set[str] = set()


def _said(loaded: Loaded[RecordT]) -> Loaded[RecordT]:
    """Warn of what was left out, once per process."""
    if losses := loaded.losses():
        text = (
            f"{loaded.path}: {loaded.num_rows:,} rows of the format {loaded.format} gave {len(loaded.records):,} "
            f"{NAME_OF[loaded.kind]}; {losses}. `kleash data check` shows more."
        )
        if text not in _SAID and os.environ.get("RANK", "0") == "0":
            _SAID.add(text)
            LOG.warning("%s", text)
    return loaded


def read(
    path: str | Path,
    kind: Kind,
    *,
    strict: bool = False,
    format: str | None = None,
    slice_columns: Sequence[str] = (),
) -> Loaded[Any]:
    """Read a file as any kind, as the functions above do, but leave it to the caller to say what was left out."""
    others = _OWN_FILES.values() if kind in _PART_OF_OTHERS else ()
    rows = rows_of(path, own_files=[_OWN_FILES[kind], *others], text_as_lines=kind == "prompts")
    rows, shape = rows_and_shape(rows, path, kind, format)
    loaded = _gather(path, rows, shape, kind, slice_columns)
    bad_rows = loaded.bad_rows
    if bad_rows and (strict or not loaded.records):
        shown = "; ".join(str(row) for row in bad_rows[:_NUM_SHOWN])
        and_more = f"; and {len(bad_rows) - _NUM_SHOWN} more" if len(bad_rows) > _NUM_SHOWN else ""
        raise DataError(
            f"{len(bad_rows)} of the {loaded.num_rows} rows of {path} cannot be used as {NAME_OF[kind]}: {shown}"
            f"{and_more}. Expected rows of the format {shape.name}. Repair or remove them"
            + (", or read without strict to leave them out." if loaded.records else ".")
        )
    if not loaded.records:
        raise DataError(
            f"None of the {loaded.num_rows} rows of {path} holds {NAME_OF[kind]}. Expected at least one. Check "
            "that this is the file you mean."
        )
    return loaded


def _gather(
    path: str | Path, rows: Iterable[Row], shape: Shape, kind: Kind, slice_columns: Sequence[str] = ()
) -> Loaded[Any]:
    """Read rows of a known shape. Raises DataError for a column to slice by that there is not."""
    records: list[Any] = []
    places: list[tuple[str, int]] = []
    bad_rows: list[BadRow] = []
    columns: dict[str, None] = {}
    seen: set[bytes] = set()
    num_rows = num_duplicates = 0
    for row, members in _grouped(rows, shape):
        num_rows += len(members)
        for content in members:
            if isinstance(content, Mapping):
                columns |= dict.fromkeys([*map(str, content), *fields.parts_of_turns(content)])
        try:
            found = _records_of(row, shape, kind, slice_columns)
        except RowProblem as problem:
            bad_rows.append(BadRow(row.file, row.line, problem.reason, problem.fix))
            continue
        for record in found:
            digest = _digest(record) if kind not in _KEEPS_REPEATS else b""
            if digest in seen:
                num_duplicates += 1
                continue
            if digest:
                seen.add(digest)
            records.append(record)
            places.append((row.file, row.line))
    if missing := [name for name in slice_columns if name not in columns]:
        raise DataError(
            f"{path} has no column {', '.join(missing)} to slice by. Expected some of: {', '.join(columns)}. Correct "
            "the slice columns."
        )
    known = {*shape.columns, *shape.optional, *slice_columns, "slices", "tags", *fields.CRITERIA, *fields.CHECKED}
    unused = tuple(name for name in columns if name not in known)
    return Loaded(records, bad_rows, shape.name, num_rows, num_duplicates, unused, str(path), kind, tuple(places))


def _grouped(rows: Iterable[Row], shape: Shape) -> Iterator[tuple[Row, list[Any]]]:
    """Yield rows, each with the contents it was made of: one, or those of neighbours that the shape reads together."""

    def key(row: Row) -> object:
        if not shape.group_by or isinstance(row.content, RowProblem) or _missing(row.content, shape):
            return object()  # like no other
        return row.file, json.dumps(row.content[shape.group_by], default=str)

    for _, group in itertools.groupby(rows, key):
        members = list(group)
        contents = [row.content for row in members]
        first = contents[0]
        if shape.group_by and not isinstance(first, RowProblem) and not _missing(first, shape):
            yield Row(members[0].file, members[0].line, {**first, "rows": contents}), contents
        else:
            yield members[0], contents


def _missing(content: Mapping[str, Any], shape: Shape) -> list[str]:
    return [name for name in shape.columns if name not in content]


def _records_of(row: Row, shape: Shape, kind: Kind, slice_columns: Sequence[str]) -> list[Any]:
    if isinstance(row.content, RowProblem):
        raise row.content
    if missing := _missing(row.content, shape):
        columns = ", ".join(map(str, row.content)) or "none"
        names = ", ".join(missing)
        raise RowProblem(f"has no {names} (columns: {columns})", f"fill {names} or remove the row")
    records = [record for reading in shape.read(row.content, slice_columns) for record in _KINDS[kind](reading)]
    if not records and not shape.is_tree:
        raise RowProblem(f"holds no {NAME_OF[kind]}: {_WHY_NOTHING[kind]}", "complete or remove the row")
    if kind == "prompts" and any(not record.text.strip() for record in records):
        raise RowProblem("its prompt is empty", "write the prompt or remove the row")
    return records


_WHY_NOTHING: Mapping[Kind, str] = {
    "prompts": "there is no prompt",
    "demonstrations": "it has no best answer, an empty one, or a thumb down",
    "preferences": "nothing was compared",
    "labelled": "there is no label",
    "completions": "there is no answer",
    "comparisons": "there are no answers to compare",
    "judgements": "nobody judged it",
}


def _comparing_texts(preference: Preference) -> Preference:
    """Refuse a pair of one text with itself; what is left out of training anyway may stay for the record."""
    for pair in preference.pairs if not preference.left_out else ():
        if preference.completions[pair.first] == preference.completions[pair.second]:
            raise RowProblem(
                f"answers {pair.first + 1} and {pair.second + 1} are the same text: there is nothing to prefer",
                "remove the row",
            )
    return preference


def _digest(record: Any) -> bytes:
    content = {name: value for name, value in to_json(record).items() if name not in ("slices", "tags")}
    return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode("utf-8")).digest()[:16]
