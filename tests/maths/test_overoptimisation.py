"""The laws of over-optimisation: fits by hand, against slow search, and what they say of the peak."""

import math

import numpy as np
import pytest

from kleash.errors import DataError
from kleash.maths.overoptimisation import Fit, fit_best_of_n, fit_ppo, straightness

FITS = {"ppo": fit_ppo, "best_of_n": fit_best_of_n}


def test_two_points_are_met_exactly():
    # d = 1: a = 2 whatever b; d = e: e (2 - b) = e, so b = 1. The peak is exp(2 - 1) = e, worth b d* = e.
    ppo = fit_ppo([1.0, math.e**2], [2.0, math.e])
    assert (ppo.a, ppo.b) == pytest.approx((2.0, 1.0))
    assert (ppo.peak_distance, ppo.peak_value) == pytest.approx((math.e, math.e))
    # d = 1: a - b = 2; d = 2: 2 (a - 2 b) = 2, so a = 3, b = 1. The peak is a / 2 b = 1.5, worth a^2 / 4 b.
    best = fit_best_of_n([1.0, 4.0], [2.0, 2.0])
    assert (best.a, best.b) == pytest.approx((3.0, 1.0))
    assert (best.peak_distance, best.peak_value) == pytest.approx((1.5, 2.25))


@pytest.mark.parametrize("form", FITS)
def test_no_other_coefficients_fit_better(form):
    rng = np.random.default_rng(0)
    d = np.linspace(1.1, 4, 12)
    gold = d * (1.2 - 0.3 * (d if form == "best_of_n" else np.log(d))) + 0.1 * rng.normal(size=12)

    def misfit(a, b):
        law = Fit(form, a, b, 1.0, 12)
        return sum((law.gold(x) - y) ** 2 for x, y in zip(d, gold, strict=True))

    fit = FITS[form](d**2, gold)
    for step in (-0.01, 0.01):
        assert misfit(fit.a, fit.b) < misfit(fit.a + step, fit.b)
        assert misfit(fit.a, fit.b) < misfit(fit.a, fit.b + step)
    assert 0 < fit.r_squared < 1
    assert fit.peak_value > max(fit.gold(fit.peak_distance * 0.99), fit.gold(fit.peak_distance * 1.01))


@pytest.mark.parametrize("form", FITS)
def test_the_peaks_interval_holds_the_true_peak_as_often_as_it_says(form):
    rng = np.random.default_rng(1)
    d = np.linspace(1.1, 4, 8)
    law = Fit(form, 1.2, 0.4, 1.0, 8)
    fits = [FITS[form](d**2, [law.gold(x) + 0.3 * rng.normal() for x in d]) for _ in range(400)]
    held = sum(fit.peak_low <= law.peak_distance <= fit.peak_high for fit in fits)
    # 95 % of 400 is 380; a binomial count strays from that by more than 13 in fewer than 1 of 100 seeds.
    assert 367 <= held <= 393
    assert all(fit.peak_low <= fit.peak_distance <= fit.peak_high for fit in fits if fit.bends)


def test_checkpoints_that_lie_together_predict_no_peak():
    rng = np.random.default_rng(2)
    d = np.linspace(1.4, 1.5, 8)
    fit = fit_ppo(d**2, 0.5 + 0.05 * rng.normal(size=8))
    assert (fit.peak_low, fit.peak_high) == (0.0, math.inf)
    assert not fit.bends


def test_two_points_leave_no_error_to_judge_by():
    fit = fit_ppo([1.0, math.e**2], [2.0, math.e])
    assert (fit.peak_low, fit.peak_high) == (0.0, math.inf)


def test_without_error_the_interval_is_the_peak():
    d = np.linspace(1, 4, 6)
    fit = fit_ppo(d**2, d * (1.0 - 0.5 * np.log(d)))
    assert (fit.peak_low, fit.peak_high) == pytest.approx((math.e, math.e))


def test_ppo_leaves_out_what_lies_before_one():
    kl, gold = [1.0, 4.0, 9.0], [1.0, 1.5, 1.2]
    fit = fit_ppo(kl, gold)
    assert fit_ppo([0.0, -0.01, 0.64, *kl], [0.0, 0.1, 7.0, *gold]) == fit
    assert fit.num_points == 3


def test_best_of_n_leaves_out_the_start_only():
    fit = fit_best_of_n([0.25, 1.0, 4.0], [0.4, 0.6, 0.4])
    assert fit_best_of_n([0.0, 0.25, 1.0, 4.0], [0.0, 0.4, 0.6, 0.4]) == fit


@pytest.mark.parametrize("form", FITS)
def test_a_law_that_never_turns_has_its_peak_at_infinity(form):
    fit = FITS[form]([1.0, 4.0], [1.0, 9.0])
    assert fit.b < 0
    assert fit.peak_distance == fit.peak_value == math.inf


def test_best_of_n_that_only_falls_has_its_peak_at_the_start():
    fit = fit_best_of_n([1.0, 4.0], [-1.5, -5.0])
    assert fit.a < 0 < fit.b
    assert fit.peak_distance == fit.peak_value == 0.0


def test_gold_that_stands_still_has_no_share_explained():
    assert math.isnan(fit_best_of_n([1.0, 4.0, 9.0], [0.1, 0.1, 0.1]).r_squared)


def test_a_fit_needs_two_distances():
    with pytest.raises(DataError, match=r"1 different distances sqrt\(KL\) at or above 1, expected two.*further from"):
        fit_ppo([0.2, 0.5, 2.0, 2.0], [0.1, 0.2, 0.3, 0.3])
    with pytest.raises(DataError, match=r"0 different distances sqrt\(KL\) above 0, expected two or more"):
        fit_best_of_n([0.0], [0.0])


@pytest.mark.parametrize(("kl", "gold"), [([1.0, 2.0], [1.0]), ([1.0, math.nan], [1.0, 2.0]), ([1.0], [math.inf])])
def test_a_checkpoint_that_was_not_measured_is_refused(kl, gold):
    for fit in (fit_ppo, fit_best_of_n, straightness):
        with pytest.raises(DataError, match=r"KL of shape .* finite numbers, as many of each\. Leave out checkpoints"):
            fit(kl, gold)


def test_a_straight_line_has_no_bend():
    found = straightness([0.0, 1.0, 4.0, 9.0], [0.5, 2.5, 4.5, 6.5])
    assert found.slope == pytest.approx(2.0)
    assert found.correlation == pytest.approx(1.0)
    assert found.bend == pytest.approx(0.0, abs=1e-12)


def test_bend_is_the_height_of_the_middle_above_the_chord():
    # y = d (2 - d) on [0, 1]: the middle, .75, is .25 above the chord's .5; the best line rises by 1 in all.
    d = np.linspace(0, 1, 101)
    found = straightness(d**2, d * (2 - d))
    assert found.bend == pytest.approx(0.25)
    assert found.correlation > 0.95
    assert straightness(d**2, d**2).bend == pytest.approx(-0.25)


def test_straightness_has_no_unit():
    kl, proxy = [0.0, 1.0, 2.0, 5.0], [0.0, 0.8, 1.0, 1.4]
    one, other = straightness(kl, proxy), straightness([4 * x for x in kl], [3 * y + 7 for y in proxy])
    assert (other.correlation, other.bend) == pytest.approx((one.correlation, one.bend))


def test_a_value_that_stands_still_is_no_line():
    found = straightness([0.0, 1.0, 2.0], [0.1, 0.1, 0.1])
    assert math.isnan(found.correlation)
    assert math.isnan(found.bend)


def test_a_bend_needs_three_distances():
    with pytest.raises(DataError, match=r"2 different KL values, expected three or more .*Pass more checkpoints"):
        straightness([0.0, 1.0, 1.0], [0.0, 1.0, 1.1])
