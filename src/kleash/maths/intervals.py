"""Rates and means with their uncertainty: every figure KLeash shows comes with n and an interval. No torch here.

Scipy is imported only where it is needed, so that the services start fast.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kleash.errors import DataError, SettingsError

Bounds = tuple[float, float]
UNBOUNDED: Bounds = (-math.inf, math.inf)
# Draws of the same figure may differ by so much of it.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Interval:
    """A figure with the bounds of its confidence interval and the number of items behind it."""

    value: float
    low: float
    high: float
    n: int


def wilson_interval(successes: float, n: int, *, confidence: float = 0.95) -> Interval:
    """Bound a rate, sensibly even for few items or rates of 0 and 1 (Wilson's score interval).

    Without items nothing is known: value NaN, from 0 to 1.
    Raises DataError unless 0 <= successes <= n.
    Source: Wilson 1927.
    """
    if not 0 <= successes <= n:
        raise DataError(
            f"{successes} successes of {n}, expected 0 <= successes <= n. Check how the items were counted."
        )
    return _score_interval(successes / n, n, n, confidence) if n else _nothing_known(confidence)


def win_rate(wins: int, ties: int, losses: int, *, confidence: float = 0.95) -> Interval:
    """Bound the share of wins with a tie as half a win; n counts all three.

    Wilson's interval at the number of decided items that would have the outcomes' variance (0, .5 or 1 each): a tie
    says more than a coin flip. Without ties it is Wilson's interval exactly. Without items: NaN, from 0 to 1.
    Raises DataError for negative counts.
    """
    if min(wins, ties, losses) < 0:
        raise DataError(f"{wins} wins, {ties} ties, {losses} losses: expected no negative count. Check the counting.")
    n = wins + ties + losses
    if n == 0:
        return _nothing_known(confidence)
    # Half a win and half a loss more: the variance of all ties (or of all wins) must not come out as zero.
    mean = (wins + 0.5 + ties / 2) / (n + 1)
    variance = (wins + 0.5 + ties / 4) / (n + 1) - mean**2
    return _score_interval((wins + ties / 2) / n, n, n * mean * (1 - mean) / variance, confidence)


def mean_interval(values: ArrayLike, *, confidence: float = 0.95, bounds: Bounds = UNBOUNDED) -> Interval:
    """Bound a mean by Student's t; infinitely wide for a single value. Equal values: `alike_interval`.

    bounds: what the mean can be at all.
    Raises DataError without values or with NaN among them.
    """
    numbers = _finite_numbers(values)
    n, mean = len(numbers), float(numbers.mean())
    if n == 1:
        return _within(mean, -math.inf, math.inf, 1, bounds)
    if numbers.min() == numbers.max():
        return alike_interval(float(numbers[0]), n, confidence=confidence, bounds=bounds)
    from scipy.stats import t

    half_width = float(t.ppf(_upper_tail(confidence), n - 1)) * float(numbers.std(ddof=1)) / math.sqrt(n)
    return _within(mean, mean - half_width, mean + half_width, n, bounds)


def alike_interval(value: float, n: int, *, confidence: float = 0.95, bounds: Bounds = UNBOUNDED) -> Interval:
    """Bound a figure of which n cases, all alike, show no spread: there may be others, only not many.

    A share of up to 1 - (alpha/2)^(1/n) of all cases may be unlike those seen, with 1 - alpha the confidence (the exact
    bound of a binomial share); each is taken to be off by the figure itself, or by one unit where that is more. So ten
    ones are 1 (.69 to 1) within bounds of 0 and 1, and ten zeros are no proof of zero.
    """
    share_unseen = 1 - (1 - _upper_tail(confidence)) ** (1 / n)
    reach = share_unseen * max(abs(value), 1.0)
    return _within(value, value - reach, value + reach, n, bounds)


def paired_difference_interval(
    first: ArrayLike, second: ArrayLike, *, confidence: float = 0.95, bounds: Bounds = UNBOUNDED
) -> Interval:
    """Bound the mean of first - second over the same items: far narrower than two intervals side by side.

    Raises DataError if the two differ in length.
    """
    first_N, second_N = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if first_N.shape != second_N.shape:
        raise DataError(
            f"{first_N.size} values against {second_N.size}, expected as many of each. Pass both for the same items."
        )
    return mean_interval(first_N - second_N, confidence=confidence, bounds=bounds)


def bootstrap_interval(
    values: ArrayLike,
    *,
    statistic: Callable[[NDArray[np.float64]], float] = lambda sample: float(np.mean(sample)),
    num_resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
    bounds: Bounds = UNBOUNDED,
) -> Interval:
    """Bound any statistic by drawing items again with replacement (percentile bootstrap).

    values: items along the first axis; a row of a table stays together. Resamples whose statistic is undefined (NaN)
    are left out; if all are, the bounds are NaN.
    Raises DataError without values, SettingsError without resamples.
    """
    items = np.asarray(values, dtype=float)
    if items.ndim == 0 or len(items) == 0:
        raise DataError("There are no values, expected at least one. Leave this figure out, or collect some.")
    if num_resamples < 1:
        raise SettingsError(f"num_resamples is {num_resamples}, expected at least 1. Set 1000, the usual one.")
    rng = np.random.default_rng(seed)
    draws = [float(statistic(items[rng.integers(len(items), size=len(items))])) for _ in range(num_resamples)]
    return percentile_interval(float(statistic(items)), draws, n=len(items), confidence=confidence, bounds=bounds)


def percentile_interval(
    value: float, draw_R: ArrayLike, *, n: int, confidence: float = 0.95, bounds: Bounds = UNBOUNDED
) -> Interval:
    """Bound a figure by the quantiles of its bootstrap draws; undefined (NaN) draws are left out.

    n: the items that were drawn. Draws without spread: `alike_interval`.
    """
    draws = np.asarray(draw_R, dtype=float)
    defined = draws[~np.isnan(draws)]
    if not len(defined):
        return Interval(value, math.nan, math.nan, n)
    tail = _upper_tail(confidence)
    low, high = (float(bound) for bound in np.quantile(defined, [1 - tail, tail]))
    if n > 0 and np.ptp(defined) <= _ROUNDING * max(abs(low), 1.0) and not math.isnan(value):
        return alike_interval(value, n, confidence=confidence, bounds=bounds)
    return Interval(value, low, high, n)


def chance_below_zero(num_answers: float, *, risk: float = 1e-6) -> float:
    """Return how far below zero the mean k1 of so many answers lies by chance with at most this probability, in nats.

        sum_i k1_i < -log(1 / risk)   with probability <= risk,   so   mean < -log(1 / risk) / n

    For exp(-k1) = p_ref / p has the mean 1 over p's own answers, cut off or not, whatever p and p_ref (Ville's
    inequality): an interval by standard errors accuses small batches, whose few answers miss the rare large values. By
    default a run that is right is accused once in a million times.
    """
    return math.log(1 / risk) / max(num_answers, 1.0)


def _score_interval(rate: float, n: int, effective_n: float, confidence: float) -> Interval:
    z = NormalDist().inv_cdf(_upper_tail(confidence))
    shrink = 1 + z * z / effective_n
    centre = (rate + z * z / (2 * effective_n)) / shrink
    half_width = z / shrink * math.sqrt(rate * (1 - rate) / effective_n + z * z / (4 * effective_n**2))
    # Rounding must not push a bound beyond the rate itself at 0 and 1.
    return Interval(rate, min(max(centre - half_width, 0.0), rate), max(min(centre + half_width, 1.0), rate), n)


def _within(value: float, low: float, high: float, n: int, bounds: Bounds) -> Interval:
    return Interval(value, max(low, bounds[0]), min(high, bounds[1]), n)


def _nothing_known(confidence: float) -> Interval:
    _upper_tail(confidence)
    return Interval(math.nan, 0.0, 1.0, 0)


def _finite_numbers(values: ArrayLike) -> NDArray[np.float64]:
    numbers = np.asarray(values, dtype=float).ravel()
    if len(numbers) == 0 or not np.isfinite(numbers).all():
        raise DataError(
            f"{int(np.isfinite(numbers).sum())} finite values of {len(numbers)}, expected at least one and all finite. "
            "Leave missing items out before averaging."
        )
    return numbers


def _upper_tail(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise SettingsError(f"Confidence is {confidence}, expected a share between 0 and 1. Set .95, the usual one.")
    return (1 + confidence) / 2
