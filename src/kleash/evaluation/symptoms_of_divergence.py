"""Symptoms in which proxy and external signal part: the heart of the alarms. Each is a pure function of a `Matched`.

The external signal is noisy: raters slip, and two good answers are a coin toss. So losses are counted against wins, on
the same prompts, and nothing is said without an interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, linear_regression

from kleash.evaluation.matched_checkpoints import Matched
from kleash.maths.intervals import Interval, alike_interval, mean_interval, win_rate


def divergence(matched: Matched, confidence: float) -> Interval | None:
    """Return how far proxy and external signal have parted since the reference, as a share of the prompts.

        share where the proxy rose and the external signal fell - share where both rose

    0 when verdicts are coin tosses, negative when the proxy is right. None where nobody was asked.
    Differs: EVALUATION's share without the second term is some 30 % for any policy, because verdicts are noisy.
    """
    rose_and_fell = rose_and_rose = num_asked = 0
    for before, now, external in zip(matched.reference.proxy, matched.now.proxy, matched.now.external, strict=True):
        if external is None:
            continue
        num_asked += 1
        if now > before:
            rose_and_fell += external < 0.5
            rose_and_rose += external > 0.5
    if num_asked == 0:
        return None
    return difference_of_shares(rose_and_fell, rose_and_rose, num_asked, confidence)


def fall_from_best(matched: Matched, confidence: float) -> Interval | None:
    """Return by how much the win rate against the reference has fallen since it was best, while the proxy rose.

    Paired by prompt, which is far sharper than two win rates side by side. 0 if the proxy fell as well: then nothing
    has parted. None where nobody was asked.
    """
    falls = [
        before - now
        for before, now in zip(matched.best.external, matched.now.external, strict=True)
        if before is not None and now is not None
    ]
    if len(falls) < 2:
        return None
    if fmean(matched.now.proxy) < fmean(matched.best.proxy):
        return alike_interval(0.0, len(falls), confidence=confidence)
    return mean_interval(falls, confidence=confidence)


def opposite_slopes(matched: Matched, confidence: float) -> Interval | None:
    """Return the loss of win rate per evaluation over the recent checkpoints, while the proxy surely rises.

    Each prompt has its own slope, so the interval knows how much prompts differ. 0 while the proxy does not surely
    rise. None before there are four checkpoints, and where nobody was asked.
    """
    checkpoints = [*matched.recent, matched.now]
    rows = [
        row
        for row in range(len(matched.prompts))
        if all(checkpoint.external[row] is not None for checkpoint in checkpoints)
    ]
    if len(checkpoints) < 4 or len(rows) < 2:
        return None
    proxy_slopes = [_slope([checkpoint.proxy[row] for checkpoint in checkpoints]) for row in rows]
    if mean_interval(proxy_slopes, confidence=confidence).low <= 0:
        return alike_interval(0.0, len(rows), confidence=confidence)
    falls = [-_slope([checkpoint.external[row] or 0.0 for checkpoint in checkpoints]) for row in rows]
    return mean_interval(falls, confidence=confidence)


def difference_of_shares(up: int, down: int, n: int, confidence: float) -> Interval:
    """Bound (up - down) / n, sensibly even where all of few items agree."""
    half = win_rate(up, n - up - down, down, confidence=confidence)
    return Interval(2 * half.value - 1, 2 * half.low - 1, 2 * half.high - 1, n)


def suspicion(matched: Matched) -> list[float]:
    """Return how suspect each answer is: what the proxy gained, in SD, less what the external signal says of it."""
    return [
        now - before - (0.0 if external is None else 4 * (external - 0.5))
        for before, now, external in zip(matched.reference.proxy, matched.now.proxy, matched.now.external, strict=True)
    ]


def _slope(values: Sequence[float]) -> float:
    """Return the least-squares change per place."""
    return linear_regression(range(len(values)), values).slope
