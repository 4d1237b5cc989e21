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
        self._steps: list[int | None] = []
        self._columns: dict[str, _Column] = {}

    def append(self, row: Mapping[str, Any]) -> None:
        index = len(self._steps)
        step = row.get(STEP)
        self._steps.append(int(step) if step is not None and _is_number(step) else None)
        for name, value in row.items():
            if _is_number(value) and name != STEP:
                column = self._columns.get(name)
                if column is None:
                    column = self._columns[name] = _Column()
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
            found = bisect_left(column.places, at)
            if found < len(column.places) and column.places[found] == at:
                row[name] = column.values[found]
        return row

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return (self[at] for at in range(len(self)))


def _is_number(value: Any) -> bool:
    kind = type(value)
    return (kind is float and isfinite(value)) or kind is int
