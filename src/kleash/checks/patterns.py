"""Regular expressions: those that people bring, under a time limit, and our own that are kept as data.

A pattern of somebody's that backtracks without end stops nothing else.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import regex

SECONDS = 2.0
TOO_SLOW = f"not checked: its pattern takes more than {SECONDS:g} s on this answer"


def compiled(pattern: str, *, ignore_case: bool = False) -> Any:
    """Return a pattern. Raises regex.error where it is none."""
    return regex.compile(pattern, regex.IGNORECASE if ignore_case else 0)


def occurs(pattern: str, text: str, *, ignore_case: bool = True, whole: bool = False) -> bool:
    """Say whether a pattern occurs in a text, or matches the whole of it. Raises TimeoutError."""
    find = compiled(pattern, ignore_case=ignore_case)
    return (find.fullmatch if whole else find.search)(text, timeout=SECONDS) is not None


def count(pattern: str, text: str, *, ignore_case: bool = True) -> int:
    """Count how often a pattern occurs in a text. Raises TimeoutError."""
    return sum(1 for _ in compiled(pattern, ignore_case=ignore_case).finditer(text, timeout=SECONDS))


def read_patterns(path: Path) -> dict[str, re.Pattern[str]]:
    """Return a TOML file's patterns by name: lists of alternatives, in which <name> stands for one of the parts."""
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    patterns = {}
    for name, alternatives in content["patterns"].items():
        pattern = "|".join(alternatives)
        for mark, part in content["parts"].items():
            pattern = pattern.replace(f"<{mark}>", part if isinstance(part, str) else f"(?:{'|'.join(part)})")
        patterns[name] = re.compile(pattern)
    return patterns
