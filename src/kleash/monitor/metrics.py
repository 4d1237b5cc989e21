"""Keep the figures of a training run by column: a tenth of the memory of rows, and a curve is read at once."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, overload

STEP = "step"


@dataclass
class _Column:
    """The finite values of one metric and the numbers of the rows that they stand in."""

    places: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))


class Metrics(Sequence[Mapping[str, Any]]):
    """Rows of finite numbers, oldest first; what is no finite number is left out of its row."""

    def __init__(self) -> None:
        self._num_rows = 0
        self._columns: dict[str, _Column] = {}

    def append(self, row: Mapping[str, Any]) -> None:
        place = self._num_rows
        self._num_rows += 1
        for name, value in row.items():
            kind = type(value)
            if (kind is float and isfinite(value)) or kind is int:
                column = self._columns.get(name)
                if column is None:
                    column = self._columns[name] = _Column()
                column.places.append(place)
                column.values.append(value)

    @property
    def names(self) -> list[str]:
        """The metrics that have a value somewhere."""
        return list(self._columns)

    def column(self, name: str) -> tuple[list[int], list[float]]:
        """Return the steps and values of one metric, of those rows that have it."""
        steps, column = self._columns.get(STEP), self._columns.get(name)
        if steps is None or column is None:
            return [], []
        if len(steps.values) == self._num_rows:
            is_whole = len(column.values) == self._num_rows
            told = steps.values if is_whole else [steps.values[place] for place in column.places]
            return [int(step) for step in told], column.values.tolist()
        step_at = dict(zip(steps.places, steps.values, strict=True))
        known = [(place, value) for place, value in zip(column.places, column.values, strict=True) if place in step_at]
        return [int(step_at[place]) for place, _ in known], [value for _, value in known]

    def __len__(self) -> int:
        return self._num_rows

    @overload
    def __getitem__(self, place: int) -> Mapping[str, Any]: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Mapping[str, Any]]: ...
    def __getitem__(self, place: int | slice) -> Mapping[str, Any] | Sequence[Mapping[str, Any]]:
        if isinstance(place, slice):
            return [self[at] for at in range(*place.indices(self._num_rows))]
        at = range(self._num_rows)[place]
        row: dict[str, Any] = {}
        for name, column in self._columns.items():
            found = bisect_left(column.places, at)
            if found < len(column.places) and column.places[found] == at:
                row[name] = int(column.values[found]) if name == STEP else column.values[found]
        return row

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return (self[at] for at in range(self._num_rows))
