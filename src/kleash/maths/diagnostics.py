"""Figures that tell how answers and rewards behave: repetition, correlation with length. No torch here."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from kleash.errors import DataError, SettingsError


def repeated_ngram_share(tokens: Sequence[Hashable], *, n: int) -> float:
    """Return rep-n, the share of n-grams that repeat an earlier one: 1 - distinct / all. 0 if shorter than n.

    Raises SettingsError unless n >= 1. Source: Welleck et al. 2020, arXiv:1908.04319.
    """
    if n < 1:
        raise SettingsError(f"n-grams of length {n} do not exist, expected n >= 1. Set n to 3, the usual one.")
    ngrams = [tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1)]
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def pearson_correlation(first: ArrayLike, second: ArrayLike) -> float:
    """Return the linear correlation of two series; NaN where one does not vary.

    Raises DataError unless both have the same length, not zero.
    """
    x, y = _paired(first, second)
    x, y = x - x.mean(), y - y.mean()
    scale = math.sqrt(float((x**2).sum()) * float((y**2).sum()))
    return float((x * y).sum()) / scale if scale > 0 else math.nan


def _paired(first: ArrayLike, second: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if x.shape != y.shape or x.ndim != 1 or len(x) == 0:
        raise DataError(
            f"Series of shapes {x.shape} and {y.shape}, expected two of equal length, not empty. "
            "Pass both for the same items."
        )
    return x, y
