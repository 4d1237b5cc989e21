"""Read the files of runs that are still being written: only what was added since the last look, and kept in memory.

A run's logs are appended to line by line, cut back when it resumes from a checkpoint, and move when a stage ends. A
last line without its end is still being written and is read later. `Shelf` keeps every file it was asked for; what
lies in a run folder, and what it means, is known to `reader.py` and `findings.py`.
"""

from __future__ import annotations

import json
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic_core import from_json

from kleash.durable import open_regular
from kleash.monitor.read.measures import MetricTable
from kleash.monitor.read.reader import Row, Rows, RunFolder, read_run
from kleash.tracking import METRICS_FILE

# How much of what was read last must still stand before the place where reading goes on: more than a line's tail.
COMPARED_BYTES = 256
MAX_FILES = 200
MAX_CACHED = 8
METRIC_FILES = (METRICS_FILE, "evaluations.jsonl")

T = TypeVar("T")


class Tail:
    """Reads the whole lines that were added to a file since the last look."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._last_bytes = b""

    def read(self) -> tuple[bool, list[bytes]]:
        """Return whether the file begins anew (it was cut back, replaced or is gone), and its new whole lines.

        A file is the same as before if what was read last still stands where it was read.
        """
        try:
            file = open_regular(self.path)
        except OSError:
            return self._begin_anew(), []
        with file:
            start = self._offset - len(self._last_bytes)
            is_shorter = os.fstat(file.fileno()).st_size < self._offset
            file.seek(start)
            was_cut = (is_shorter or file.read(len(self._last_bytes)) != self._last_bytes) and self._begin_anew()
            file.seek(self._offset)
            content = file.read()
        end = content.rfind(b"\n") + 1
        if end:
            self._offset += end
            self._last_bytes = content[max(end - COMPARED_BYTES, 0) : end]
        return was_cut, content[:end].split(b"\n")[:-1]

    def _begin_anew(self) -> bool:
        had_something, self._offset, self._last_bytes = self._offset > 0, 0, b""
        return had_something


@dataclass
class _Log:
    """One file of JSON lines, as far as it was read. Figures of a training run are kept by column, else as rows."""

    tail: Tail
    rows: MetricTable | list[Row]
    num_lines: int = 0
    problems: list[str] = field(default_factory=list)

    def refresh(self) -> None:
        was_cut, lines = self.tail.read()
        if was_cut:
            self.rows, self.num_lines, self.problems = type(self.rows)(), 0, []
        for line in lines:
            self.num_lines += 1
            try:
                row = _row(line) if line.strip() else None
            except ValueError:
                index = f"{self.tail.path.parent.name}/{self.tail.path.name}, line {self.num_lines},"
                self.problems.append(f"{index} is not JSON and was left out")
                continue
            if isinstance(row, dict):
                self.rows.append(row)


class Shelf:
    """Every log that was asked for, kept and kept up; what was not asked for longest goes first."""

    def __init__(self) -> None:
        self._logs: OrderedDict[Path, _Log] = OrderedDict()
        self._cached: OrderedDict[Hashable, tuple[object, Any]] = OrderedDict()
        self.lock = threading.RLock()
        """Held while a page is made: pages are made in several threads."""

    def rows(self, path: Path, problems: list[str] | None = None) -> Rows:
        """Return the rows of a JSON-lines file as it stands; none if there is no such file.

        problems: takes up the lines that cannot be read.
        """
        with self.lock:
            log = self._logs.get(path)
            if log is None:
                log = _Log(Tail(path), MetricTable() if path.name in METRIC_FILES else [])
                self._logs[path] = log
            self._logs.move_to_end(path)
            log.refresh()
            while len(self._logs) > MAX_FILES:
                self._logs.popitem(last=False)
            if problems is not None:
                problems += log.problems
            return log.rows

    def cached(self, key: Hashable, state: object, make: Callable[[], T]) -> T:
        """Return what `make` makes, or what it made last time if `state` is what it was then.

        key: what is made, such as a page's name and its run. A page and its first poll are made once.
        """
        with self.lock:
            known = self._cached.get(key)
            if known is None or known[0] != state:
                known = self._cached[key] = (state, make())
            self._cached.move_to_end(key)
            while len(self._cached) > MAX_CACHED:
                self._cached.popitem(last=False)
            cached: T = known[1]
            return cached

    def run(self, folder: Path) -> RunFolder:
        """Read a run as `read_run` does, each of its logs when it is first asked for."""
        return read_run(folder, rows_of=self.rows, is_lazy=True)


def files_state(folder: Path) -> list[tuple[str, int, int]]:
    """Return (path, size, time of the last change in ns) of every file of a run that a page may be made from."""
    files = []
    for pattern in ("*.*", "round-*/*", "round-*/*/*.json*", "round-*/policy*/answers"):
        for path in folder.glob(pattern):
            try:
                status = path.stat()
            except OSError:
                continue  # it was moved since the folder was listed
            files.append((str(path), status.st_size, status.st_mtime_ns))
    return sorted(files)


def last_row(path: Path, *, block_bytes: int = 65_536) -> Row:
    """Return the last whole row of a JSON-lines file without reading the rest; {} if there is none."""
    try:
        file = open_regular(path)
    except OSError:
        return {}
    with file:
        size = os.fstat(file.fileno()).st_size
        while True:
            start = max(size - block_bytes, 0)
            file.seek(start)
            lines = file.read(size - start).split(b"\n")
            # The first line of a block may have begun before it, the last one has no end yet.
            for line in reversed(lines[1 if start else 0 : -1]):
                try:
                    row = _row(line)
                except ValueError:
                    continue
                if isinstance(row, dict):
                    return row
            if start == 0:
                return {}
            block_bytes *= 4


def _row(line: bytes) -> object:
    """Return what a line of JSON says. pydantic is four times as fast, but refuses half of a surrogate pair."""
    try:
        return from_json(line)
    except ValueError:
        return json.loads(line)
