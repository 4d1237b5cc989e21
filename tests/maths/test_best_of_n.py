import itertools

import numpy as np
import pytest

from kleash.errors import DataError, SettingsError
from kleash.maths.best_of_n import best_of_n_kl, expected_best_of_n

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
