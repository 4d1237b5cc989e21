"""Metrics as sums and counts: they add over micro-batches, minibatches and ranks, and are divided once, at the end.

A mean of means is wrong as soon as the parts differ in size, which is the recurring bug of this field. Read
`masked.py` for the masked sums themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

SUM, COUNT, MAX = ":sum", ":count", ":max"


@dataclass
class Tally:
    """Figures under construction: "name:sum", "name:count" and "name:max"."""

    figures: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, total: float, count: float) -> None:
        """Add `total` over `count` things to the mean called `name`."""
        self.figures[name + SUM] = self.figures.get(name + SUM, 0.0) + float(total)
        self.figures[name + COUNT] = self.figures.get(name + COUNT, 0.0) + float(count)

    def maximum(self, name: str, value: float) -> None:
        """Keep the largest value seen under `name`; NaN is larger than everything, so that it shows."""
        seen = self.figures.get(name + MAX, -math.inf)
        value = float(value)
        self.figures[name + MAX] = value if math.isnan(value) or value > seen else seen

    def extend(self, other: Tally) -> None:
        """Take in another tally's figures."""
        self.figures = merge_figures(self.figures, other.figures)

    def merged(self, sum_across_ranks: Callable[[Mapping[str, float]], Mapping[str, float]]) -> Tally:
        """Return the tally of all ranks together."""
        return Tally(dict(sum_across_ranks(self.figures)))

    def means(self) -> dict[str, float]:
        """Return each mean by name (left out where nothing was counted) and each maximum as "name_max"."""
        means = {}
        for key, value in self.figures.items():
            name = key.rpartition(":")[0]
            if key.endswith(SUM) and self.figures[name + COUNT]:
                means[name] = value / self.figures[name + COUNT]
            elif key.endswith(MAX):
                means[f"{name}_max"] = value
        return means


def merge_figures(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, float]:
    """Add sums and counts, keep maxima: how the figures of two ranks (or micro-batches) become one."""
    merged = dict(first)
    for key, value in second.items():
        if key not in merged:
            merged[key] = value
        elif key.endswith(MAX):
            merged[key] = value if math.isnan(value) or value > merged[key] else merged[key]
        else:
            merged[key] += value
    return merged
