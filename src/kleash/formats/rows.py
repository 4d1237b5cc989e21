"""From a file, folder or hub name to its rows, each with its place: JSONL, JSON, CSV, Parquet, plain text.

What a row *means* is the business of `shapes.py`; here a row is a mapping of columns, or a `RowProblem` that says why
it could not be read. Rows stream: only a JSON list and a text file are held in memory whole. pyarrow and datasets are
imported when a file needs them.
"""

from __future__ import annotations

import codecs
import csv
import json
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kleash.errors import DataError
from kleash.formats.documents import documents_of

HUB_PREFIX = "hub:"
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".txt")

# What a CSV cell may hold as JSON; any other cell is text, also one that begins with a bracket.
_JSON_COLUMNS = frozenset({"messages", "conversations", "completions", "ranks", "pairs", "slices", "sources", "tags"})
_MESSAGE_COLUMNS = frozenset({"prompt", "chosen", "rejected", "completion"})

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
    """Yield the rows of a file, of each data file of a folder, or of a hub set `hub:owner/name[:split]`.

    own_files: what an artifact folder keeps such records in; the first one that is there is taken.
    text_as_lines: read plain text line by line (prompts) rather than as documents.
    Raises DataError when there is nothing to read: missing, empty, binary, a folder without data.
    """
    if str(source).startswith(HUB_PREFIX):
        yield from _hub_rows(str(source))
        return
    path = Path(source)
    try:
        for file in _files_of_folder(path, own_files) if path.is_dir() else [path]:
            yield from _reader_for(file, text_as_lines)(file)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}. Expected a readable file. Check its permissions."
        ) from error


def _files_of_folder(folder: Path, own_files: Sequence[str]) -> list[Path]:
    """Return an artifact's own file, else all data files if they are of one suffix (shards, a shelf of books)."""
    for name in own_files:
        if (folder / name).exists():
            return [folder / name]
    files = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES and path.is_file()]
    data = [path for path in files if path.name != "artifact.json"]
    if len({path.suffix.lower() for path in data}) == 1 and not (folder / "artifact.json").exists():
        return data
    names = ", ".join(path.name for path in data) or "no data file"
    raise DataError(
        f"Folder {folder} holds {names}. Expected {own_files[0]}, or data files of one kind ({' '.join(SUFFIXES)}). "
        "Name the file you mean."
    )


def _reader_for(path: Path, text_as_lines: bool) -> Callable[[Path], Iterator[Row]]:
    if not path.exists():
        raise DataError(
            f"There is no file {path}. Expected a data file ({' '.join(SUFFIXES)}), a folder or hub:owner/name. "
            "Check the path."
        )
    with open(path, "rb") as file:
        start = file.read(4096)
    if not start.strip(codecs.BOM_UTF8 + b" \t\r\n"):
        raise DataError(f"{path} is empty. Expected at least one row. Check how the file was made.")
    if start.startswith(b"PAR1"):
        return _parquet_rows
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
        yield from _items_of_list(path, text, start=text.index(json.dumps(wrapped, ensure_ascii=False)))


def _only_list_of_objects(content: Mapping[str, Any]) -> str | None:
    """Return the key of a wrapper's rows; None if the object is itself a row, such as a conversation."""
    lists = [key for key, value in content.items() if isinstance(value, list) and value and isinstance(value[0], dict)]
    is_row = not {"prompt", "completion", "chosen", "messages", "conversations"}.isdisjoint(content)
    return lists[0] if len(lists) == 1 and not is_row else None


def _csv_rows(path: Path) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        header_line = file.readline()
        file.seek(0)
        reader = csv.reader(file, delimiter=max(",;\t", key=header_line.count))
        header = [name.strip() for name in next(reader)]
        line = reader.line_num + 1
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Row(str(path), line, RowProblem(f"is not CSV: {error}", "quote cells that hold line breaks"))
                line = reader.line_num + 1
                continue
            if cells:
                yield Row(str(path), line, _csv_content(header, cells))
            line = reader.line_num + 1


def _csv_content(header: list[str], cells: list[str]) -> Mapping[str, Any] | RowProblem:
    if len(cells) != len(header):
        return RowProblem(
            f"has {len(cells)} cells, the header has {len(header)}", "quote cells that hold commas, quotes or breaks"
        )
    return _from_bytes({name: _cell(name, cell) for name, cell in zip(header, cells, strict=True)})


def _cell(name: str, cell: str) -> Any:
    may_be_json = name in _JSON_COLUMNS or (name in _MESSAGE_COLUMNS and cell.lstrip().startswith("[{"))
    if not may_be_json or not cell.lstrip().startswith(("[", "{")):
        return cell
    try:
        return json.loads(cell)
    except ValueError:
        return cell


def _parquet_rows(path: Path) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                for content in batch.to_pylist():
                    number += 1
                    yield Row(str(path), number, _without_nulls(content))
    except pyarrow.ArrowException as error:
        raise DataError(
            f"{path} is a damaged Parquet file (after row {number}): {error}. Expected a whole one. Write it anew."
        ) from error
    if not number:
        raise DataError(f"{path} is empty. Expected at least one row. Check how the file was made.")


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
