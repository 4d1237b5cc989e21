"""Where output goes: results to standard output, everything said on the way to standard error, from one rank only."""

from __future__ import annotations

import os
import unicodedata

from rich.console import Console
from rich.text import Text

from kleash.runs import is_first_rank

WIDTH_IN_FILES = 120
"""Columns where there is no terminal to ask, so that tables in a log are not squeezed into 80."""


def results() -> Console:
    """Return the console for what was asked for; it may be piped into a file or another program."""
    return _console(stderr=False, is_quiet=not is_first_rank())


def remarks() -> Console:
    """Return the console for headings and news on the way; beside progress bars, on standard error."""
    return _console(stderr=True, is_quiet=not is_first_rank())


def show_error(message: str) -> None:
    """Show one red paragraph on standard error, uncut, so that it can be searched for."""
    rank = "" if is_first_rank() else f"[rank {os.environ['RANK']}] "
    console = _console(stderr=True, is_quiet=False)
    console.print(Text(rank + message, style="red"), soft_wrap=True)


def harmless(text: str) -> str:
    """Return a model's or a file's text fit for a terminal: control characters, which could steer it, made visible."""
    shown = (char if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cs") else "\ufffd" for char in text)
    return "".join(shown)


def _console(*, stderr: bool, is_quiet: bool) -> Console:
    console = Console(stderr=stderr, quiet=is_quiet, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDTH_IN_FILES
    return console
