"""Where output goes, and the one place through which it goes: no text can steer the terminal that it is shown on.

Results go to standard output, all that is said on the way to standard error, from one rank only. Texts of models, files
and people's functions are shown as they stand, what would move the cursor or hide in them as a visible sign. Nothing
else in KLeash prints; what other libraries print passes the same place while a command runs (`guarded_streams`).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from kleash.web.visible import visible_json, visible_text

WIDTH_IN_FILES = 120
"""Columns where there is no terminal to ask, so that tables in a log are not squeezed into 80."""


class Screen(Console):
    """A console on which every text is shown as it stands: no markup, no emoji codes, nothing that steers."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"highlight": False, "markup": False, "emoji": False, **settings})

    def render_str(self, text: str, **settings: Any) -> Text:
        return super().render_str(visible_text(text), **settings)  # before a table measures its columns

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible_text(segment.text))


def results() -> Screen:
    """Return the console for what was asked for; it may be piped into a file or another program."""
    return _on(sys.stdout, is_quiet=not is_first_rank())


def remarks() -> Screen:
    """Return the console for headings and news on the way; beside progress bars, on standard error."""
    return _on(sys.stderr, is_quiet=not is_first_rank())


def say(remark: str) -> None:
    """Say something on standard error, beside what was asked for, and on the first rank alone."""
    remarks().print(remark, soft_wrap=True)


def show_json(content: Any, *, indent: int | None = None) -> None:
    """Write a result as JSON, readable as it is, with escapes for what a terminal would obey."""
    text = visible_json(json.dumps(content, ensure_ascii=False, allow_nan=False, indent=indent))
    results().print(text, soft_wrap=True)


def show_error(message: str) -> None:
    """Show one red paragraph on standard error, uncut, so that it can be searched for."""
    rank = "" if is_first_rank() else f"[rank {os.environ['RANK']}] "
    _on(sys.stderr, is_quiet=False).print(rank + message, style="red", soft_wrap=True)


def is_first_rank() -> bool:
    """Say whether this process may speak and write: alone, or the first that torchrun started."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def guarded_streams(*, is_help: bool = False) -> Iterator[None]:
    """Make harmless whatever anybody writes to standard output and error in the block, logs and warnings included.

    is_help: leave standard output alone, where the command line's own library draws in colour.
    """
    streams = sys.stdout, sys.stderr
    sys.stdout = sys.stdout if is_help else _Guarded(streams[0])
    sys.stderr = _Guarded(streams[1])
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams


class _Guarded:
    """A text stream, and all of its attributes; a `Screen` writes past it what is harmless already."""

    def __init__(self, stream: Any) -> None:
        self.unguarded = stream

    def write(self, text: str) -> int:
        start = "\r" if text.startswith("\r") else ""  # as other libraries' progress bars begin
        self.unguarded.write(start + visible_text(text.removeprefix(start)))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unguarded, name)


def _on(stream: Any, *, is_quiet: bool) -> Screen:
    console = Screen(file=getattr(stream, "unguarded", stream), quiet=is_quiet)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDTH_IN_FILES
    return console
