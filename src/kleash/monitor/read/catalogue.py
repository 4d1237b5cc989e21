"""Which runs there are below a folder, and whether one of them is being written at this moment.

A name in an address is looked up among the runs that were found, never joined to a path: no address leads elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from kleash.durable import read_regular
from kleash.monitor.read.live import files_state

LOCK_FILE = ".lock"
DEEPEST = 4
"""Folders below the runs folder that are looked into: runs/EXPERIMENT/ARM/SEED is the third."""


class Catalogue:
    """The runs below one folder, found anew at every look."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def runs(self) -> dict[str, Path]:
        """Return {name: folder} of every run; the name is its path below the folder, with slashes."""
        if is_run(self.folder):
            return {self.folder.absolute().name: self.folder}
        return {path.relative_to(self.folder).as_posix(): path for path in _runs_below(self.folder, DEEPEST)}


# Where Linux lists who holds which lock.
LOCKS = Path("/proc/locks")


def is_run(folder: Path) -> bool:
    """Say whether a folder is a run: it has a recipe, or a round with a stage in it."""
    return (folder / "recipe.toml").is_file() or any(folder.glob("round-*/*/artifact.json"))


def is_being_written(folder: Path) -> bool | None:
    """Say whether a process holds a run's lock; None where this system does not tell.

    The lock is looked for among the system's locks: to try it would keep it from a run that starts just then.
    """
    try:
        status = os.stat(folder / LOCK_FILE)
        holder = read_regular(folder / LOCK_FILE).decode("utf-8", "replace").split()
    except OSError:
        return False
    try:
        held = [line.split() for line in LOCKS.read_text(encoding="ascii").splitlines()]
    except OSError:
        return None
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    return any(_is_lock_of(words, status.st_ino, device, holder) for words in held)


def run_state(folder: Path) -> object:
    """Return what a run's pages depend on: its files' sizes and times, and whether it is being written."""
    return files_state(folder), is_being_written(folder)


def _is_lock_of(words: Sequence[str], inode: int, device: str, holder: Sequence[str]) -> bool:
    """Compare a line of /proc/locks with a lock file. Layered file systems show two devices; then the pid counts.

    holder: the words of the lock file, which begin "process PID".
    """
    index = next((word for word in words if word.count(":") == 2), "")
    found_device, _, found_inode = index.rpartition(":")
    if found_inode != str(inode):
        return False
    return found_device == device or (len(holder) > 1 and holder[1] in words)


def _runs_below(folder: Path, depth: int) -> Iterator[Path]:
    try:
        inside = sorted(entry.path for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    except OSError:
        return
    for path in map(Path, inside):
        if is_run(path):
            yield path
        elif depth > 1:
            yield from _runs_below(path, depth - 1)
