"""How far raters agree: percentages, and coefficients corrected for chance. No torch here.

Every coefficient takes `ratings_LN`: one row per labeller, one column per item, NaN where a labeller did not rate.
Never show one number alone: kappa collapses when nearly all items get the same rating, AC1 does not. A coefficient is
NaN where it is undefined: no item rated twice, or chance alone would agree fully. Bounds by `agreement_interval`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kleash.errors import DataError, SettingsError
from kleash.maths.intervals import Interval, bootstrap_interval

Level = Literal["nominal", "ordinal", "interval", "ratio"]
Table = NDArray[np.float64]


def percent_agreement(ratings_LN: ArrayLike, *, tie_value: float | None = None) -> float:
    """Return the share of pairs of ratings of the same item that agree, over all items rated at least twice.

    tie_value: when given, ratings of this value are left out ("ties out"); otherwise a tie is a rating like any other.
    """
    ratings = _as_ratings(ratings_LN)
    if tie_value is not None:
        ratings = np.where(ratings == tie_value, np.nan, ratings)
    counts_NC = _category_counts(ratings)
    num_pairs = (counts_NC.sum(axis=1) * (counts_NC.sum(axis=1) - 1)).sum()
    return float((counts_NC * (counts_NC - 1)).sum() / num_pairs) if num_pairs else math.nan


def cohen_kappa(ratings_LN: ArrayLike) -> float:
    """Correct the agreement of exactly two labellers for what their own habits would give by chance.

        kappa = (p_observed - p_chance) / (1 - p_chance),   p_chance = sum_c p_1(c) p_2(c)

    Items that only one of them rated are left out. Raises DataError unless there are two rows.
    Source: Cohen 1960.
    """
    ratings = _as_ratings(ratings_LN)
    if len(ratings) != 2:
        raise DataError(
            f"Cohen's kappa got {len(ratings)} labellers, expected exactly 2. Use fleiss_kappa or krippendorff_alpha."
        )
    both = ratings[:, ~np.isnan(ratings).any(axis=0)]
    if both.shape[1] == 0:
        return math.nan
    observed = float((both[0] == both[1]).mean())
    chance = sum(float((both[0] == c).mean() * (both[1] == c).mean()) for c in np.unique(both))
    return _beyond_chance(observed, chance)


def fleiss_kappa(ratings_LN: ArrayLike) -> float:
    """Correct the agreement of any number of interchangeable labellers for chance.

        P_i = sum_c n_ic (n_ic - 1) / (n_i (n_i - 1));   p_chance = sum_c p_c^2 over all ratings

    Items rated fewer than twice are left out.
    Source: Fleiss 1971. Differs: items may have different numbers of ratings.
    """
    counts_NC = _pairable(_category_counts(_as_ratings(ratings_LN)))
    if len(counts_NC) == 0:
        return math.nan
    share_C = counts_NC.sum(axis=0) / counts_NC.sum()
    return _beyond_chance(_mean_item_agreement(counts_NC), float((share_C**2).sum()))


def gwet_ac1(ratings_LN: ArrayLike) -> float:
    """Correct agreement for chance in a way that survives skewed margins.

        p_chance = sum_c p_c (1 - p_c) / (C - 1),   p_c = mean over items of the share of their ratings that are c

    C: the number of categories that occur. With a single one, agreement is complete: 1.
    Source: Gwet 2008.
    """
    counts_NC = _category_counts(_as_ratings(ratings_LN))
    rated_NC = counts_NC[counts_NC.sum(axis=1) > 0]
    pairable_NC = _pairable(counts_NC)
    if len(pairable_NC) == 0:
        return math.nan
    num_categories = rated_NC.shape[1]
    if num_categories == 1:
        return 1.0
    share_C = (rated_NC / rated_NC.sum(axis=1, keepdims=True)).mean(axis=0)
    chance = float((share_C * (1 - share_C)).sum() / (num_categories - 1))
    return _beyond_chance(_mean_item_agreement(pairable_NC), chance)


def krippendorff_alpha(ratings_LN: ArrayLike, *, level: Level = "nominal") -> float:
    """Compare the disagreement within items with that between any two ratings; for any raters, gaps and scale.

        alpha = 1 - D_observed / D_expected

    with squared distances by level: nominal 0 or 1, ordinal by ranks, interval (a - b)^2, ratio ((a - b) / (a + b))^2.
    Raises SettingsError for an unknown level.
    Source: Krippendorff 2011, "Computing Krippendorff's alpha-reliability".
    """
    ratings = _as_ratings(ratings_LN)
    categories = np.unique(ratings[~np.isnan(ratings)])
    counts_NC = _pairable(_category_counts(ratings))
    if len(counts_NC) == 0:
        return math.nan
    per_item_N = counts_NC.sum(axis=1)
    coincidence_CC = (counts_NC.T / (per_item_N - 1)) @ counts_NC - np.diag(
        (counts_NC.T / (per_item_N - 1)).sum(axis=1)
    )
    margin_C = coincidence_CC.sum(axis=1)
    distance_CC = _squared_distances(categories, margin_C, level)
    observed = float((coincidence_CC * distance_CC).sum())
    expected = float((np.outer(margin_C, margin_C) * distance_CC).sum()) / (margin_C.sum() - 1)
    return 1.0 - observed / expected if expected > 0 else math.nan


def agreement_interval(
    coefficient: Callable[[Table], float],
    ratings_LN: ArrayLike,
    *,
    num_resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Bound a coefficient by drawing items (not ratings: those of one item belong together) again; n counts items.

    agreement_interval(fleiss_kappa, ratings_LN); for settings, pass a lambda.
    """
    return bootstrap_interval(
        _as_ratings(ratings_LN).T,
        statistic=lambda ratings_NL: coefficient(ratings_NL.T),
        num_resamples=num_resamples,
        seed=seed,
        confidence=confidence,
    )


def vote_share(ranks_per_judgement: Sequence[Sequence[float]]) -> float:
    """Return the share of judgements that rank the first answer above the second, a tie counting half.

    ranks_per_judgement: (rank of first, rank of second) of each judgement, 1 = best. This is a pair's soft label.
    Raises DataError without judgements.
    """
    if not ranks_per_judgement:
        raise DataError("A pair has no judgements, expected at least one. Leave the pair out, or have it judged.")
    votes = [0.5 if first == second else float(first < second) for first, second in ranks_per_judgement]
    return sum(votes) / len(votes)


def _as_ratings(ratings_LN: ArrayLike) -> Table:
    ratings: Table = np.array(ratings_LN, dtype=float)
    if ratings.ndim != 2:
        raise DataError(
            f"Ratings have {ratings.ndim} dimension(s), expected 2: labellers x items. Pass one row per labeller."
        )
    return ratings


def _category_counts(ratings: Table) -> Table:
    """Count each item's ratings by category, (items, categories); categories ascend."""
    categories = np.unique(ratings[~np.isnan(ratings)])
    counts_NC: Table = (ratings[:, :, None] == categories).sum(axis=0).astype(float)
    return counts_NC


def _pairable(counts_NC: Table) -> Table:
    pairable_NC: Table = counts_NC[counts_NC.sum(axis=1) >= 2]
    return pairable_NC


def _mean_item_agreement(counts_NC: Table) -> float:
    per_item_N = counts_NC.sum(axis=1)
    return float(((counts_NC * (counts_NC - 1)).sum(axis=1) / (per_item_N * (per_item_N - 1))).mean())


def _beyond_chance(observed: float, chance: float) -> float:
    return (observed - chance) / (1 - chance) if chance < 1 else math.nan


def _squared_distances(categories: Table, margin_C: Table, level: str) -> Table:
    """Return the squared distance between any two categories. margin_C: pairable ratings in each (for ordinal)."""
    first, second = categories[:, None], categories[None, :]
    distance: Table
    if level == "nominal":
        distance = (first != second).astype(float)
    elif level == "ordinal":
        # Ratings between two categories, with half of those in the two themselves.
        middle_C = np.cumsum(margin_C) - margin_C / 2
        distance = (middle_C[:, None] - middle_C[None, :]) ** 2
    elif level == "interval":
        distance = (first - second) ** 2
    elif level == "ratio":
        total = first + second
        distance = np.divide(first - second, total, out=np.zeros_like(total), where=total != 0) ** 2
    else:
        raise SettingsError(
            f'Level is "{level}", expected "nominal", "ordinal", "interval" or "ratio". Choose one of these.'
        )
    return distance
