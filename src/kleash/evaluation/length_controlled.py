"""The win rate that would be left if both policies answered at the same length.

    P(win) = sigmoid(a + b tanh(x) + c d),   x = length difference / its standard deviation,   d = difficulty
    controlled rate = mean over prompts of sigmoid(a + c d)

Judges like long answers. The raw rate says how often a policy wins, the controlled one how often it would with that
liking taken out; the two belong side by side.
Source: AlpacaEval 2, Dubois et al. 2024, arXiv:2404.04475. Differs: normal priors where they have an L1 penalty by
cross-validation and judgements of their baseline told to be long or short, which only they have. Without difficulties,
which they fit over many models' answers, the term c is left out. Lengths are in characters.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kleash.errors import DataError
from kleash.maths.intervals import Interval, percentile_interval
from kleash.maths.logistic import Table, fit_logistic

# Normal priors of a, b and c. a and c: an SD of 10 logits, which keeps a policy that won everything from infinity.
# b: an SD of .7; length is not held to decide everything unless the judgements say so.
_RIDGE = np.array([0.01, 2.0, 0.01])
# For the interval b is all but free: where nothing tells length from merit, the interval says so by its width.
_LOOSE_RIDGE = np.array([0.01, 0.1, 0.01])


def length_controlled_win_rate(
    wins: Sequence[float],
    length_differences: Sequence[float],
    *,
    difficulty: Sequence[float] | None = None,
    num_resamples: int = 200,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Return the win rate with the length term set to zero, with a Bayesian bootstrap interval by prompt.

    wins: 1 = win, .5 = tie, 0 = loss, or a judge's probability.  length_differences: the policy's answer less the
    other's, characters.  difficulty: one figure per prompt, on any scale.
    In each resample the prompts have random weights, a win and a loss at equal length are added likewise, as in a
    uniform prior of the rate, and the prior of b has a random centre. So the interval is wide where one side is nearly
    always longer: what length was worth is then not identified, and the value is no more than a guess. Where lengths
    never differ it is the raw win rate (but for the ridge).
    Source: Rubin 1981 (Bayesian bootstrap).
    Raises DataError without prompts, unless there are as many of each, or for figures that are not finite.
    """
    score_M, difference_M = np.asarray(wins, dtype=float), np.asarray(length_differences, dtype=float)
    hardness_M = np.zeros_like(score_M) if difficulty is None else np.asarray(difficulty, dtype=float)
    if not len(score_M) or not score_M.shape == difference_M.shape == hardness_M.shape:
        told = "" if difficulty is None else f" and {len(hardness_M)} difficulties"
        raise DataError(
            f"{len(score_M)} scores and {len(difference_M)} length differences{told}, expected as many of each and at "
            "least one. Pass all for the same prompts."
        )
    if not np.isfinite([score_M, difference_M, hardness_M]).all() or score_M.min() < 0 or score_M.max() > 1:
        raise DataError(
            "Scores, length differences or difficulties are not finite, or scores not in 0 to 1. Leave out the prompts "
            "that were not judged."
        )
    spread = float(difference_M.std(ddof=1)) if len(difference_M) > 1 else 0.0
    # Where all differ alike there is no scale, but a difference is there all the same: tanh of infinity.
    covariate_M = np.tanh(difference_M / spread) if spread > 0 else np.sign(difference_M)
    hardness_M = (hardness_M - hardness_M.mean()) / (hardness_M.std() or 1.0)
    design_MD = np.column_stack([np.ones_like(covariate_M), covariate_M, hardness_M])
    once_1M = np.ones((1, len(score_M)))
    value = _rates(design_MD, score_M, once_1M, ridge=_RIDGE, centre_R=np.zeros(1))[0]

    rng = np.random.default_rng(seed)
    weight_RN = rng.exponential(size=(num_resamples, len(score_M) + 2))
    padded_ND = np.vstack([design_MD, np.tile([1.0, 0.0, 0.0], (2, 1))])
    centre_R = rng.normal(size=num_resamples) / np.sqrt(_LOOSE_RIDGE[1])
    draw_R = _rates(padded_ND, np.append(score_M, [1.0, 0.0]), weight_RN, ridge=_LOOSE_RIDGE, centre_R=centre_R)
    found = percentile_interval(float(value), draw_R, n=len(score_M), confidence=confidence)
    return Interval(found.value, min(found.low, found.value), max(found.high, found.value), found.n)


def _rates(design_ND: Table, score_N: Table, weight_RN: Table, *, ridge: Table, centre_R: Table) -> Table:
    """Return the controlled rate of R weightings of the same prompts. centre_R: where the prior of b lies."""
    centre_RD = np.column_stack([np.zeros_like(centre_R), centre_R, np.zeros_like(centre_R)])
    parameter_RD = fit_logistic(design_ND, score_N, weight_RN, ridge=ridge, centre_RD=centre_RD)
    logit_RN = parameter_RD[:, :1] + parameter_RD[:, 2:] * design_ND[:, 2]
    rate_RN = 0.5 + 0.5 * np.tanh(logit_RN / 2)
    rate_R: Table = (weight_RN * rate_RN).sum(axis=1) / weight_RN.sum(axis=1)
    return rate_R
