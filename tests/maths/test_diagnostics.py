import math
import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from kleash.errors import DataError, SettingsError
from kleash.maths.diagnostics import (
    effective_sample_size,
    partial_correlation,
    pearson_correlation,
    repeated_ngram_share,
    slope,
    spearman_correlation,
    truncated_importance_weights,
)

X, Y, Z = np.random.default_rng(0).normal(size=(3, 30)).round(1)


def test_repetition_by_hand():
    assert repeated_ngram_share("abcabc", n=3) == pytest.approx(1 / 4)
    assert repeated_ngram_share("aaaa", n=1) == pytest.approx(3 / 4)
    assert repeated_ngram_share("ab", n=3) == 0.0
    with pytest.raises(SettingsError, match=r"n-grams of length 0 do not exist, expected n >= 1\. Set n to 3"):
        repeated_ngram_share("ab", n=0)


def test_effective_sample_size_ranges_from_one_to_all_and_ignores_scale():
    assert effective_sample_size([0.3, 0.3, 0.3]) == pytest.approx(3)
    assert effective_sample_size([0.0, -100.0]) == pytest.approx(1)
    assert effective_sample_size(X + 5000) == pytest.approx(effective_sample_size(X))
    with pytest.raises(DataError, match=r"There are no importance weights, expected at least one\. Pass"):
        effective_sample_size([])


def test_truncation_bounds_weights_without_overflow():
    assert truncated_importance_weights([0.0, 9999.0], limit=2.0).tolist() == pytest.approx([1.0, 2.0])


def test_correlations_agree_with_scipy():
    assert pearson_correlation(X, Y) == pytest.approx(pearsonr(X, Y).statistic)
    assert spearman_correlation(X, Y) == pytest.approx(spearmanr(X, Y).statistic)
    assert slope(X, Y) == pytest.approx(np.polyfit(X, Y, 1)[0])


def test_partial_correlation_is_the_correlation_of_residuals():
    def residual(a):
        return a - np.polyval(np.polyfit(Z, a, 1), Z)

    assert partial_correlation(X, Y, Z) == pytest.approx(pearsonr(residual(X), residual(Y)).statistic)


def test_what_does_not_vary_correlates_with_nothing():
    constant = np.ones(30)
    assert math.isnan(pearson_correlation(X, constant))
    assert math.isnan(spearman_correlation(X, constant))
    assert math.isnan(slope(constant, X))


def test_series_must_match():
    for first, second in (([1.0], [1.0, 2.0]), ([], [])):
        with pytest.raises(DataError, match=r"Series of shapes .*expected two of equal length, not empty\. Pass both"):
            pearson_correlation(first, second)


@pytest.mark.slow
def test_services_get_these_without_torch_or_scipy():
    modules = ["agreement", "intervals", "best_of_n", "diagnostics", "overoptimisation", "schedules"]
    imports = "; ".join(f"import kleash.maths.{module}" for module in modules)
    code = f"import sys; {imports}; sys.exit('torch' in sys.modules or 'scipy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
