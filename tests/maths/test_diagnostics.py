import math
import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import pearsonr

from kleash.errors import DataError, SettingsError
from kleash.maths.diagnostics import pearson_correlation, repeated_ngram_share

X, Y = np.random.default_rng(0).normal(size=(2, 30)).round(1)


def test_repetition_by_hand():
    assert repeated_ngram_share("abcabc", n=3) == pytest.approx(1 / 4)
    assert repeated_ngram_share("aaaa", n=1) == pytest.approx(3 / 4)
    assert repeated_ngram_share("ab", n=3) == 0.0
    with pytest.raises(SettingsError, match=r"n-grams of length 0 do not exist, expected n >= 1\. Set n to 3"):
        repeated_ngram_share("ab", n=0)


def test_correlation_agrees_with_scipy():
    assert pearson_correlation(X, Y) == pytest.approx(pearsonr(X, Y).statistic)


def test_what_does_not_vary_correlates_with_nothing():
    constant = np.ones(30)
    assert math.isnan(pearson_correlation(X, constant))


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
