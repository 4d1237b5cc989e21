"""Write files so that a kill, a power cut or a full disk never harms what was there before.

Everything KLeash puts on disk goes through these few functions: a file appears under its name only when it is whole
and on the disk, a folder is filled under another name and renamed, and a refused write becomes one clear `RunError`.
The lock that keeps two processes off one run lives here too. No torch. Read `artifacts.py` next.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import math
import os
import re
import shutil
import socket
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from safetensors import SafetensorError

from kleash.beside import table_beside
from kleash.errors import KleashError, RunError
from kleash.screen import say

PARTIAL = ".partial"
TEMPORARY = ".tmp"
_SLOW_BYTES = 4 << 30  # from here on hashing takes several seconds, and is said

_REFUSALS = {getattr(errno, name): words for name, words in table_beside(__file__).items()}
_HALF_PAIR = re.compile("[\ud800-\udfff]")

_READS_FAIL_SO_TOO = {errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.EIO}


@contextmanager
def clear_write_errors(what: str, path: Path) -> Iterator[None]:
    """Turn a refused write (disk full, folder not writable ...) into a `RunError` that names `what` and where.

    Any other error passes through untouched, also a file elsewhere that may not be read. safetensors reports the
    system's errors as text, so its text is read.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        number = _system_error_number(error)
        where = Path(str(error.filename)) if isinstance(error, OSError) and error.filename else path
        if number not in _REFUSALS or (number in _READS_FAIL_SO_TOO and not _are_related(where, path)):
            raise
        refusal = _REFUSALS[number]
        raise RunError(
            f"Cannot write the {what} at {where}: {refusal['cause']}. What was saved before is whole. "
            f"{refusal['remedy']}, then run the same command again to go on from there."
        ) from error


def _system_error_number(error: Exception) -> int:
    if isinstance(error, OSError):
        return error.errno or 0
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found.group(1)) if found else 0


def _are_related(path: Path, other: Path) -> bool:
    path, other = path.absolute(), other.absolute()
    return path.is_relative_to(other) or other.is_relative_to(path)


def file_digest(path: Path) -> str:
    """Return the sha256 of a file's bytes in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


UNSEALED = f"kleash-seal:{'0' * 64}"
"""Stands in a text that is to know itself again; `sealed` puts a digest there."""
_SEAL = re.compile(rb"kleash-seal:([0-9a-f]{64})")


def sealed(text: str) -> str:
    """Return the text with its own sha256 in the place of its first seal."""
    return text.replace(UNSEALED, f"kleash-seal:{hashlib.sha256(text.encode()).hexdigest()}", 1)


def seal_holds(path: Path) -> bool | None:
    """Say whether a file is as it was sealed; None for one that was not."""
    content = path.read_bytes()
    if (found := _SEAL.search(content, 0, 1000)) is None:  # further on may stand those of texts it shows
        return None
    unsealed = content.replace(found[0], UNSEALED.encode(), 1)
    return hashlib.sha256(unsealed).hexdigest().encode() == found[1]


def remembered_digest(path: Path, *, min_bytes: int = 64 << 20, settled_seconds: float = 2.0) -> str:
    """Return a file's sha256; of a large file that nobody has touched since, the one worked out the last time.

    Untouched means: the same place, size, inode, and times of the last change to content and to status. No program can
    set the last of these back. What is remembered lies in the user's cache folder and may be deleted at any time.
    min_bytes: smaller files are always read.  settled_seconds: a file touched later than that before it was read is
    not remembered: it could be touched again within the same tick of the clock, and nobody would know.
    """
    before = touched(path)
    if before[0] < min_bytes:
        return file_digest(path)
    memory = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kleash" / "digests.json"
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    index = str(path.resolve())
    if index in known and known[index][:-1] == before:
        return str(known[index][-1])
    if before[0] > _SLOW_BYTES:
        say(f"Reading all of {path} ({before[0] / 1e9:.0f} GB) to know it again ...")
    digest = file_digest(path)
    if touched(path) == before and time.time_ns() - before[2] > settled_seconds * 1e9:
        with suppress(OSError):  # a cache that cannot be written costs time, and nothing else
            memory.parent.mkdir(parents=True, exist_ok=True)
            write_text(memory, json.dumps({**known, index: [*before, digest]}, indent=1))
    return digest


def touched(path: Path) -> list[int]:
    """Return what changes whenever a file does: size, times of the last change to content and to status, inode."""
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def sync_path(path: Path) -> None:
    """Wait until a file's bytes, or a folder's list of names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Wait until every file below `folder`, and every folder's list of names, is on the disk."""
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            if not path.is_symlink():
                sync_path(path)
        sync_path(Path(parent))


def write_text(path: Path, text: str) -> None:
    """Replace a file's text at one stroke: a reader, or a kill, sees the old text or the new, never a mixture."""
    # One fixed temporary name per file: what a kill leaves behind is overwritten by the next write, never piles up.
    temporary = path.with_name(path.name + TEMPORARY)
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_path(path.parent)


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Replace a file by one JSON line per row, as `write_text` does."""
    write_text(path, "".join(map(json_line, rows)))


def json_line(row: Mapping[str, Any]) -> str:
    """Return a row as one line of JSON."""
    return json_text(row) + "\n"


def json_text(content: Any, *, indent: int | None = None) -> str:
    """Return content as JSON that everybody can read: a number that is not finite is null.

    It is readable as it is, and all ASCII where it holds half a surrogate pair.
    """
    try:
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, indent=indent)
    except ValueError:
        content = finite_numbers(content)
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, indent=indent)
    return json.dumps(content, indent=indent) if _HALF_PAIR.search(text) else text


def finite_numbers(content: Any) -> Any:
    """Return JSON-able content in which every number that is not finite is null."""
    if isinstance(content, Mapping):
        return {name: finite_numbers(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite_numbers(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading. Raises OSError for what is none: to open a pipe would wait for somebody to write."""
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a file", str(path))
    return file


def read_regular(path: Path) -> bytes:
    """Return a file's bytes, as `open_regular` opens it."""
    with open_regular(path) as file:
        return file.read()


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file of JSON lines; what follows the last newline was torn by a kill and is no row.

    Raises RunError, naming file and line, for a line that is not JSON.
    """
    rows = []
    # Split by newlines alone: str.splitlines also splits at U+2028 and the like, which JSON leaves in a text.
    for number, line in enumerate(read_regular(path).split(b"\n")[:-1], start=1):
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError(f"it holds no object but a {type(row).__name__}")
        except (ValueError, RecursionError) as error:
            raise RunError(
                f"{path}:{number} is not a row of JSON: {error}. Every line but a torn last one must be. "
                "Remove that line."
            ) from error
        rows.append(row)
    return rows


def read_object(path: Path, *, remedy: str, error: type[KleashError] = RunError) -> dict[str, Any]:
    """Return the JSON object a file holds.

    remedy: what was expected there and what to do.  error: what is raised, beside them, where there is none.
    """
    try:
        content = json.loads(read_regular(path))
    except (OSError, ValueError, RecursionError) as fault:
        raise error(f"Cannot read {path}: {fault}. {remedy}") from fault
    if not isinstance(content, dict):
        raise error(f"Cannot read {path}: it holds no JSON object. {remedy}")
    return content


def partial_path(folder: Path) -> Path:
    """Return the name under which `folder` is filled before it is whole."""
    return folder.with_name(folder.name + PARTIAL)


def publish(partial: Path, folder: Path) -> None:
    """Give a filled folder its final name: bytes first, then the name, so that the name implies the bytes."""
    sync_tree(partial)
    os.rename(partial, folder)
    sync_path(folder.parent)


def discard(folder: Path) -> None:
    """Delete a folder so that a kill half-way leaves only debris under a `.partial` name."""
    doomed = folder.with_name(f"{folder.name}.old{PARTIAL}")
    shutil.rmtree(doomed, ignore_errors=True)
    os.rename(folder, doomed)
    shutil.rmtree(doomed)


@contextmanager
def lock_run(folder: Path) -> Iterator[None]:
    """Hold a run folder for this process alone; the system frees it when the process ends, kill -9 included.

    Raises RunError at once, naming the holder, if another process works in the folder. With several ranks only the
    first takes the lock.
    """
    with clear_write_errors("run lock", folder / ".lock"):
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / ".lock", "a+", encoding="utf-8")  # noqa: SIM115 (it stays open as long as the lock)
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise RunError(
                f"Run folder {folder} is in use by {holder}. One process at a time may write a run. "
                "Wait for it or stop it, or start a sibling run with --branch NAME."
            ) from None
        with clear_write_errors("run lock", folder / ".lock"):
            file.truncate(0)
            started = datetime.now(UTC).isoformat(timespec="seconds")
            file.write(f"process {os.getpid()} on {socket.gethostname()} since {started}")
            file.flush()
        yield
