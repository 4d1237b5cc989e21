"""From a file, folder or hub name to its rows, each with its place: JSONL, JSON, CSV, Parquet, plain text.

What a row *means* is the business of `shapes.py`; here a row is a mapping of columns, or a `RowProblem` that says why
it could not be read. Rows stream: only a JSON list and a text file are held in memory whole. pyarrow and datasets are
imported when a file needs them.
"""

from __future__ import annotations

import codecs
import csv
import json
import re
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kleash.durable import open_regular
from kleash.errors import DataError
from kleash.formats.documents import documents_of
from kleash.formats.sources import SUFFIXES, files_of

HUB_PREFIX = "hub:"

# What a CSV cell may hold as JSON; any other cell is text, also one that begins with a bracket.
# Conversations in any column are found by `fields.unpacked`.
_JSON_COLUMNS = frozenset(
    {"check", "completions", "criteria", "instruction_id_list", "kwargs", "ranks", "pairs", "rubric", "slices"}
    | {"sources", "tags"}
)
_UP_TO_VALUE = re.compile(r"[\s:]*")

_KNOWN_BINARY = {
    b"\x1f\x8b": "gzip data: unpack it first",
    b"PK\x03\x04": "a zip archive or office document: unpack it, or export it as CSV",
    b"SQLite format 3": "a SQLite database: export its table as JSONL or CSV",
    b"\xff\xfe": "UTF-16 text: save it as UTF-8",
    b"\xfe\xff": "UTF-16 text: save it as UTF-8",
    b"\x28\xb5\x2f\xfd": "zstandard data: unpack it first",
}


class RowProblem(Exception):
    """Why a row cannot be used, and what would make it usable."""

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix


@dataclass(frozen=True)
class Row:
    """One row as it stands in its file. line: first line of the row in text files, row number elsewhere, from 1."""

    file: str
    line: int
    content: Mapping[str, Any] | RowProblem


def rows_of(source: str | Path, *, own_files: Sequence[str], text_as_lines: bool = False) -> Iterator[Row]:
    """Yield the rows of the files that a source names (`sources.files_of`), or of a hub set `hub:owner/name[:split]`.

    text_as_lines: read plain text line by line (prompts) rather than as documents.
    Raises DataError when there is nothing to read: missing, empty, binary, a folder without data.
    """
    if str(source).startswith(HUB_PREFIX):
        yield from _hub_rows(str(source))
        return
    try:
        for file in files_of(source, own_files):
            yield from _reader_for(file, text_as_lines)(file)
    except OSError as error:
        raise DataError(
            f"{source} cannot be read: {error.strerror or error}. Expected a readable file. Check its permissions."
        ) from error


def _reader_for(path: Path, text_as_lines: bool) -> Callable[[Path], Iterator[Row]]:
    with open_regular(path) as file:
        start = file.read(4096)
    if not start.strip(codecs.BOM_UTF8 + b" \t\r\n"):
        raise DataError(f"{path} is empty. Expected at least one row. Check how the file was made.")
    if start.startswith((b"PAR1", b"ARROW1")) or path.suffix.lower() == ".arrow":
        return _table_rows
    _refuse_binary(path, start)
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        return _csv_rows
    if suffix == ".txt":
        return _line_rows if text_as_lines else _document_rows
    if start.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"["):
        return _json_list_rows
    if suffix == ".json" and not _has_json_lines(path):
        return _json_object_rows
    return _jsonl_rows


def _refuse_binary(path: Path, start: bytes) -> None:
    for magic, what in _KNOWN_BINARY.items():
        if start.startswith(magic):
            raise DataError(f"{path} is not readable as text: it is {what.replace(':', '. Expected UTF-8 text;', 1)}.")
    # Control characters other than white space; a stray NUL is tolerated, a file full of them is no text.
    num_control = sum(byte < 9 or 13 < byte < 32 for byte in start)
    if num_control > len(start) / 10:
        raise DataError(
            f"{path} looks like binary data: {num_control} of its first {len(start)} bytes are control characters. "
            f"Expected UTF-8 text or Parquet. Export it as one of {' '.join(SUFFIXES)}."
        )


def _has_json_lines(path: Path) -> bool:
    """Tell JSON lines from one object: is the first line an object by itself, with more to come?"""
    with open(path, "rb") as file:
        first = _json_content(file.readline().removeprefix(codecs.BOM_UTF8))
        return not isinstance(first, RowProblem) and any(line.strip() for line in file)


def _jsonl_rows(path: Path) -> Iterator[Row]:
    with open(path, "rb") as file:
        # Only \n ends a line: str.splitlines would also cut at U+2028 and friends, which JSON strings may hold.
        for number, raw in enumerate(file, start=1):
            line = raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw
            if line.strip():
                yield Row(str(path), number, _json_content(line))


def _json_content(raw: bytes) -> Mapping[str, Any] | RowProblem:
    try:
        content = json.loads(raw.decode("utf-8"), strict=False)
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        return RowProblem(f"is not UTF-8: byte 0x{byte:02x} at position {error.start}", "save the file as UTF-8")
    except (ValueError, RecursionError) as error:
        where = f" at character {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        return RowProblem(f"is not JSON{where}: {_said(error)}", "write one whole JSON object per line")
    return _checked(content, may_hold_surrogates=b"\\u" in raw)


def _said(error: Exception) -> str:
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error)


def _checked(content: object, *, may_hold_surrogates: bool = True) -> Mapping[str, Any] | RowProblem:
    """Return a row of named columns that UTF-8 can hold; nulls are left off."""
    if not isinstance(content, dict):
        return RowProblem(f"is a JSON {_json_type(content)}, not an object", "write an object with named columns")
    try:
        if may_hold_surrogates:
            json.dumps(content, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        return RowProblem(f"holds {half}, half of a surrogate pair", "repair the text where it was cut")
    return _without_nulls(content)


def _json_type(content: object) -> str:
    return {str: "string", list: "list", bool: "boolean", type(None): "null"}.get(type(content), "number")


def _whole_text(path: Path) -> str:
    """Return a file's text; a byte that is not UTF-8 becomes a lone surrogate, which `_checked` then finds."""
    return path.read_bytes().removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")


def _from_bytes(content: object) -> Mapping[str, Any] | RowProblem:
    """Check a row of a file decoded with surrogateescape: what is left of a bad byte is U+DC80 to U+DCFF."""
    checked = _checked(content)
    if isinstance(checked, RowProblem) and "\\udc" in checked.reason:
        byte = checked.reason.split("\\udc")[1][:2]
        return RowProblem(f"is not UTF-8: it holds byte 0x{byte}", "save the file as UTF-8")
    return checked


def _json_list_rows(path: Path) -> Iterator[Row]:
    text = _whole_text(path)
    end = yield from _items_of_list(path, text, start=0)
    if text[end:].strip():
        line = 1 + text.count("\n", 0, len(text) - len(text[end:].lstrip()))
        yield Row(str(path), line, RowProblem("follows the end of the JSON list", "put everything into the list"))


def _items_of_list(path: Path, text: str, *, start: int) -> Generator[Row, None, int]:
    """Yield the items of the JSON list that opens at or after `start`, each with the line it begins on.

    Returns the position after the list.
    """
    decoder = json.JSONDecoder(strict=False)
    position = text.index("[", start) + 1
    line, counted = 1 + text.count("\n", 0, position), position
    while True:
        while position < len(text) and text[position] in " \t\r\n,":
            position += 1
        line, counted = line + text.count("\n", counted, position), position
        if position < len(text) and text[position] == "]":
            return position + 1
        try:
            content, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            # What follows a broken item cannot be told apart from it.
            reason = f"the JSON list breaks off here: {_said(error)}"
            yield Row(str(path), line, RowProblem(reason, "repair the file; rows after it are lost"))
            return len(text)
        yield Row(str(path), line, _from_bytes(content))


def _json_object_rows(path: Path) -> Iterator[Row]:
    """Read one JSON object over several lines: a single row, or a wrapper such as {"data": [rows]}."""
    text = _whole_text(path)
    try:
        content = json.loads(text, strict=False)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path} is not JSON: {error}. Expected a list of objects, or one object per line. Repair the file."
        ) from error
    wrapped = _only_list_of_objects(content) if isinstance(content, dict) else None
    if wrapped is None:
        yield Row(str(path), 1, _from_bytes(content))
    else:
        yield from _items_of_list(path, text, start=_value_of_key(text, wrapped))


def _value_of_key(text: str, wanted: str) -> int:
    """Return where a key's value begins in the text of a JSON object that is known to be whole."""
    decoder = json.JSONDecoder(strict=False)
    position, found = text.index("{") + 1, 0
    while (start := text.find('"', position)) >= 0:
        key, position = decoder.raw_decode(text, start)
        position = _UP_TO_VALUE.match(text, position).end()  # type: ignore[union-attr]  # fits everywhere
        found = position if key == wanted else found  # of a key written twice, the last counts, as json.loads has it
        _, position = decoder.raw_decode(text, position)
    return found


def _only_list_of_objects(content: Mapping[str, Any]) -> str | None:
    """Return the key of a wrapper's rows; None if the object is itself a row, such as a conversation."""
    lists = [key for key, value in content.items() if isinstance(value, list) and value and isinstance(value[0], dict)]
    is_row = not {"prompt", "completion", "chosen", "messages", "conversations"}.isdisjoint(content)
    return lists[0] if len(lists) == 1 and not is_row else None


class _Lines:
    """The lines of a text file, one at a time; lines that were taken can be given back."""

    def __init__(self, lines: Iterator[str]) -> None:
        self.source = lines
        self.waiting: deque[str] = deque()
        self.taken: list[str] = []
        self.number = 1
        self.is_over = False

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self.waiting.popleft() if self.waiting else next(self.source, None)
        self.is_over = line is None
        if line is None:
            raise StopIteration
        self.taken.append(line)
        return line

    def next_row(self, *, gives_back: bool = False) -> None:
        """Go on after the lines taken, or after the first of them."""
        if gives_back:
            self.waiting.extendleft(reversed(self.taken[1:]))
        self.number += 1 if gives_back else len(self.taken)
        self.taken.clear()


def _csv_rows(path: Path) -> Iterator[Row]:
    """Yield a CSV file's rows. Where a row over several lines is none, its first line is bad and the next begins anew.

    So a quote that nobody closed costs its own row rather than all that follow.
    """
    csv.field_size_limit(sys.maxsize)
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        header_line = file.readline()
        file.seek(0)
        separator = max(",;\t", key=header_line.count)
        lines = _Lines(iter(file))
        try:
            header = [name.strip() for name in next(csv.reader(lines, delimiter=separator))]
        except csv.Error as error:
            raise DataError(
                f"{path} has no header that could be read as CSV: {error}. Expected the columns' names in its first "
                "line. Repair the file."
            ) from error
        if twice := sorted({name for name in header if name and header.count(name) > 1}):
            raise DataError(
                f"{path} has several columns named {', '.join(twice)}. Expected one of each name. Rename or remove the "
                "others."
            )
        lines.next_row()
        while True:
            content: Mapping[str, Any] | RowProblem
            cells: list[str] | None = None
            try:
                cells = next(csv.reader(lines, delimiter=separator), None)
            except csv.Error as error:
                content = RowProblem(f"is not CSV: {error}", "quote cells that hold line breaks")
            else:
                if not lines.taken:
                    return
                content = _csv_content(header, cells or [])
                if lines.is_over:  # it wanted more lines than there are
                    content = RowProblem("opens a quote that is never closed", "close the quote")
            if cells or (isinstance(content, RowProblem) and "".join(lines.taken).strip()):
                yield Row(str(path), lines.number, content)
            lines.next_row(gives_back=isinstance(content, RowProblem))


def _csv_content(header: list[str], cells: list[str]) -> Mapping[str, Any] | RowProblem:
    if len(cells) != len(header):
        return RowProblem(
            f"has {len(cells)} cells, the header has {len(header)}", "quote cells that hold commas, quotes or breaks"
        )
    return _from_bytes({name: _cell(name, cell) for name, cell in zip(header, cells, strict=True)})


def _cell(name: str, cell: str) -> Any:
    if name not in _JSON_COLUMNS or not cell.lstrip().startswith(("[", "{")):
        return cell
    try:
        return json.loads(cell)
    except ValueError:
        return cell


def _table_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a Parquet or Arrow file."""
    import pyarrow

    number = 0
    try:
        for batch in _batches(path):
            for content in batch.to_pylist():
                number += 1
                yield Row(str(path), number, _without_nulls(content))
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        kind = "Arrow" if path.suffix.lower() == ".arrow" else "Parquet"
        raise DataError(
            f"{path} is a damaged {kind} file (after row {number}): {error}. Expected a whole one. Write it anew."
        ) from error
    if not number:
        raise DataError(f"{path} is empty. Expected at least one row. Check how the file was made.")


def _batches(path: Path) -> Iterator[Any]:
    import pyarrow.parquet

    with open(path, "rb") as file:
        start = file.read(6)
    if start.startswith(b"PAR1"):
        with pyarrow.parquet.ParquetFile(path) as table:
            yield from table.iter_batches(batch_size=1024)
        return
    # `datasets` writes streams, and others files, under one suffix.
    opened = pyarrow.ipc.open_file if start == b"ARROW1" else pyarrow.ipc.open_stream
    with pyarrow.memory_map(str(path)) as source, opened(source) as reader:
        if start == b"ARROW1":
            yield from (reader.get_batch(index) for index in range(reader.num_record_batches))
        else:
            yield from reader


def _without_nulls(content: Mapping[str, Any]) -> Mapping[str, Any]:
    # A Parquet table gives every row every column: a null means what an absent key means.
    return {name: value for name, value in content.items() if value is not None}


def _document_rows(path: Path) -> Iterator[Row]:
    for line, text in documents_of(_whole_text(path)):
        yield Row(str(path), line, _from_bytes({"text": text}))


def _line_rows(path: Path) -> Iterator[Row]:
    for number, line in enumerate(_whole_text(path).split("\n"), start=1):
        if line.strip():
            yield Row(str(path), number, _from_bytes({"prompt": line.rstrip("\r")}))


def _hub_rows(source: str) -> Iterator[Row]:
    name, _, split = source.removeprefix(HUB_PREFIX).partition(":")
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"{source} is a data set of the Hugging Face hub, and the package `datasets` is not installed. Expected a "
            "local file or that package. Install kleash[hub], or download the set and name its file."
        ) from error
    number = 0
    try:
        for number, content in enumerate(datasets.load_dataset(name, split=split or "train", streaming=True), start=1):
            yield Row(source, number, _without_nulls(content))
    # Network, hub and data-set scripts fail in as many ways as they have authors; each says why in its own words.
    except Exception as error:
        after = f" after row {number}" if number else ""
        raise DataError(
            f"{source} could not be read from the Hugging Face hub{after}: {type(error).__name__}: {error}. Expected "
            "hub:owner/name or hub:owner/name:split and a connection. Check name and network, or name a local file."
        ) from error
