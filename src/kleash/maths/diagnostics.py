"""Figures that tell how samples and rewards behave: repetition, staleness, correlation with length. No torch here."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kleash.errors import DataError, SettingsError


def repeated_ngram_share(tokens: Sequence[Hashable], *, n: int) -> float:
    """Return rep-n, the share of n-grams that repeat an earlier one: 1 - distinct / all. 0 if shorter than n.

    Raises SettingsError unless n >= 1. Source: Welleck et al. 2020, arXiv:1908.04319.
    """
    if n < 1:
        raise SettingsError(f"n-grams of length {n} do not exist, expected n >= 1. Set n to 3, the usual one.")
    ngrams = [tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1)]
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def effective_sample_size(log_weights: ArrayLike) -> float:
    """Return how many fresh samples weighted ones are worth, (sum w)^2 / sum w^2; below half of n, sample again.

    log_weights: log p(current) - log p(behaviour) of each sample. Raises DataError without samples.
    """
    log_w = _series(log_weights)
    if len(log_w) == 0:
        raise DataError("There are no importance weights, expected at least one. Pass the samples' log-weights.")
    # A common factor cancels; taking the largest out keeps exp from overflowing.
    w = np.exp(log_w - log_w.max())
    return float(w.sum() ** 2 / (w**2).sum())


def truncated_importance_weights(log_weights: ArrayLike, *, limit: float) -> NDArray[np.float64]:
    """Return min(w, limit): a little bias for far less variance."""
    return np.exp(np.minimum(_series(log_weights), math.log(limit)))


def pearson_correlation(first: ArrayLike, second: ArrayLike) -> float:
    """Return the linear correlation of two series; NaN where one does not vary.

    Raises DataError unless both have the same length, not zero.
    """
    x, y = _paired(first, second)
    x, y = x - x.mean(), y - y.mean()
    scale = math.sqrt(float((x**2).sum()) * float((y**2).sum()))
    return float((x * y).sum()) / scale if scale > 0 else math.nan


def spearman_correlation(first: ArrayLike, second: ArrayLike) -> float:
    """Return the correlation of ranks, ties sharing their mean rank; NaN where one does not vary."""
    from scipy.stats import rankdata

    x, y = _paired(first, second)
    return pearson_correlation(rankdata(x), rankdata(y))


def partial_correlation(first: ArrayLike, second: ArrayLike, given: ArrayLike) -> float:
    """Return the correlation of two series with a third held fixed, such as reward and gold given length.

        (r_12 - r_13 r_23) / sqrt((1 - r_13^2) (1 - r_23^2))

    NaN where one of them is determined by the third.
    """
    r_12, r_13, r_23 = (pearson_correlation(a, b) for a, b in ((first, second), (first, given), (second, given)))
    scale = math.sqrt(max(1 - r_13**2, 0.0) * max(1 - r_23**2, 0.0))
    return (r_12 - r_13 * r_23) / scale if scale > 0 else math.nan


def slope(x: ArrayLike, y: ArrayLike) -> float:
    """Return the least-squares change of y per unit of x, such as reward per token; NaN where x does not vary."""
    x_N, y_N = _paired(x, y)
    x_N = x_N - x_N.mean()
    spread = float((x_N**2).sum())
    return float((x_N * y_N).sum()) / spread if spread > 0 else math.nan


def _series(values: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(values, dtype=float)


def _paired(first: ArrayLike, second: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = _series(first), _series(second)
    if x.shape != y.shape or x.ndim != 1 or len(x) == 0:
        raise DataError(
            f"Series of shapes {x.shape} and {y.shape}, expected two of equal length, not empty. "
            "Pass both for the same items."
        )
    return x, y
