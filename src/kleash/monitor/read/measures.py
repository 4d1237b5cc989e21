"""Read measured figures out of JSON: numbers, estimates with interval and n, columns of metric rows.

What is not a finite number is None: a figure that was not measured is never mistaken for zero. `MetricTable` keeps the
rows of a long run by column; `thinned` cuts a curve to what a screen can show.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, overload

from kleash.estimates import finite
from kleash.monitor.read.reader import Row, Rows

SECONDS = "seconds/"
# One update's KL and length are noisy; what they came to is read off the last few.
LAST_UPDATES = 5


def column(rows: Iterable[Row], name: str) -> tuple[list[int], list[float]]:
    """Return the steps and values of one metric, of those rows that have it."""
    if isinstance(rows, MetricTable):
        return rows.column(name)
    pairs = [(finite(row.get("step")), finite(row.get(name))) for row in rows]
    known = [(int(step), value) for step, value in pairs if step is not None and value is not None]
    return [step for step, _ in known], [value for _, value in known]


def metric_names(rows: Iterable[Row]) -> set[str]:
    """Return the metrics that some row has a number for."""
    if isinstance(rows, MetricTable):
        return set(rows.names)
    return {name for row in rows for name, value in row.items() if finite(value) is not None}


def last(rows: Iterable[Row], name: str, *, num_rows: int = LAST_UPDATES) -> float | None:
    """Return a metric's mean over its last rows."""
    _, values = column(rows, name)
    return fmean(values[-num_rows:]) if values else None


def seconds_by_part(rows: Rows) -> dict[str, float]:
    """Return how long each part of a stage's steps took, summed over its rows of metrics."""
    parts = sorted(name for name in metric_names(rows) if name.startswith(SECONDS))
    return {name.removeprefix(SECONDS): sum(column(rows, name)[1]) for name in parts}


def whole(value: Any) -> int | None:
    """Return a number rounded to a whole one, anything else as None."""
    number = finite(value)
    return None if number is None else round(number)


# ----------------------------------------------------------------------------------------------------------- columns
STEP = "step"


@dataclass
class _Column:
    """The finite values of one metric and the numbers of the rows that they stand in."""

    places: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))


class MetricTable(Sequence[Mapping[str, Any]]):
    """Rows of finite numbers, oldest first; what is no finite number is left out of its row."""

    def __init__(self) -> None:
        self._steps: list[int | None] = []
        self._columns: defaultdict[str, _Column] = defaultdict(_Column)

    def append(self, row: Mapping[str, Any]) -> None:
        index = len(self._steps)
        step = row.get(STEP)
        self._steps.append(int(step) if step is not None and _is_number(step) else None)
        for name, value in row.items():
            if _is_number(value) and name != STEP:
                column = self._columns[name]
                column.places.append(index)
                column.values.append(value)

    @property
    def names(self) -> list[str]:
        """The metrics that have a value somewhere."""
        return [*([STEP] if any(step is not None for step in self._steps) else []), *self._columns]

    def column(self, name: str) -> tuple[list[int], list[float]]:
        """Return the steps and values of one metric, of those rows that have it and a step."""
        if name == STEP:
            known_steps = [step for step in self._steps if step is not None]
            return known_steps, [float(step) for step in known_steps]
        column = self._columns.get(name)
        if column is None:
            return [], []
        is_whole = len(column.values) == len(self._steps)
        steps = list(self._steps) if is_whole else [self._steps[index] for index in column.places]
        if None not in steps:
            return steps, column.values.tolist()  # type: ignore[return-value]
        known = [(step, value) for step, value in zip(steps, column.values, strict=True) if step is not None]
        return [step for step, _ in known], [value for _, value in known]

    def __len__(self) -> int:
        return len(self._steps)

    @overload
    def __getitem__(self, index: int) -> Mapping[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Mapping[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> Mapping[str, Any] | Sequence[Mapping[str, Any]]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        at = range(len(self))[index]
        step = self._steps[at]
        row: dict[str, Any] = {} if step is None else {STEP: step}
        for name, column in self._columns.items():
            place = bisect_left(column.places, at)
            if place < len(column.places) and column.places[place] == at:
                row[name] = column.values[place]
        return row


def _is_number(value: Any) -> bool:
    kind = type(value)
    return (kind is float and math.isfinite(value)) or kind is int


# ---------------------------------------------------------------------------------------------------------- thinning
MAX_POINTS = 1_000
"""More than any chart here is wide in pixels, halved: each bucket keeps two points."""

MAX_DOTS = 150
"""A dot with an interval costs a browser far more than a point of a line."""


def thinned(
    steps: Sequence[int], values: Sequence[float], *, max_points: int = MAX_POINTS
) -> tuple[list[int], list[float]]:
    """Return at most `max_points` points of a curve, peaks and dips among them."""
    places = kept_places(values, max_points=max_points)
    return [steps[index] for index in places], [values[index] for index in places]


def kept_places(values: Sequence[float], *, max_points: int) -> Sequence[int]:
    """Return which points of a curve to keep: the lowest and the highest of each of equally many neighbours.

    The first and the last point stay, so a curve ends where it ends. A curve that is short enough stays whole.
    """
    num_points = len(values)
    if num_points <= max_points:
        return range(num_points)
    num_buckets = (max_points - 2) // 2
    kept = {0, num_points - 1}
    for bucket in range(num_buckets):
        start, end = bucket * num_points // num_buckets, (bucket + 1) * num_points // num_buckets
        inside = values[start:end]
        kept.add(start + inside.index(min(inside)))
        kept.add(start + inside.index(max(inside)))
    return sorted(kept)
