"""Many logistic regressions at once: a case worked by hand, a slow twin for each weighting, doubled rows."""

import math

import numpy as np
import pytest
import scipy.optimize

from kleash.maths.logistic import fit_logistic


def slow_fit(design_MD, score_M, weight_M, ridge):
    """Maximise the penalised likelihood of one weighting by a general optimiser."""

    def loss(theta):
        logit_M = design_MD @ theta
        likelihood = weight_M * (score_M * logit_M - np.logaddexp(0, logit_M))
        return -likelihood.sum() + ridge / 2 * theta @ theta

    return scipy.optimize.minimize(loss, np.zeros(design_MD.shape[1]), method="BFGS", options={"gtol": 1e-7}).x


def made(num_rows=40, *, seed=0):
    rng = np.random.default_rng(seed)
    design_MD = np.column_stack([np.ones(num_rows), rng.normal(size=(num_rows, 2))])
    return design_MD, rng.choice([0.0, 0.5, 1.0], size=num_rows), rng.integers(4, size=(5, num_rows)).astype(float)


def test_an_intercept_alone_is_the_log_odds():
    fitted = fit_logistic(np.ones((4, 1)), np.array([1.0, 1.0, 1.0, 0.0]), np.ones((1, 4)), ridge=1e-9)
    assert fitted[0, 0] == pytest.approx(math.log(3))


def test_every_weighting_is_fitted_as_if_alone():
    design_MD, score_M, weight_RM = made()
    expected = [slow_fit(design_MD, score_M, weight_M, 0.1) for weight_M in weight_RM]
    np.testing.assert_allclose(fit_logistic(design_MD, score_M, weight_RM, ridge=0.1), expected, atol=1e-4)


def test_a_weight_of_two_is_the_row_twice():
    design_MD, score_M, _ = made()
    twice = fit_logistic(
        np.vstack([design_MD, design_MD]), np.tile(score_M, 2), np.ones((1, 2 * len(score_M))), ridge=0.1
    )
    np.testing.assert_allclose(fit_logistic(design_MD, score_M, np.full((1, len(score_M)), 2.0), ridge=0.1), twice)


def test_a_side_that_always_wins_stays_finite():
    fitted = fit_logistic(np.ones((10, 1)), np.ones(10), np.ones((1, 10)), ridge=0.01)
    assert 3 < fitted[0, 0] < 20


def test_each_coefficient_is_drawn_by_its_own_ridge_towards_its_own_centre():
    """Without rows that weigh anything the fit is the centre; a ridge of nothing leaves a coefficient to the rows."""
    design_MD, score_M = np.eye(2)[[0, 0, 1, 1]], np.array([1.0, 0.0, 1.0, 0.0])
    centre_RD = np.array([[1.5, -2.0], [0.5, 3.0]])
    nothing = fit_logistic(design_MD, score_M, np.zeros((2, 4)), ridge=np.array([0.1, 5.0]), centre_RD=centre_RD)
    np.testing.assert_allclose(nothing, centre_RD, atol=1e-6)
    fitted = fit_logistic(design_MD, score_M, np.ones((2, 4)), ridge=np.array([1e-9, 1e6]), centre_RD=centre_RD)
    np.testing.assert_allclose(fitted[:, 0], 0, atol=1e-6)
    np.testing.assert_allclose(fitted[:, 1], centre_RD[:, 1], atol=1e-4)
