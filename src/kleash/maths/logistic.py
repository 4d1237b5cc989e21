"""Logistic regression of many resamples at once, in numpy alone: what makes bootstrapped fits cheap. No torch here."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]

_MAX_ROUNDS = 200


def fit_logistic(
    design_MD: Table,
    score_M: Table,
    weight_RM: Table,
    *,
    ridge: float | Table,
    centre_RD: Table | None = None,
) -> Table:
    """Return the coefficients, (R, D), that fit R weightings of the same M rows.

        maximise  sum_m w_rm [s_m log p_m + (1 - s_m) log (1 - p_m)] - ridge/2 |theta - centre|^2

    with p_m = sigmoid(x_m . theta).

    score_M: in [0, 1]; a tie is .5.  ridge > 0 keeps a side that always wins from infinity, as a normal prior with an
    SD of ridge^-.5 would, and makes the fit unique whatever the rows; an array has one for each coefficient.
    centre_RD: what the coefficients of each weighting are drawn towards; zero by default.
    """
    num_parameters = design_MD.shape[1]
    ridge_D = np.broadcast_to(np.asarray(ridge, dtype=float), num_parameters)
    centre_RD = np.zeros((len(weight_RM), num_parameters)) if centre_RD is None else centre_RD
    products_M_DD = (design_MD[:, :, None] * design_MD[:, None, :]).reshape(len(design_MD), -1)
    parameter_RD = np.zeros((len(weight_RM), num_parameters))
    for _ in range(_MAX_ROUNDS):
        expected_RM = 0.5 + 0.5 * np.tanh(parameter_RD @ design_MD.T / 2)
        slope_RD = (weight_RM * (score_M - expected_RM)) @ design_MD - ridge_D * (parameter_RD - centre_RD)
        curvature_RDD = ((weight_RM * expected_RM * (1 - expected_RM)) @ products_M_DD).reshape(
            -1, num_parameters, num_parameters
        ) + np.diag(ridge_D)
        step_RD = np.linalg.solve(curvature_RDD, slope_RD[:, :, None])[:, :, 0]
        # A Newton step that moves no logit by more than 1 always climbs (Bach 2010, arXiv:0910.4627): no search needed.
        longest_R = np.abs(step_RD @ design_MD.T).max(axis=1)
        parameter_RD = parameter_RD + step_RD / np.maximum(longest_R, 1.0)[:, None]
        if np.abs(step_RD).max() < 1e-9:
            break
    return parameter_RD
