"""Read measured figures out of JSON: numbers, estimates with interval and n, columns of metric rows.

What is not a finite number is None: a figure that was not measured is never mistaken for zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from kleash.monitor.metrics import Metrics
from kleash.monitor.reader import Row

# One update's KL and length are noisy; what they came to is read off the last few.
LAST_UPDATES = 5


@dataclass(frozen=True)
class Estimate:
    """A measured figure with its 95 % interval and the number of cases behind it, as far as they were recorded."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None

    @property
    def standard_error(self) -> float | None:
        return None if self.low is None or self.high is None else (self.high - self.low) / (2 * 1.96)


def estimate(value: Any) -> Estimate | None:
    """Read {"value" or "mean", "low", "high", "n"} or a bare number; None if there is no finite number in it."""
    if not isinstance(value, Mapping):
        value = {"value": value}
    middle = finite(value.get("value", value.get("mean")))
    if middle is None:
        return None
    return Estimate(middle, finite(value.get("low")), finite(value.get("high")), whole(value.get("n")))


def finite(value: Any) -> float | None:
    """Return a finite number as such and anything else (null, NaN, text, true) as None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def column(rows: Iterable[Row], name: str) -> tuple[list[int], list[float]]:
    """Return the steps and values of one metric, of those rows that have it."""
    if isinstance(rows, Metrics):
        return rows.column(name)
    pairs = [(finite(row.get("step")), finite(row.get(name))) for row in rows]
    known = [(int(step), value) for step, value in pairs if step is not None and value is not None]
    return [step for step, _ in known], [value for _, value in known]


def metric_names(rows: Iterable[Row]) -> set[str]:
    """Return the metrics that some row has a number for."""
    if isinstance(rows, Metrics):
        return set(rows.names)
    return {name for row in rows for name, value in row.items() if finite(value) is not None}


def last(rows: Iterable[Row], name: str, *, num_rows: int = LAST_UPDATES) -> float | None:
    """Return a metric's mean over its last rows."""
    _, values = column(rows, name)
    return fmean(values[-num_rows:]) if values else None


def whole(value: Any) -> int | None:
    """Return a number rounded to a whole one, anything else as None."""
    number = finite(value)
    return None if number is None else round(number)


def json_numbers(content: Any) -> Any:
    """Return JSON-able content in which every number that is not finite is null."""
    if isinstance(content, Mapping):
        return {str(name): json_numbers(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [json_numbers(value) for value in content]
    if isinstance(content, float):
        return finite(content)
    return content
