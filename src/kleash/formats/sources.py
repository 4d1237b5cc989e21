"""Which files a source of data means: a file, a folder's own or its shards, one split of it, or all that fit a pattern.

A folder that holds several splits is never read as one: which of them is meant is asked. What is in the files is the
business of `rows.py`.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from kleash.errors import DataError

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".txt")

# What `datasets` and this project write about data; no data themselves.
_ABOUT_DATA = frozenset({"artifact.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"})
_SPLITS = "train|training|test|testing|validation|valid|val|dev|eval|evaluation"
_SPLIT = re.compile(rf"^({_SPLITS})(?![a-z])|[-_.]({_SPLITS})(?:-\d+-of-\d+)?$", re.IGNORECASE)


def names_several(source: str | Path) -> bool:
    """Whether a source is written as a split of a folder or as a pattern, rather than as a path."""
    return bool(set(str(source)) & set(":*?["))


def files_of(source: str | Path, own_files: Sequence[str] = ()) -> list[Path]:
    """Return the files that a source names: FILE, FOLDER, FOLDER:SPLIT or a pattern such as FOLDER/*.jsonl.

    own_files: what an artifact folder keeps such records in; the first one that is there is taken.
    Raises DataError where there is none, and where a folder holds several splits or kinds of files.
    """
    path = Path(source)
    if path.is_dir():
        own = next((path / name for name in own_files if (path / name).exists()), None)
        return [own] if own else _files_of_folder(path, own_files)
    if path.exists():
        return [path]
    folder, colon, split = str(source).rpartition(":")
    if colon and Path(folder).is_dir():
        return _files_of_split(Path(folder), split)
    found = sorted(Path(name) for name in glob.glob(str(source), recursive=True) if Path(name).is_file())
    if not found:
        what = "file that fits the pattern" if glob.has_magic(str(source)) else "file"
        raise DataError(
            f"There is no {what} {source}. Expected a data file ({' '.join(SUFFIXES)}), a folder, FOLDER:SPLIT, a "
            "pattern or hub:owner/name. Check the path."
        )
    return found


def _files_of_folder(folder: Path, own_files: Sequence[str]) -> list[Path]:
    """Return all data files of a folder if they are of one split and suffix: shards, a shelf of books."""
    by_split = {} if (folder / "artifact.json").exists() else _by_split(folder)
    if len(by_split) > 1:
        names = ", ".join(split or f"no split ({files[0].name} ...)" for split, files in by_split.items())
        one, suffix = max(by_split), next(iter(by_split.values()))[0].suffix
        raise DataError(
            f"Folder {folder} holds several splits: {names}. Expected one: what is kept to test on must not be "
            f"trained on. Name the split, as {folder}:{one}, or the files, as {folder}/*{suffix}."
        )
    files = next(iter(by_split.values()), [])
    if len({path.suffix.lower() for path in files}) != 1:
        there = [path.name for path in files] or sorted(f"{path.name}/" for path in folder.iterdir() if path.is_dir())
        expected = f"{own_files[0]}, or data files" if own_files else "data files"
        raise DataError(
            f"Folder {folder} holds {', '.join(there[:10]) if files else 'no data file'}"
            f"{' but the folders ' + ', '.join(there[:10]) if there and not files else ''}. Expected {expected} of one "
            f"kind ({' '.join(SUFFIXES)}). Name the file you mean."
        )
    return files


def _files_of_split(folder: Path, split: str) -> list[Path]:
    by_split = _by_split(folder)
    if split not in by_split:
        known = ", ".join(name for name in by_split if name) or "none"
        raise DataError(
            f"Folder {folder} has no split {split!r}. Expected one of its splits: {known}. Name one of these, or a "
            "file."
        )
    return by_split[split]


def _by_split(folder: Path) -> Mapping[str, list[Path]]:
    """Return a folder's data files by the split that their names, or their folders', say; "" = none.

    Splits lie side by side (train.jsonl; train-00000-of-00002.parquet), in folders of their own (as `datasets` saves
    them), or either of these in a folder `data`, as the hub has them.
    """
    by_split: dict[str, list[Path]] = {}
    for file in _data_files(folder):
        match = _SPLIT.search(file.stem)
        by_split.setdefault((match[1] or match[2]).lower() if match else "", []).append(file)
    if by_split:
        return by_split
    for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
        if (inner / "state.json").is_file() or _SPLIT.fullmatch(inner.name):
            by_split[inner.name] = _data_files(inner)
    return by_split or (_by_split(folder / "data") if (folder / "data").is_dir() else {})


def _data_files(folder: Path) -> list[Path]:
    files = (path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES and path.is_file())
    return [path for path in files if path.name not in _ABOUT_DATA]
