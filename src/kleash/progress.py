"""Show how far a stage is: a bar with figures and time left on a terminal, now and then a line elsewhere.

And tell where its time goes: a `Stopwatch` for the parts of a step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kleash.screen import remarks


class Stopwatch:
    """Adds up how long the parts of a step take: `with timed("sampling"): ...`, then `take()` once a step."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Add the time that the block takes to a part."""
        began = self._clock()
        try:
            yield
        finally:
            self._seconds[part] = self._seconds.get(part, 0.0) + self._clock() - began

    def take(self) -> dict[str, float]:
        """Return the metrics seconds/PART of all parts since the last call, and begin anew."""
        taken, self._seconds = self._seconds, {}
        return {f"seconds/{part}": seconds for part, seconds in taken.items()}


class Advance(Protocol):
    """Say that `num_done` more steps are done, with the figures worth showing now."""

    def __call__(self, num_done: int = 1, /, **figures: float) -> None: ...


@contextmanager
def progress(
    total: int | None,
    description: str,
    *,
    already_done: int = 0,
    every_seconds: float = 30.0,
    console: Console | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Advance]:
    """Show progress on standard error while the block runs; call what it gives as `advance(n, reward=..., kl=...)`.

    total: None where it is not known, and with it how long is left.
    already_done: steps done before this process, which a resumed stage does not repeat. every_seconds: least time
    between two lines where standard error is no terminal.
    """
    console = console or remarks()
    if console.is_terminal:
        with _bar(console) as bar:
            task = bar.add_task(description, total=total, completed=already_done, figures="")

            def advance_bar(num_done: int = 1, /, **figures: float) -> None:
                bar.update(task, advance=num_done, figures=_shown(figures))

            yield advance_bar
        return

    started = last_line = clock()
    num_now = 0

    def advance_lines(num_done: int = 1, /, **figures: float) -> None:
        nonlocal num_now, last_line
        num_now += num_done
        if clock() - last_line < every_seconds:
            return
        last_line = clock()
        place, left = f"{already_done + num_now}", ""
        if total is not None:
            left_seconds = (last_line - started) / max(num_now, 1) * (total - already_done - num_now)
            place, left = f"{place}/{total}", f"{_duration(left_seconds)} left"
        parts = [f"{description} {place}", _shown(figures), left]
        console.print(", ".join(part for part in parts if part), soft_wrap=True)

    yield advance_lines


def _bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, TextColumn("{task.fields[figures]}"), console=console, transient=True)


def _shown(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in figures.items())


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
