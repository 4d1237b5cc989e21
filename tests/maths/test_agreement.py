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
    krippendorff_alpha,
    percent_agreement,
    vote_share,
)

NAN = math.nan
WITH_GAPS = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    ]
)
COEFFICIENTS = [percent_agreement, fleiss_kappa, gwet_ac1, krippendorff_alpha]
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


def test_ties_count_or_do_not():
    votes = [[1, 2, 0, 1], [1, 1, 0, 0]]
    assert percent_agreement(votes) == 0.5
    assert percent_agreement(votes, tie_value=0) == 0.5
    assert percent_agreement([[1, 0], [1, 2]], tie_value=0) == 1.0


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
    assert percent_agreement(same) == gwet_ac1(same) == 1.0
    for coefficient in (cohen_kappa, fleiss_kappa, krippendorff_alpha):
        assert math.isnan(coefficient(same))


def test_an_interval_resamples_items():
    interval = agreement_interval(fleiss_kappa, ratings(0), num_resamples=200)
    assert interval.value == pytest.approx(fleiss_kappa(ratings(0)))
    assert interval.low < interval.value < interval.high
    assert interval.n == 40
    wide = agreement_interval(fleiss_kappa, ratings(0)[:, :10], num_resamples=200)
    assert wide.high - wide.low > interval.high - interval.low


def test_a_flat_list_is_no_table():
    with pytest.raises(DataError, match=r"Ratings have 1 dimension\(s\), expected 2: labellers x items\. Pass one row"):
        fleiss_kappa([1, 2, 3])


def test_vote_share_counts_a_tie_as_half():
    assert vote_share([(1, 2), (1, 2), (2, 1), (1, 1)]) == pytest.approx(2.5 / 4)
    assert vote_share([(2, 1)]) == 0.0
    with pytest.raises(DataError, match=r"A pair has no judgements, expected at least one\. Leave the pair out"):
        vote_share([])
