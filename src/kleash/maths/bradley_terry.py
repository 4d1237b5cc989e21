"""Learning a reward from comparisons, P(first wins) = sigmoid(r_first - r_second), and judging what was learned.

The pair and ranking losses train a reward model; calibration audits it on held-out pairs.
`normalise_reward` makes of a raw score the reward that is optimised.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from kleash.errors import SettingsError, ShapeError
from kleash.maths.masked import Loss
from kleash.maths.shapes import check_shapes


def pair_loss(
    chosen_N: Tensor,
    rejected_N: Tensor,
    *,
    label_N: Tensor | None = None,
    margin_N: Tensor | None = None,
    smoothing: float = 0.0,
    centring: float = 0.0,
    weight_N: Tensor | None = None,
) -> Loss:
    """Score the winner of each pair above the loser: logistic loss on the difference of rewards.

        d = chosen - rejected - margin
        loss = -l logsigmoid(d) - (1 - l) logsigmoid(-d)  +  centring * (chosen + rejected)^2

    label_N: l in [0, 1], the share of votes for "chosen", .5 = tie; 1 if not given.
    margin_N: by how much "chosen" should win, negative where it should lose.
    smoothing: share of labels thought flipped; l becomes l (1 - s) + (1 - l) s.
    centring: keeps rewards near zero, which differences alone leave free; .01 is usual.
    weight_N: weight of each pair, such as 1 / pairs of its prompt; the count is then the sum of weights.
    Gradients flow into both rewards.
    Source: Stiennon et al. 2020, arXiv:2009.01325, eq. 1; margin: Touvron et al. 2023, arXiv:2307.09288, eq. 2.
    """
    sizes = check_shapes("N", chosen_N=chosen_N, rejected_N=rejected_N)
    difference_N = chosen_N - rejected_N
    if margin_N is not None:
        check_shapes("N", sizes, margin_N=margin_N)
        difference_N = difference_N - margin_N
    if label_N is None:
        label_N = torch.ones_like(difference_N)
    check_shapes("N", sizes, label_N=label_N)
    label_N = label_N * (1 - smoothing) + (1 - label_N) * smoothing
    # logsigmoid, never log(p + eps): the latter's gradient dies on the pairs that are most wrong.
    loss_N = -label_N * logsigmoid(difference_N) - (1 - label_N) * logsigmoid(-difference_N)
    if centring:
        loss_N = loss_N + centring * (chosen_N + rejected_N).square()
    if weight_N is None:
        return Loss(loss_N.sum(), torch.tensor(sizes["N"], device=chosen_N.device))
    check_shapes("N", sizes, weight_N=weight_N)
    return Loss((loss_N * weight_N).sum(), weight_N.sum())


def ranking_loss(
    reward_K: Tensor, rank_K: Tensor | None = None, *, smoothing: float = 0.0, centring: float = 0.0
) -> Loss:
    """Learn one prompt's whole ranking as one batch element: the mean loss of all K (K - 1) / 2 pairs; the count is 1.

    reward_K: best to worst, unless rank_K says otherwise (1 = best, equal = tied: their pairs get label .5).
    Kept together because pairs shuffled apart over-fit within one epoch: each answer is then seen K - 1 times.
    Raises ShapeError if K < 2.
    Source: Ouyang et al. 2022, arXiv:2203.02155, eq. 1.
    """
    num_answers = check_shapes("K", reward_K=reward_K)["K"]
    if num_answers < 2:
        raise ShapeError(f"reward_K has {num_answers} answer(s), expected at least 2 to rank. Leave this prompt out.")
    first_N, second_N = torch.triu_indices(num_answers, num_answers, offset=1, device=reward_K.device)
    label_N = torch.ones_like(reward_K[first_N])
    if rank_K is not None:
        check_shapes("K", {"K": num_answers}, rank_K=rank_K)
        rank_gap_N = rank_K[second_N].to(label_N.dtype) - rank_K[first_N].to(label_N.dtype)
        label_N = (rank_gap_N.sign() + 1) / 2
    pairs = pair_loss(reward_K[first_N], reward_K[second_N], label_N=label_N, smoothing=smoothing, centring=centring)
    return Loss(pairs.total / pairs.count, torch.ones_like(pairs.count))


@torch.no_grad()
def expected_calibration_error(confidence: Tensor, correct: Tensor, num_bins: int) -> float:
    """Return the mean gap between confidence and accuracy over bins, weighted by their size; 0 is calibrated.

        ECE = sum_bins n_bin / n * |mean confidence - accuracy| = sum_bins |sum of (confidence - correct)| / n

    over num_bins bins of equal width over [0, 1], upper edges included.

    confidence: in [.5, 1], how sure of its own order a model is, sigmoid(|difference|): on P(chosen wins) itself, of a
    chosen-first table, calibration means nothing. correct: 1 right, 0 wrong, .5 undecided. NaN without verdicts.
    Raises SettingsError unless num_bins is positive.
    Source: Guo et al. 2017, arXiv:1706.04599.
    """
    num_verdicts = check_shapes("N", confidence=confidence, correct=correct)["N"]
    if num_bins < 1:
        raise SettingsError(f"num_bins is {num_bins}, expected at least 1. Set 10, or fewer for few pairs.")
    bin_N = (torch.ceil(confidence.double() * num_bins).long() - 1).clamp(0, num_bins - 1)
    gap = torch.bincount(bin_N, confidence.double() - correct.double(), minlength=num_bins).abs().sum()
    return float(gap) / num_verdicts if num_verdicts else float("nan")


@dataclass(frozen=True)
class NormalisedReward:
    """reward_B: clipped z-scores. is_clipped_B: where the bound acts; above 5 % the policy left the model's range."""

    reward_B: Tensor
    is_clipped_B: Tensor


def normalise_reward(reward_B: Tensor, *, mean: float, sd: float, clip: float = 5.0) -> NormalisedReward:
    """Express rewards in standard deviations of the reference policy's answers, clipped to +-clip.

    mean, sd: measured once on samples of the *reference* policy and frozen, so that beta, the penalty for not ending
    and the value clip mean the same in every run. sd > 0.
    Raises SettingsError unless sd is positive.
    Source: Ziegler et al. 2019, arXiv:1909.08593; Huang et al. 2024, "The N implementation details".
    """
    check_shapes("B", reward_B=reward_B)
    if not sd > 0:
        raise SettingsError(
            f"The reward's standard deviation is {sd}, expected a positive number. "
            "Measure it on more varied answers of the reference policy."
        )
    z_B = (reward_B - mean) / sd
    return NormalisedReward(z_B.clamp(-clip, clip), z_B.abs() > clip)
