"""The losses of direct alignment: DPO, IPO and KTO, on log-ratios log p(answer) - log p_ref(answer).

A log-ratio is the sum over an answer's tokens that count (`masked.masked_sum`), in nats. At initialisation, where
policy and reference agree, DPO is ln 2, KTO .5 and IPO 1 / (4 tau^2): the cheapest check of a training run's first
step.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from kleash.errors import SettingsError, ShapeError
from kleash.maths.shapes import check_shapes


@dataclass(frozen=True)
class PreferenceLoss:
    """total over count pairs, and the rewards beta * log-ratio that the policy implies (detached, nats * beta)."""

    total: Tensor
    count: Tensor
    chosen_reward_N: Tensor
    rejected_reward_N: Tensor


@dataclass(frozen=True)
class KTOLoss:
    """total over count single answers, and the rewards beta * log-ratio that the policy implies (detached)."""

    total: Tensor
    count: Tensor
    reward_N: Tensor


def dpo_loss(
    chosen_logratio_N: Tensor,
    rejected_logratio_N: Tensor,
    *,
    beta: float,
    label_smoothing: float = 0.0,
    robust: bool = False,
    label_N: Tensor | None = None,
) -> PreferenceLoss:
    """Classify the preferred answer with the policy's own log-ratios, leashed by beta.

        h = chosen - rejected;   loss = -l logsigmoid(beta h) - (1 - l) logsigmoid(-beta h)

    label_N: l, the share of votes for "chosen", 1 if not given. label_smoothing e, in [0, .5), is the share of labels
    thought flipped: l becomes l (1 - e) + (1 - l) e; with robust, the loss is instead corrected to be unbiased under
    such flips, and l becomes (l - e) / (1 - 2e). Gradients flow into both log-ratios.
    Raises SettingsError if label_smoothing is out of range.
    Source: Rafailov et al. 2023, arXiv:2305.18290, eq. 7; robust: Chowdhury et al. 2024, arXiv:2403.00409.
    """
    label_N = _checked_labels(chosen_logratio_N, rejected_logratio_N, label_N)
    if not 0 <= label_smoothing < 0.5:
        raise SettingsError(
            f"label_smoothing is {label_smoothing}, expected from 0 to below .5. Set the share of flipped labels."
        )
    if robust:
        label_N = (label_N - label_smoothing) / (1 - 2 * label_smoothing)
    else:
        label_N = label_N * (1 - label_smoothing) + (1 - label_N) * label_smoothing
    logit_N = beta * (chosen_logratio_N - rejected_logratio_N)
    loss_N = -label_N * logsigmoid(logit_N) - (1 - label_N) * logsigmoid(-logit_N)
    return _preference_loss(loss_N, chosen_logratio_N, rejected_logratio_N, beta)


def ipo_loss(
    chosen_logratio_N: Tensor,
    rejected_logratio_N: Tensor,
    *,
    tau: float,
    label_N: Tensor | None = None,
    chosen_length_N: Tensor | None = None,
    rejected_length_N: Tensor | None = None,
) -> PreferenceLoss:
    """Pull the gap of log-ratios to a finite target, so that sure labels do not push it to infinity.

        h = chosen - rejected;   loss = l (h - 1 / (2 tau))^2 + (1 - l) (h + 1 / (2 tau))^2

    tau > 0. With both lengths (tokens), log-ratios are averaged per token first, as TRL and HALOs do; without, they are
    sums, as in the paper and the released DPO code. The two need different tau. Implied rewards are tau * log-ratio.
    Raises SettingsError unless tau is positive, ShapeError if only one of the lengths is given.
    Source: Azar et al. 2023, arXiv:2310.12036, eq. 17.
    """
    label_N = _checked_labels(chosen_logratio_N, rejected_logratio_N, label_N)
    if not tau > 0:
        raise SettingsError(f"tau is {tau}, expected a positive number. Set .1, the usual one.")
    if (chosen_length_N is None) != (rejected_length_N is None):
        raise ShapeError("Only one of the two lengths was given, expected both or none. Pass the other one as well.")
    if chosen_length_N is not None and rejected_length_N is not None:
        chosen_logratio_N = chosen_logratio_N / chosen_length_N.clamp(min=1)
        rejected_logratio_N = rejected_logratio_N / rejected_length_N.clamp(min=1)
    gap_N, target = chosen_logratio_N - rejected_logratio_N, 1 / (2 * tau)
    loss_N = label_N * (gap_N - target).square() + (1 - label_N) * (gap_N + target).square()
    return _preference_loss(loss_N, chosen_logratio_N, rejected_logratio_N, tau)


def kto_loss(
    logratio_N: Tensor,
    is_desirable_N: Tensor,
    *,
    beta: float,
    baseline: float | Tensor,
    weight_desirable: float = 1.0,
    weight_undesirable: float = 1.0,
) -> KTOLoss:
    """Raise answers with a thumb up above the policy's usual log-ratio, and lower those with a thumb down.

        desirable: w_D (1 - sigmoid(beta (r - z0)));   undesirable: w_U (1 - sigmoid(beta (z0 - r)))

    baseline: z0 in nats, from `kto_baseline` over the global batch; no gradient flows through it.
    is_desirable_N: True = thumb up. Keep w_D n_D / (w_U n_U) between 1 and 4/3.
    Source: Ethayarajh et al. 2024, arXiv:2402.01306.
    """
    check_shapes("N", logratio_N=logratio_N, is_desirable_N=is_desirable_N)
    fixed = baseline.detach() if isinstance(baseline, Tensor) else baseline
    gain_N = beta * (logratio_N - fixed)
    loss_N = torch.where(
        is_desirable_N, weight_desirable * torch.sigmoid(-gain_N), weight_undesirable * torch.sigmoid(gain_N)
    )
    return KTOLoss(loss_N.sum(), _num(loss_N), beta * logratio_N.detach())


def kto_baseline(mismatched_logratio_total: float | Tensor, count: float | Tensor) -> float:
    """Return KTO's reference point z0 = max(0, mean log-ratio of answers under other prompts), in nats.

    Both arguments are sums over the global batch: micro-batches and ranks must share one z0. Zero if nothing was
    counted. Which rows are put together is the caller's.
    Source: Ethayarajh et al. 2024, arXiv:2402.01306, section 4.1: there, the batch's next answer.
    """
    total, num = (float(x.detach() if isinstance(x, Tensor) else x) for x in (mismatched_logratio_total, count))
    return max(0.0, total / num) if num > 0 else 0.0


def _checked_labels(chosen_N: Tensor, rejected_N: Tensor, label_N: Tensor | None) -> Tensor:
    sizes = check_shapes("N", chosen_logratio_N=chosen_N, rejected_logratio_N=rejected_N)
    if label_N is None:
        return torch.ones_like(chosen_N)
    check_shapes("N", sizes, label_N=label_N)
    return label_N


def _preference_loss(loss_N: Tensor, chosen_N: Tensor, rejected_N: Tensor, scale: float) -> PreferenceLoss:
    return PreferenceLoss(loss_N.sum(), _num(loss_N), scale * chosen_N.detach(), scale * rejected_N.detach())


def _num(x_N: Tensor) -> Tensor:
    return torch.tensor(x_N.numel(), device=x_N.device)
