"""The losses of online learning: clipped surrogate, clipped value, REINFORCE, KL; and how tokens are weighed.

Each returns sums and counts. How tokens become one number is a per-token weight: `reduction_weights` with
`reduction_count`. The advantages and returns come from `advantages`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from kleash.errors import SettingsError
from kleash.maths.kl import KLEstimator, kl_per_token
from kleash.maths.masked import Loss, Moments, masked_sum, select
from kleash.maths.shapes import check_shapes

Reduction = Literal["token", "sequence", "constant"]


@dataclass(frozen=True)
class PolicyLoss:
    """A policy loss's total and count. num_clipped: tokens whose clip binds, none where a loss has no clip."""

    total: Tensor
    count: Tensor
    num_clipped: Tensor


@dataclass(frozen=True)
class PolicyDrift:
    """How far the policy has moved from the one that sampled, over the tokens that count; detached.

    approx_kl_total: KL(old || current), k3, nats, summed over num_tokens.  ratio_max: the largest probability ratio;
    ratio_error_max: its largest distance from 1.  At the first minibatch they are 0, 1 and 0.
    """

    num_tokens: Tensor
    approx_kl_total: Tensor
    ratio_max: Tensor
    ratio_error_max: Tensor


def clipped_policy_loss(
    logprob_BT: Tensor,
    old_logprob_BT: Tensor,
    advantage_BT: Tensor,
    mask_BT: Tensor,
    *,
    clip_range: float,
    dual_clip: float | None = None,
    weight_BT: Tensor | None = None,
) -> PolicyLoss:
    """Push up what went better than expected, but not further than the clip allows in one go.

        rho = exp(log p - log p_old);   loss = max(-A rho, -A clip(rho, 1 - clip_range, 1 + clip_range))
        with dual_clip c > 1, where A < 0:   min(loss, c |A|)

    The gradient is zero only where the clip binds *and* going on would help. It flows into logprob_BT alone.
    weight_BT: see `reduction_weights`; the count is then the sum of weights, else the number of tokens.
    Raises SettingsError if dual_clip is not above 1.
    Source: Schulman et al. 2017, arXiv:1707.06347, eq. 7; dual clip: Ye et al. 2020, arXiv:1912.09729.
    """
    check_shapes(
        "B T", logprob_BT=logprob_BT, old_logprob_BT=old_logprob_BT, advantage_BT=advantage_BT, mask_BT=mask_BT
    )
    if dual_clip is not None and not dual_clip > 1:
        raise SettingsError(f"dual_clip is {dual_clip}, expected a number above 1. Set 3, or leave it out.")
    advantage_BT = select(advantage_BT.detach(), mask_BT)
    log_ratio_BT = select(logprob_BT, mask_BT) - select(old_logprob_BT.detach(), mask_BT)
    ratio_BT = log_ratio_BT.exp()
    unclipped_BT = -advantage_BT * ratio_BT
    clipped_BT = -advantage_BT * ratio_BT.clamp(1 - clip_range, 1 + clip_range)
    loss_BT = torch.maximum(unclipped_BT, clipped_BT)
    if dual_clip is not None:
        loss_BT = torch.where(advantage_BT < 0, torch.minimum(loss_BT, -dual_clip * advantage_BT), loss_BT)
    total, count = _weighted(loss_BT, mask_BT, weight_BT)
    return PolicyLoss(total, count, ((clipped_BT > unclipped_BT) & mask_BT).sum())


@torch.no_grad()
def policy_drift(logprob_BT: Tensor, old_logprob_BT: Tensor, mask_BT: Tensor) -> PolicyDrift:
    """Measure how far the policy has moved from the one that sampled; the maxima are 0 where no token counts."""
    log_ratio_BT = select(logprob_BT, mask_BT) - select(old_logprob_BT, mask_BT)
    ratio_BT = log_ratio_BT.exp()
    approx_kl_BT = kl_per_token(-log_ratio_BT, torch.zeros_like(log_ratio_BT), estimator="k3")
    is_empty = mask_BT.numel() == 0
    return PolicyDrift(
        num_tokens=mask_BT.sum(),
        approx_kl_total=masked_sum(approx_kl_BT, mask_BT),
        ratio_max=ratio_BT.new_zeros(()) if is_empty else select(ratio_BT, mask_BT).max(),
        ratio_error_max=ratio_BT.new_zeros(()) if is_empty else select((ratio_BT - 1).abs(), mask_BT).max(),
    )


def clipped_value_loss(
    value_BT: Tensor,
    old_value_BT: Tensor,
    return_BT: Tensor,
    mask_BT: Tensor,
    *,
    clip_range: float,
    weight_BT: Tensor | None = None,
) -> Loss:
    """Bring the critic to the returns, in steps no larger than the clip.

        loss = max((V - R)^2, (clip(V, V_old - clip_range, V_old + clip_range) - R)^2) / 2

    clip_range: in the reward's unit, so it assumes z-scored rewards. Gradients flow into value_BT alone. The half is
    part of it; the coefficient (.1) is the caller's.
    Source: openai/lm-human-preferences; Huang et al. 2024, arXiv:2403.17031.
    """
    check_shapes("B T", value_BT=value_BT, old_value_BT=old_value_BT, return_BT=return_BT, mask_BT=mask_BT)
    value_BT = select(value_BT, mask_BT)
    old_value_BT = select(old_value_BT.detach(), mask_BT)
    return_BT = select(return_BT.detach(), mask_BT)
    limited_BT = torch.maximum(torch.minimum(value_BT, old_value_BT + clip_range), old_value_BT - clip_range)
    unclipped_BT = (value_BT - return_BT).square()
    clipped_BT = (limited_BT - return_BT).square()
    return Loss(*_weighted(torch.maximum(unclipped_BT, clipped_BT) / 2, mask_BT, weight_BT))


def reinforce_loss(
    logprob_BT: Tensor, advantage_BT: Tensor, mask_BT: Tensor, *, weight_BT: Tensor | None = None
) -> PolicyLoss:
    """Raise the log-probability of each token by its advantage: -A log p, whose gradient is the policy gradient.

    Right only on the policy's own fresh samples: there is no ratio. Gradients flow into logprob_BT alone.
    Source: Williams 1992.
    """
    check_shapes("B T", logprob_BT=logprob_BT, advantage_BT=advantage_BT, mask_BT=mask_BT)
    loss_BT = -select(advantage_BT.detach(), mask_BT) * select(logprob_BT, mask_BT)
    return PolicyLoss(*_weighted(loss_BT, mask_BT, weight_BT), num_clipped=torch.zeros_like(mask_BT.sum()))


def kl_loss(
    logprob_BT: Tensor,
    reference_logprob_BT: Tensor,
    mask_BT: Tensor,
    *,
    estimator: KLEstimator = "k3",
    weight_BT: Tensor | None = None,
) -> Loss:
    """Put the KL to the reference into the loss (GRPO); beta is the caller's.

    k2 has the gradient of the reverse KL, k3 (the published choice) the forward KL's, k1 none: see `kl_per_token`.
    """
    check_shapes("B T", logprob_BT=logprob_BT, reference_logprob_BT=reference_logprob_BT, mask_BT=mask_BT)
    reference_BT = select(reference_logprob_BT.detach(), mask_BT)
    kl_BT = kl_per_token(select(logprob_BT, mask_BT), reference_BT, estimator=estimator)
    return Loss(*_weighted(kl_BT, mask_BT, weight_BT))


def reduction_weights(
    mask_BT: Tensor, *, reduction: Reduction, max_tokens: int | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Say how much each token weighs in a loss; masked cells hold zero.

        token: 1   sequence: 1 / tokens in its sequence   constant: 1 / max_tokens (Dr. GRPO; no length bias)

    Weights depend on their own row only, so totals add up over any split. Divide the sum of totals by the sum of
    `reduction_count`. max_tokens: the length limit of an answer, for "constant" only.
    Raises SettingsError for an unknown reduction, or "constant" without max_tokens.
    """
    check_shapes("B T", mask_BT=mask_BT)
    one_BT = mask_BT.to(dtype)
    if reduction == "token":
        return one_BT
    if reduction == "sequence":
        return one_BT / one_BT.sum(dim=1, keepdim=True).clamp(min=1)
    if reduction == "constant":
        if max_tokens is None or max_tokens < 1:
            raise SettingsError(
                f'Reduction "constant" has max_tokens={max_tokens}; expected >= 1. Pass the answers\' length limit.'
            )
        return one_BT / max_tokens
    raise SettingsError(_unknown_reduction(reduction))


def reduction_count(mask_BT: Tensor, *, reduction: Reduction) -> Tensor:
    """Count what a reduction averages over: tokens for "token", else the sequences with at least one token.

    For "constant" this is not the sum of the weights: dividing by that would bring the length bias back.
    """
    check_shapes("B T", mask_BT=mask_BT)
    if reduction == "token":
        return mask_BT.sum()
    if reduction in ("sequence", "constant"):
        return mask_BT.any(dim=1).sum()
    raise SettingsError(_unknown_reduction(reduction))


def explained_variance(return_moments: Moments, residual_moments: Moments) -> float:
    """Tell how much of the returns' variance the critic explains: 1 - var(return - value) / var(return).

    1 is perfect, 0 no better than a constant, below 0 worse. Moments merge over micro-batches and ranks first.
    NaN where the returns do not vary: there is nothing to explain.
    """
    variance = return_moments.variance()
    return 1.0 - residual_moments.variance() / variance if variance > 0 else float("nan")


def _weighted(loss_BT: Tensor, mask_BT: Tensor, weight_BT: Tensor | None) -> tuple[Tensor, Tensor]:
    if weight_BT is None:
        return masked_sum(loss_BT, mask_BT), mask_BT.sum()
    check_shapes("B T", loss_BT=loss_BT, weight_BT=weight_BT)
    weight_BT = select(weight_BT.detach(), mask_BT)
    return masked_sum(loss_BT * weight_BT, mask_BT), weight_BT.sum()


def _unknown_reduction(reduction: str) -> str:
    return f'Reduction is "{reduction}", expected "token", "sequence" or "constant". Choose one of these.'
