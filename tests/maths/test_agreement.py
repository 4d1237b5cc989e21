import dataclasses
import itertools
import math

import numpy as np
import pytest
from statsmodels.stats import inter_rater

from kleash.errors import DataError, SettingsError
from kleash.maths.agreement import (
    agreement_interval,
    cohen_kappa,
    fleiss_kappa,
    gwet_ac1,
    gwet_ac2,
    krippendorff_alpha,
    mean_cohen_kappa,
    percent_agreement,
    resampling_weights,
    vote_share,
)
from kleash.maths.intervals import percentile_interval

NAN = math.nan
WITH_GAPS = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    ]
)
COEFFICIENTS = [percent_agreement, mean_cohen_kappa, fleiss_kappa, gwet_ac1, gwet_ac2, krippendorff_alpha]
LEVELS = ["nominal", "ordinal", "interval", "ratio"]


def ratings(seed: int, num_labellers: int = 3, num_items: int = 40) -> np.ndarray:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, num_items)
    noisy = rng.integers(0, 3, (num_labellers, num_items))
    return np.where(rng.random((num_labellers, num_items)) < 0.6, truth, noisy).astype(float)


def test_percent_agreement_matches_a_loop_over_pairs_of_ratings():
    agreeing = pairs = 0
    for item in WITH_GAPS.T:
        for first, second in itertools.combinations(item[~np.isnan(item)], 2):
            agreeing, pairs = agreeing + (first == second), pairs + 1
    assert percent_agreement(WITH_GAPS) == pytest.approx(agreeing / pairs)


def test_cohen_agrees_with_statsmodels_and_skips_what_one_did_not_rate():
    first, second = ratings(0, num_labellers=2)
    table = [[((first == a) & (second == b)).sum() for b in range(3)] for a in range(3)]
    expected = inter_rater.cohens_kappa(table, return_results=False)
    assert cohen_kappa([first, second]) == pytest.approx(expected)
    assert cohen_kappa([[*first, 1.0, NAN], [*second, NAN, NAN]]) == pytest.approx(expected)


def test_cohen_is_for_two():
    with pytest.raises(DataError, match=r"got 3 labellers, expected exactly 2\. Use fleiss_kappa"):
        cohen_kappa(ratings(0))


def test_fleiss_agrees_with_statsmodels():
    table = ratings(0)
    counts = np.stack([(table == c).sum(axis=0) for c in range(3)], axis=1)
    assert fleiss_kappa(table) == pytest.approx(inter_rater.fleiss_kappa(counts))


def test_gwet_by_hand_where_kappa_collapses():
    # Two labellers, 90 items both "yes", 5 "no" by each alone, none by both: 90 % agreement.
    first = [1] * 90 + [1] * 5 + [0] * 5
    second = [1] * 90 + [0] * 5 + [1] * 5
    chance = 2 * 0.95 * 0.05
    assert gwet_ac1([first, second]) == pytest.approx((0.9 - chance) / (1 - chance))
    assert cohen_kappa([first, second]) == pytest.approx((0.9 - 0.905) / 0.095)


@pytest.mark.parametrize(
    ("level", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849), ("ratio", 0.797)]
)
def test_krippendorff_as_published(level, published):
    assert krippendorff_alpha(WITH_GAPS, level=level) == pytest.approx(published, abs=5e-4)


@pytest.mark.parametrize("level", ["nominal", "interval"])
def test_krippendorff_matches_pairwise_disagreement(level):
    def distance(a, b):
        return float(a != b) if level == "nominal" else (a - b) ** 2

    items = [item[~np.isnan(item)].tolist() for item in WITH_GAPS.T]
    items = [item for item in items if len(item) >= 2]
    everything = list(itertools.chain.from_iterable(items))
    within = sum(sum(distance(a, b) for a in item for b in item) / (len(item) - 1) for item in items)
    between = sum(distance(a, b) for a in everything for b in everything) / (len(everything) - 1)
    assert krippendorff_alpha(WITH_GAPS, level=level) == pytest.approx(1 - within / between)


def test_an_unknown_level_is_refused():
    with pytest.raises(SettingsError, match=r'Level is "cardinal", expected "nominal", .*Choose one'):
        krippendorff_alpha(WITH_GAPS, level="cardinal")


@pytest.mark.parametrize("coefficient", COEFFICIENTS)
def test_labellers_and_items_have_no_order_and_unrated_items_no_weight(coefficient):
    value = coefficient(WITH_GAPS)
    assert coefficient(WITH_GAPS[::-1, ::-1]) == pytest.approx(value)
    with_unrated = np.concatenate([WITH_GAPS, np.full((4, 2), NAN)], axis=1)
    assert coefficient(with_unrated) == pytest.approx(value)


@pytest.mark.parametrize("level", LEVELS)
def test_names_and_scales_matter_only_as_far_as_the_level_says(level):
    value = krippendorff_alpha(WITH_GAPS, level=level)
    unchanged = {
        "nominal": -(WITH_GAPS**3),
        "ordinal": WITH_GAPS**3,
        "interval": 2 * WITH_GAPS + 7,
        "ratio": 5 * WITH_GAPS,
    }
    assert krippendorff_alpha(unchanged[level], level=level) == pytest.approx(value)


@pytest.mark.parametrize("coefficient", [*COEFFICIENTS, cohen_kappa])
def test_full_agreement_is_one_and_no_pair_is_undefined(coefficient):
    assert coefficient([[1, 2, 3, 1], [1, 2, 3, 1]]) == pytest.approx(1.0)
    assert math.isnan(coefficient([[1, NAN], [NAN, 2]]))
    assert math.isnan(coefficient([[], []]))


def test_a_single_category_leaves_nothing_to_correct():
    same = [[1, 1, 1], [1, 1, 1]]
    assert percent_agreement(same) == gwet_ac1(same) == gwet_ac2(same) == 1.0
    for coefficient in (cohen_kappa, mean_cohen_kappa, fleiss_kappa, krippendorff_alpha):
        assert math.isnan(coefficient(same))


def test_mean_cohen_weighs_pairs_of_labellers_by_the_items_they_share():
    first, second, third = ratings(3, num_items=30)
    third[10:] = NAN
    kappas = [cohen_kappa([first, second]), cohen_kappa([first, third]), cohen_kappa([second, third])]
    expected = np.average(kappas, weights=[30, 10, 10])
    assert mean_cohen_kappa([first, second, third]) == pytest.approx(expected)


def test_gwet_with_ordinal_credit_by_hand():
    # Categories 1, 2, 3: neighbours earn 2/3, the ends 0. Of four items one is a near miss and one a full miss.
    first, second = [1, 3, 1, 1], [1, 3, 2, 3]
    observed = (1 + 1 + 2 / 3 + 0) / 4
    share = np.array([4, 1, 3]) / 8
    chance = (3 + 4 * 2 / 3) / (3 * 2) * (share * (1 - share)).sum()
    assert gwet_ac2([first, second]) == pytest.approx((observed - chance) / (1 - chance))


def test_two_categories_have_no_near_misses():
    two = np.minimum(ratings(1), 1)
    assert gwet_ac2(two) == pytest.approx(gwet_ac1(two))
    assert gwet_ac2(WITH_GAPS**3) == pytest.approx(gwet_ac2(WITH_GAPS))


def test_an_interval_resamples_items():
    interval = agreement_interval(fleiss_kappa, ratings(0), num_resamples=200)
    assert interval.value == pytest.approx(fleiss_kappa(ratings(0)))
    assert interval.low < interval.value < interval.high
    assert interval.n == 40
    wide = agreement_interval(fleiss_kappa, ratings(0)[:, :10], num_resamples=200)
    assert wide.high - wide.low > interval.high - interval.low


@pytest.mark.parametrize(
    ("coefficient", "settings"),
    [
        *((coefficient, {}) for coefficient in COEFFICIENTS),
        *((krippendorff_alpha, {"level": level}) for level in LEVELS),
    ],
)
def test_an_interval_is_that_of_the_coefficient_on_tables_drawn_again(coefficient, settings):
    table = ratings(5, num_items=30) + 1
    table[0, 20:] = NAN
    item_N = np.arange(30) // 2
    weights = resampling_weights(15, num_resamples=50, seed=4)
    assert (weights.sum(axis=1) == 15).all()
    draws = [coefficient(np.repeat(table, row[item_N].astype(int), axis=1), **settings) for row in weights]
    expected = percentile_interval(coefficient(table, **settings), draws, n=15)
    interval = agreement_interval(coefficient, table, item_N=item_N, num_resamples=50, seed=4, **settings)
    assert dataclasses.astuple(interval) == pytest.approx(dataclasses.astuple(expected))


def test_columns_of_one_item_bring_no_certainty_of_their_own():
    once, copies = ratings(0), np.repeat(ratings(0), 4, axis=1)
    together = agreement_interval(percent_agreement, copies, item_N=np.repeat(np.arange(40), 4))
    alone = agreement_interval(percent_agreement, once)
    assert (together.value, together.low, together.high) == pytest.approx((alone.value, alone.low, alone.high))
    assert together.n == alone.n == 40


def test_items_rated_once_are_not_counted_and_alone_say_nothing():
    assert agreement_interval(percent_agreement, [[1, 1, NAN], [1, NAN, 2]]).n == 1
    nothing = agreement_interval(percent_agreement, [[1, NAN], [NAN, 2]])
    assert nothing.n == 0
    assert all(math.isnan(figure) for figure in (nothing.value, nothing.low, nothing.high))


def test_a_flat_list_is_no_table():
    with pytest.raises(DataError, match=r"Ratings have 1 dimension\(s\), expected 2: labellers x items\. Pass one row"):
        fleiss_kappa([1, 2, 3])


def test_vote_share_counts_a_tie_as_half():
    assert vote_share([(1, 2), (1, 2), (2, 1), (1, 1)]) == pytest.approx(2.5 / 4)
    assert vote_share([(2, 1)]) == 0.0
    with pytest.raises(DataError, match=r"A pair has no judgements, expected at least one\. Leave the pair out"):
        vote_share([])


@pytest.mark.parametrize(
    "coefficient", [percent_agreement, cohen_kappa, fleiss_kappa, gwet_ac1, gwet_ac2, krippendorff_alpha]
)
@pytest.mark.parametrize("n", [2, 8])
def test_a_few_items_that_all_agree_prove_no_perfect_agreement(coefficient, n):
    found = agreement_interval(coefficient, np.array([[0.0, 1.0] * (n // 2)] * 2))
    assert (found.value, found.high, found.n) == (1.0, 1.0, n)
    assert found.low < 0.7
