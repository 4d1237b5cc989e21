import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from kleash.errors import DataError, SettingsError
from kleash.maths.intervals import (
    Interval,
    bootstrap_interval,
    mean_interval,
    paired_difference_interval,
    percentile_interval,
    wilson_interval,
    win_rate,
)


@pytest.mark.parametrize(("successes", "n"), [(0, 5), (5, 5), (3, 10), (720, 1000)])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_wilson_agrees_with_statsmodels(successes, n, confidence):
    interval = wilson_interval(successes, n, confidence=confidence)
    low, high = proportion_confint(successes, n, alpha=1 - confidence, method="wilson")
    assert (interval.low, interval.high) == pytest.approx((low, high))
    assert (interval.value, interval.n) == (successes / n, n)


def test_nothing_is_known_from_nothing():
    for interval in (wilson_interval(0, 0), win_rate(0, 0, 0)):
        assert math.isnan(interval.value)
        assert (interval.low, interval.high, interval.n) == (0.0, 1.0, 0)


def test_more_successes_than_items_are_refused():
    with pytest.raises(DataError, match=r"3 successes of 2, expected 0 <= successes <= n\. Check"):
        wilson_interval(3, 2)


def test_confidence_is_a_share():
    for call in (lambda c: wilson_interval(1, 2, confidence=c), lambda c: wilson_interval(0, 0, confidence=c)):
        with pytest.raises(SettingsError, match=r"Confidence is 95, expected a share between 0 and 1\. Set \.95"):
            call(95)


def test_a_win_rate_without_ties_is_wilsons():
    for wins, losses in ((0, 7), (7, 0), (30, 12)):
        ours, wilson = win_rate(wins, 0, losses), wilson_interval(wins, wins + losses)
        assert (ours.low, ours.value, ours.high) == pytest.approx((wilson.low, wilson.value, wilson.high))


def test_ties_are_half_wins_that_narrow_the_interval():
    with_ties, without = win_rate(30, 40, 30), win_rate(50, 0, 50)
    assert with_ties.value == without.value == 0.5
    assert with_ties.high - with_ties.low < without.high - without.low
    all_ties = win_rate(0, 10, 0)
    assert all_ties.low < 0.5 < all_ties.high


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
def test_win_rates_mirror_and_stay_in_bounds(wins, ties, losses):
    ours, theirs = win_rate(wins, ties, losses), win_rate(losses, ties, wins)
    if ours.n:
        assert 0 <= ours.low <= ours.value <= ours.high <= 1
        assert (ours.low, ours.high) == pytest.approx((1 - theirs.high, 1 - theirs.low))


def test_a_win_rates_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    draws = rng.multinomial(60, [0.3, 0.5, 0.2], size=2000)
    covered = [interval.low <= 0.55 <= interval.high for interval in (win_rate(*draw) for draw in draws.tolist())]
    # 2,000 runs put a true 95 % within about 1 % (2 SE); the interval is approximate, so one more is allowed.
    assert 0.93 < np.mean(covered) < 0.97


def test_negative_counts_are_refused():
    with pytest.raises(DataError, match=r"1 wins, -1 ties, 0 losses: expected no negative count\. Check"):
        win_rate(1, -1, 0)


def test_a_mean_by_hand():
    interval = mean_interval([1.0, 2.0, 3.0])
    # t(.975, 2 degrees of freedom) = 4.302653
    assert interval.high - interval.value == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert (interval.value, interval.n) == (2.0, 3)
    assert mean_interval([1.0]) == Interval(1.0, -math.inf, math.inf, 1)


@pytest.mark.parametrize("values", [[], [1.0, math.nan]])
def test_means_of_nothing_or_of_gaps_are_refused(values):
    with pytest.raises(DataError, match=r"finite values of .*expected at least one and all finite\. Leave missing"):
        mean_interval(values)


def test_a_paired_difference_sees_through_what_items_share():
    difficulty = np.random.default_rng(0).normal(size=50) * 10
    paired = paired_difference_interval(difficulty + 1, difficulty)
    assert (paired.low, paired.value, paired.high) == pytest.approx((1.0, 1.0, 1.0))
    with pytest.raises(DataError, match=r"2 values against 3, expected as many of each\. Pass both"):
        paired_difference_interval([1, 2], [1, 2, 3])


def test_a_bootstrapped_mean_is_near_students_and_repeats_with_its_seed():
    values = np.random.default_rng(1).normal(size=200)
    bootstrap, student = bootstrap_interval(values, seed=3), mean_interval(values)
    # 1,000 resamples place a percentile within about a tenth of the half-width.
    assert bootstrap.low == pytest.approx(student.low, abs=0.1 * (student.high - student.low))
    assert bootstrap.high == pytest.approx(student.high, abs=0.1 * (student.high - student.low))
    assert bootstrap == bootstrap_interval(values, seed=3)
    assert bootstrap != bootstrap_interval(values, seed=4)
    assert (bootstrap.value, bootstrap.n) == (pytest.approx(values.mean()), 200)


def test_a_row_is_resampled_as_a_whole():
    table = np.arange(10.0)[:, None] * np.array([1.0, 2.0])
    drawn = []
    found = bootstrap_interval(table, statistic=lambda rows: drawn.append(rows) or rows[:, 0].mean())
    assert all((rows[:, 1] == 2 * rows[:, 0]).all() for rows in drawn)
    assert (found.value, found.n) == (4.5, 10)


def test_undefined_resamples_are_left_out():
    with_any = bootstrap_interval([0.0, 1.0], statistic=lambda s: 5.0 + s.mean() if s.any() else math.nan)
    assert (with_any.low, with_any.high) == (5.5, 6.0)
    never = bootstrap_interval([1.0], statistic=lambda s: math.nan)
    assert math.isnan(never.low)
    assert math.isnan(never.high)


@pytest.mark.parametrize("value", [0.0, 1.0, -2.5, 40.0, 0.1])
@pytest.mark.parametrize("n", [1, 3, 50])
def test_cases_that_are_all_alike_prove_no_certainty(value, n):
    alike = [value] * n
    made = [mean_interval(alike), bootstrap_interval(alike), paired_difference_interval(alike, [0.0] * n)]
    made += [bootstrap_interval(alike, statistic=np.median), percentile_interval(value, alike * 7, n=n)]
    for interval in made:
        assert interval.low < value < interval.high
        assert interval.n == n


def test_the_more_cases_are_alike_the_less_is_left_open():
    """Ten ones leave open that up to .31 of all cases are none: the exact bound of a binomial share."""
    low, _ = proportion_confint(10, 10, method="beta")
    assert mean_interval([1.0] * 10, bounds=(0, 1)) == Interval(1.0, pytest.approx(low), 1.0, 10)
    assert mean_interval([1.0] * 100, bounds=(0, 1)).low > 0.96
    assert mean_interval([8.0] * 10).low == pytest.approx(8 * low)
    assert mean_interval([0.0] * 10).high == pytest.approx(1 - low)


def test_an_interval_keeps_within_what_can_be():
    assert mean_interval([0.0, 0.0, 1.0], bounds=(0, 1)).low == 0.0
    assert mean_interval([1.0], bounds=(-1, 1)) == Interval(1.0, -1.0, 1.0, 1)
    assert paired_difference_interval([True] * 4, [False] * 4, bounds=(-1, 1)).high == 1.0
    assert bootstrap_interval([1.0] * 4, bounds=(-1, 1)).high == 1.0


def test_a_bootstrap_needs_values_and_resamples():
    with pytest.raises(DataError, match=r"There are no values, expected at least one\. Leave this figure out"):
        bootstrap_interval([])
    with pytest.raises(SettingsError, match=r"num_resamples is 0, expected at least 1\. Set 1000"):
        bootstrap_interval([1.0], num_resamples=0)
