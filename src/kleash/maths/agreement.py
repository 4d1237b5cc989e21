"""How far raters agree: percentages, and coefficients corrected for chance. No torch here.

Every coefficient takes `ratings_LN`: one row per labeller, one column per item, NaN where a labeller did not rate.
Never show one number alone: kappa collapses when nearly all items get the same rating, AC1 does not. A coefficient is
NaN where it is undefined: no item rated twice, or chance alone would agree fully. Bounds by `agreement_interval`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kleash.errors import DataError, SettingsError
from kleash.maths.intervals import Interval, percentile_interval

Level = Literal["nominal", "ordinal", "interval", "ratio"]
Table = NDArray[np.float64]


def percent_agreement(ratings_LN: ArrayLike) -> float:
    """Return the share of pairs of ratings of the same item that agree, over all items rated at least twice."""
    return _over_all_items(_percent, ratings_LN)


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
    return mean_cohen_kappa(ratings)


def mean_cohen_kappa(ratings_LN: ArrayLike) -> float:
    """Return the mean of Cohen's kappa over all pairs of labellers, weighted by the items that both rated.

    Pairs whose kappa is undefined are left out.
    Source: Light 1971. Differs: Light's mean is unweighted; ours does not hang on pairs that met three times.
    """
    return _over_all_items(_mean_cohen, ratings_LN)


def fleiss_kappa(ratings_LN: ArrayLike) -> float:
    """Correct the agreement of any number of interchangeable labellers for chance.

        P_i = sum_c n_ic (n_ic - 1) / (n_i (n_i - 1));   p_chance = sum_c p_c^2 over all ratings

    Items rated fewer than twice are left out.
    Source: Fleiss 1971. Differs: items may have different numbers of ratings.
    """
    return _over_all_items(_fleiss, ratings_LN)


def gwet_ac1(ratings_LN: ArrayLike) -> float:
    """Correct agreement for chance in a way that survives skewed margins.

        p_chance = sum_c p_c (1 - p_c) / (C - 1),   p_c = mean over items of the share of their ratings that are c

    C: the number of categories that occur. With a single one, agreement is complete: 1.
    Source: Gwet 2008.
    """
    return _over_all_items(_gwet, ratings_LN)


def gwet_ac2(ratings_LN: ArrayLike) -> float:
    """Correct agreement on an ordered scale for chance, near misses counting in part; survives skewed margins.

        w_ab = 1 - m_ab / m_max,   m_ab = the pairs of categories between a and b, both included
        p_chance = sum_ab w_ab * sum_c p_c (1 - p_c) / (C (C - 1))

    The C categories that occur are the scale, ascending; with two of them it is gwet_ac1.
    Source: Gwet 2014, "Handbook of Inter-Rater Reliability", ordinal weights.
    """
    return _over_all_items(_gwet, ratings_LN, is_ordinal=True)


def krippendorff_alpha(ratings_LN: ArrayLike, *, level: Level = "nominal") -> float:
    """Compare the disagreement within items with that between any two ratings; for any raters, gaps and scale.

        alpha = 1 - D_observed / D_expected

    with squared distances by level: nominal 0 or 1, ordinal by ranks, interval (a - b)^2, ratio ((a - b) / (a + b))^2.
    Raises SettingsError for an unknown level.
    Source: Krippendorff 2011, "Computing Krippendorff's alpha-reliability".
    """
    return _over_all_items(_alpha, ratings_LN, level=level)


def agreement_interval(
    coefficient: Callable[..., float],
    ratings_LN: ArrayLike,
    *,
    item_N: ArrayLike | None = None,
    num_resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
    **settings: Any,
) -> Interval:
    """Bound a coefficient of this module by drawing items (not ratings: those of one belong together) again.

    agreement_interval(krippendorff_alpha, ratings_LN, level="ordinal"); `settings` are the coefficient's own.
    item_N: the item each column belongs to, 0, 1, ...; the pairs of one ranking are drawn together. Default: one each.
    n counts the items with a column rated at least twice; without any, all else is NaN.
    """
    ratings = _as_ratings(ratings_LN)
    item_of_column = np.arange(ratings.shape[1]) if item_N is None else np.asarray(item_N, dtype=int)
    doubly_rated = (~np.isnan(ratings)).sum(axis=0) >= 2
    n = len(np.unique(item_of_column[doubly_rated]))
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    weight_RI = resampling_weights(int(item_of_column.max()) + 1, num_resamples=num_resamples, seed=seed)
    over_items, fixed = _WEIGHTED[coefficient]
    draw_R = over_items(ratings, weight_RI[:, item_of_column], **fixed, **settings)
    # Where all agree every draw is 1, and a few items that agree prove no perfect agreement.
    bounds = (0.0 if coefficient is percent_agreement else -1.0, 1.0)
    return percentile_interval(coefficient(ratings, **settings), draw_R, n=n, confidence=confidence, bounds=bounds)


def resampling_weights(num_items: int, *, num_resamples: int, seed: int) -> Table:
    """Return how often each item is drawn in each resample, (resamples, items): a bootstrap as one matrix product."""
    drawn_RI = np.random.default_rng(seed).integers(num_items, size=(num_resamples, num_items))
    flat = drawn_RI + num_items * np.arange(num_resamples)[:, None]
    counted = np.bincount(flat.ravel(), minlength=num_resamples * num_items)
    weight_RI: Table = counted.reshape(num_resamples, num_items).astype(float)
    return weight_RI


def vote_share(ranks_per_judgement: Sequence[Sequence[float]]) -> float:
    """Return the share of judgements that rank the first answer above the second, a tie counting half.

    ranks_per_judgement: (rank of first, rank of second) of each judgement, 1 = best. This is a pair's soft label.
    Raises DataError without judgements.
    """
    if not ranks_per_judgement:
        raise DataError("A pair has no judgements, expected at least one. Leave the pair out, or have it judged.")
    votes = [0.5 if first == second else float(first < second) for first, second in ranks_per_judgement]
    return sum(votes) / len(votes)


# ------------------------------------------------- the coefficients, for many weightings of the items at once: (R,)
def _over_all_items(over_items: Callable[..., Table], ratings_LN: ArrayLike, **settings: Any) -> float:
    ratings = _as_ratings(ratings_LN)
    return float(over_items(ratings, np.ones((1, ratings.shape[1])), **settings)[0])


def _percent(ratings: Table, weight_RN: Table) -> Table:
    counts_NC = _category_counts(ratings)
    per_item_N = counts_NC.sum(axis=1)
    agreeing_N = (counts_NC * (counts_NC - 1)).sum(axis=1)
    return _ratio(weight_RN @ agreeing_N, weight_RN @ (per_item_N * (per_item_N - 1)))


def _mean_cohen(ratings: Table, weight_RN: Table) -> Table:
    is_rated = ~np.isnan(ratings)
    categories = np.unique(ratings[is_rated])
    num_categories, num_resamples = len(categories), len(weight_RN)
    code_LN = np.searchsorted(categories, np.where(is_rated, ratings, np.inf))
    total_R, shared_R = np.zeros(num_resamples), np.zeros(num_resamples)
    # One labeller against all that follow: E items shared with one of those, each in a cell of that pair's table.
    for labeller in range(len(ratings) - 1):
        other_E, item_E = np.nonzero(is_rated[labeller + 1 :] & is_rated[labeller])
        own_E, theirs_E = code_LN[labeller, item_E], code_LN[labeller + 1 + other_E, item_E]
        cell_E = (other_E * num_categories + own_E) * num_categories + theirs_E
        by_cell = np.argsort(cell_E, kind="stable")
        cells, starts = np.unique(cell_E[by_cell], return_index=True)
        num_others = len(ratings) - 1 - labeller
        sum_RK = np.zeros((num_resamples, num_others * num_categories**2))
        if len(cells):
            sum_RK[:, cells] = np.add.reduceat(weight_RN[:, item_E[by_cell]], starts, axis=1)
        table_RMCC = sum_RK.reshape(num_resamples, num_others, num_categories, num_categories)
        num_RM = table_RMCC.sum(axis=(2, 3))
        observed_RM = _ratio(np.trace(table_RMCC, axis1=2, axis2=3), num_RM)
        chance_RM = _ratio((table_RMCC.sum(axis=2) * table_RMCC.sum(axis=3)).sum(axis=2), num_RM**2)
        kappa_RM = _beyond_chance(observed_RM, chance_RM)
        total_R += np.nansum(kappa_RM * num_RM, axis=1)
        shared_R += np.where(np.isnan(kappa_RM), 0.0, num_RM).sum(axis=1)
    return _ratio(total_R, shared_R)


def _fleiss(ratings: Table, weight_RN: Table) -> Table:
    counts_NC = _pairable(_category_counts(ratings))
    margin_RC = weight_RN @ counts_NC
    share_RC = _ratio(margin_RC, margin_RC.sum(axis=1, keepdims=True))
    return _beyond_chance(_mean_item_agreement(counts_NC, counts_NC, weight_RN), (share_RC**2).sum(axis=1))


def _gwet(ratings: Table, weight_RN: Table, *, is_ordinal: bool = False) -> Table:
    rated_NC = _category_counts(ratings)
    pairable_NC = _pairable(rated_NC)
    num_categories = rated_NC.shape[1]
    credit_CC = _ordinal_credit(num_categories) if is_ordinal else np.eye(num_categories)
    observed_R = _mean_item_agreement(pairable_NC, pairable_NC @ credit_CC, weight_RN)
    if num_categories <= 1:
        return observed_R
    per_item_N = rated_NC.sum(axis=1)
    share_NC = np.divide(rated_NC, per_item_N[:, None], out=np.zeros_like(rated_NC), where=per_item_N[:, None] > 0)
    share_RC = _ratio(weight_RN @ share_NC, (weight_RN @ (per_item_N > 0))[:, None])
    spread_R = (share_RC * (1 - share_RC)).sum(axis=1)
    return _beyond_chance(observed_R, credit_CC.sum() / (num_categories * (num_categories - 1)) * spread_R)


def _alpha(ratings: Table, weight_RN: Table, *, level: Level = "nominal") -> Table:
    categories = np.unique(ratings[~np.isnan(ratings)])
    counts_NC = _pairable(_category_counts(ratings))
    others_N = np.maximum(counts_NC.sum(axis=1) - 1, 1)
    ordered_NCC = counts_NC[:, :, None] * counts_NC[:, None, :] - counts_NC[:, :, None] * np.eye(len(categories))
    within_N_CC = (ordered_NCC / others_N[:, None, None]).reshape(len(counts_NC), len(categories) ** 2)
    coincidence_RCC = (weight_RN @ within_N_CC).reshape(len(weight_RN), len(categories), len(categories))
    margin_RC = coincidence_RCC.sum(axis=2)
    distance_RCC = _squared_distances(categories, margin_RC, level)
    observed_R = (coincidence_RCC * distance_RCC).sum(axis=(1, 2))
    expected_R = (margin_RC[:, :, None] * margin_RC[:, None, :] * distance_RCC).sum(axis=(1, 2))
    return 1.0 - _ratio(observed_R * (margin_RC.sum(axis=1) - 1), expected_R)


# How `agreement_interval` finds a public coefficient's form for many weightings.
_WEIGHTED: dict[Callable[..., float], tuple[Callable[..., Table], dict[str, Any]]] = {
    percent_agreement: (_percent, {}),
    cohen_kappa: (_mean_cohen, {}),
    mean_cohen_kappa: (_mean_cohen, {}),
    fleiss_kappa: (_fleiss, {}),
    gwet_ac1: (_gwet, {}),
    gwet_ac2: (_gwet, {"is_ordinal": True}),
    krippendorff_alpha: (_alpha, {}),
}


# ------------------------------------------------------------------------------------------------------- their parts
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
    """Empty the items that were rated once: they say nothing about agreement."""
    pairable_NC: Table = np.where(counts_NC.sum(axis=1, keepdims=True) >= 2, counts_NC, 0.0)
    return pairable_NC


def _mean_item_agreement(counts_NC: Table, credited_NC: Table, weight_RN: Table) -> Table:
    """Average over items the share of their pairs of ratings that agree.

    credited_NC: how many of the item's ratings match a rating of each category, itself among them.
    """
    per_item_N = counts_NC.sum(axis=1)
    agreeing_N = (counts_NC * (credited_NC - 1)).sum(axis=1)
    is_pairable = per_item_N >= 2
    share_N = np.divide(agreeing_N, per_item_N * (per_item_N - 1), out=np.zeros_like(agreeing_N), where=is_pairable)
    return _ratio(weight_RN @ share_N, weight_RN @ is_pairable)


def _ordinal_credit(num_categories: int) -> Table:
    """Return what a pair of categories earns as agreement, by Gwet's ordinal weights: 1 for the same, 0 end to end."""
    index = np.arange(num_categories)
    num_between = np.abs(index[:, None] - index[None, :]) + 1
    num_pairs = num_between * (num_between - 1) / 2
    credit_CC: Table = 1 - num_pairs / max(num_pairs.max(initial=0), 1)
    return credit_CC


def _ratio(part: Table, whole: Table) -> Table:
    """Divide, NaN where there is nothing to divide by."""
    part, whole = np.broadcast_arrays(part, whole)
    ratio: Table = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return ratio


def _beyond_chance(observed_R: Table, chance_R: Table) -> Table:
    # Rounding must not make a coefficient of the 1 - 1 that a single category leaves.
    return _ratio(observed_R - chance_R, np.where(chance_R < 1 - 1e-12, 1 - chance_R, 0.0))


def _squared_distances(categories: Table, margin_RC: Table, level: str) -> Table:
    """Return the squared distance between any two categories, (R or 1, C, C). margin_RC: pairable ratings in each."""
    first, second = categories[None, :, None], categories[None, None, :]
    distance: Table
    if level == "nominal":
        distance = (first != second).astype(float)
    elif level == "ordinal":
        # Ratings between two categories, with half of those in the two themselves.
        middle_RC = np.cumsum(margin_RC, axis=1) - margin_RC / 2
        distance = (middle_RC[:, :, None] - middle_RC[:, None, :]) ** 2
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
