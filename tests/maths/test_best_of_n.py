import itertools
import math

import numpy as np
import pytest

from kleash.errors import DataError, SettingsError
from kleash.maths.best_of_n import best_of_n_kl, expected_best_of_n, fit_overoptimisation

POOL = [0.3, -1.2, 2.1, 0.9, 0.0, 1.4]
GOLD = [1.0, 5.0, -2.0, 0.0, 3.0, 4.0]


@pytest.mark.parametrize("n", range(1, 7))
def test_the_expected_best_is_the_mean_over_all_subsets(n):
    subsets = list(itertools.combinations(range(6), n))
    best = [max(subset, key=lambda i: POOL[i]) for subset in subsets]
    assert expected_best_of_n(POOL, n) == pytest.approx(np.mean([POOL[i] for i in best]))
    assert expected_best_of_n(POOL, n, gold=GOLD) == pytest.approx(np.mean([GOLD[i] for i in best]))
    assert expected_best_of_n(POOL[::-1], n) == pytest.approx(expected_best_of_n(POOL, n))


def test_the_kl_of_best_of_n_matches_its_distribution():
    # Best of 3 from many untied values: rank u has density 3 u^2, so KL = E[log 3 u^2].
    u = (np.arange(100_000) + 0.5) / 100_000
    # The midpoint rule is coarse at the logarithm's singularity.
    assert best_of_n_kl(3) == pytest.approx(float(np.mean(3 * u**2 * np.log(3 * u**2))), abs=1e-6)
    assert best_of_n_kl(1) == 0.0


def test_there_is_no_best_of_none():
    with pytest.raises(SettingsError, match=r"Best of 0 samples cannot be taken, expected n >= 1\. Set n"):
        best_of_n_kl(0)
    for n in (0, 7):
        with pytest.raises(DataError, match=rf"Best of {n} from a pool of 6, expected 1 <= n <= pool\. Sample"):
            expected_best_of_n(POOL, n)


@pytest.mark.parametrize("law", ["best_of_n", "rl"])
def test_no_other_coefficients_fit_better(law):
    rng = np.random.default_rng(0)
    d = np.linspace(0.5, 4, 12)
    gold = d * (1.2 - 0.3 * (d if law == "best_of_n" else np.log(d))) + 0.1 * rng.normal(size=12)

    def misfit(alpha, beta):
        return sum(
            (x * (alpha - beta * (x if law == "best_of_n" else math.log(x))) - y) ** 2
            for x, y in zip(d, gold, strict=True)
        )

    fit = fit_overoptimisation(d, gold, law=law)
    for step in (-0.01, 0.01):
        assert misfit(fit.alpha, fit.beta) < misfit(fit.alpha + step, fit.beta)
        assert misfit(fit.alpha, fit.beta) < misfit(fit.alpha, fit.beta + step)
    assert 0 < fit.r_squared < 1
    peak = fit.peak_distance()
    assert fit.gold(peak) > max(fit.gold(peak * 0.99), fit.gold(peak * 1.01))


def test_a_law_that_never_turns_has_its_peak_at_infinity():
    assert fit_overoptimisation([1.0, 2.0], [1.0, 3.0], law="best_of_n").peak_distance() == math.inf


@pytest.mark.parametrize(("d", "gold"), [([1.0], [1.0]), ([0.0, 1.0], [0.0, 1.0]), ([1.0, 2.0], [1.0]), ([], [])])
def test_a_fit_needs_points_away_from_the_start(d, gold):
    with pytest.raises(DataError, match=r"Got \d distances .*expected as many of each, .*Leave out the starting point"):
        fit_overoptimisation(d, gold, law="rl")


def test_an_unknown_law_is_refused():
    with pytest.raises(SettingsError, match=r'Law is "gao", expected "best_of_n" or "rl"\. Choose'):
        fit_overoptimisation([1.0, 2.0], [1.0, 2.0], law="gao")
