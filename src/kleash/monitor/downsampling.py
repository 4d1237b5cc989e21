"""Thin a curve to what a screen can show, keeping every peak and every dip."""

from __future__ import annotations

from collections.abc import Sequence

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
