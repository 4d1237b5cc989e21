"""Measured figures as people read them: a value, its 95 % interval and the number of cases behind it.

`maths/intervals.py` works them out; here they are what a file holds of them, which may be less. No torch here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from kleash.web.wording import number, number_range, percent, percent_range


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

    @property
    def bounds(self) -> tuple[float, float]:
        """The interval; without one, the value twice."""
        return (self.value if self.low is None else self.low), (self.value if self.high is None else self.high)

    def __str__(self) -> str:
        spread = number_range(self.low, self.high, 3)
        return number(self.value, 3) + (f" ({spread})" if spread else "")


@dataclass(frozen=True)
class Rate(Estimate):
    """An estimated share, shown in percent: 82 % (81 to 83 %)."""

    def __str__(self) -> str:
        spread = percent_range(self.low, self.high)
        return percent(self.value) + (f" ({spread})" if spread else "")


@dataclass(frozen=True)
class HeldoutRate(Rate):
    """Accuracy within a slice. longer_wins: how often the longer answer is the preferred one there."""

    longer_wins: float | None = None


@dataclass(frozen=True)
class Difference(Estimate):
    """A paired difference. p_value: of chance alone."""

    p_value: float | None = None


def estimate(value: object) -> Estimate | None:
    """Read {"value" or "mean", "low", "high", "n"} or a bare number; None if there is no finite number in it."""
    fields = value if isinstance(value, Mapping) else {"value": value}
    middle, low, high, n = (finite(fields.get(name)) for name in ("value", "low", "high", "n"))
    middle = finite(fields.get("mean")) if middle is None else middle
    return None if middle is None else Estimate(middle, low, high, None if n is None else round(n))


def finite(value: object) -> float | None:
    """Return a finite number as such and anything else (null, NaN, text, true) as None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None
