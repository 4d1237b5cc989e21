"""The win rate that would be left if both policies answered at the same length.

    P(win) = sigmoid(a + b tanh(x)),   x = length difference / its standard deviation;   controlled rate = sigmoid(a)

Judges like long answers. The raw rate says how often a policy wins, the controlled one how often it would with that
liking taken out; the two belong side by side.
Source: AlpacaEval 2, Dubois et al. 2024, arXiv:2404.04475. Differs: no term for each prompt's difficulty, which they
fit over many models' answers; a small ridge instead of a cross-validated L1 penalty. Lengths are in characters.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kleash.errors import DataError
from kleash.maths.agreement import percentile_interval, resampling_weights
from kleash.maths.intervals import Interval
from kleash.maths.logistic import fit_logistic

# Keeps a policy that won everything from infinity; a normal prior with an SD of 10 logits.
_RIDGE = 0.01


def length_controlled_win_rate(
    score_N: Sequence[float],
    length_difference_N: Sequence[float],
    *,
    num_resamples: int = 200,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Return the win rate with the length term set to zero, with a bootstrap interval by prompt.

    score_N: 1 = win, .5 = tie, 0 = loss.  length_difference_N: the policy's answer less the other's, characters.
    Where lengths never differ it is the raw win rate (but for the ridge).
    Raises DataError without prompts, or unless there are as many of each.
    """
    score_M, difference_M = np.asarray(score_N, dtype=float), np.asarray(length_difference_N, dtype=float)
    if not len(score_M) or score_M.shape != difference_M.shape:
        raise DataError(
            f"{len(score_M)} scores and {len(difference_M)} length differences, expected as many of each and at least "
            "one. Pass both for the same prompts."
        )
    spread = float(difference_M.std())
    covariate_M = np.tanh(difference_M / spread) if spread > 0 else np.zeros_like(difference_M)
    drawn_RN = resampling_weights(len(score_M), num_resamples=num_resamples, seed=seed)
    # The first row is the sample itself, every prompt once.
    weight_RN = np.vstack([np.ones(len(score_M)), drawn_RN])
    design_MD = np.column_stack([np.ones_like(covariate_M), covariate_M])
    intercept_R = fit_logistic(design_MD, score_M, weight_RN, ridge=_RIDGE)[:, 0]
    rate_R = 0.5 + 0.5 * np.tanh(intercept_R / 2)
    return percentile_interval(float(rate_R[0]), rate_R[1:], n=len(score_M), confidence=confidence)
