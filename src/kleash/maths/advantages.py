"""Credit: from scores and KL to per-token rewards, advantages and returns.

Nothing here carries gradients: credit is a constant for the losses in `policy_losses`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kleash.errors import ShapeError
from kleash.maths.kl import kl_per_token
from kleash.maths.masked import last_counted, select
from kleash.maths.shapes import check_shapes


@torch.no_grad()
def token_rewards(
    logprob_BT: Tensor, reference_logprob_BT: Tensor, score_B: Tensor, mask_BT: Tensor, *, beta: float
) -> Tensor:
    """Charge each token its KL and pay the score at the last token that counts (the EOS of a finished answer).

        r_t = -beta * (log p_t - log p_ref,t)  +  score  at the last counted token

    A row's rewards add up to score - beta * KL (k1); a row that counts no token gets nothing; masked cells hold zero.
    Source: Ziegler et al. 2019, arXiv:1909.08593, eq. 2.
    """
    sizes = check_shapes("B T", logprob_BT=logprob_BT, reference_logprob_BT=reference_logprob_BT, mask_BT=mask_BT)
    check_shapes("B", sizes, score_B=score_B)
    charge_BT = select(kl_per_token(logprob_BT, reference_logprob_BT, estimator="k1"), mask_BT) * -beta
    return charge_BT + select(score_B.unsqueeze(1).expand_as(mask_BT), last_counted(mask_BT))


@torch.no_grad()
def missing_eos_score(score_B: Tensor, is_finished_B: Tensor, *, penalty: float = -1.0) -> Tensor:
    """Give an answer that did not end within the limit at most `penalty` (a z-scored reward).

    Differs: lm-human-preferences replaces the score, which rewards running on whenever the true score is lower.
    """
    check_shapes("B", score_B=score_B, is_finished_B=is_finished_B)
    return torch.where(is_finished_B, score_B, score_B.clamp(max=penalty))


@dataclass(frozen=True)
class Credit:
    """Per-token credit, (B, T), zero where masked.

    advantage_BT: how much better than expected an action was. return_BT: what the critic should have said; None where
    there is none.
    """

    advantage_BT: Tensor
    return_BT: Tensor | None = None


@torch.no_grad()
def gae(
    reward_BT: Tensor,
    value_BT: Tensor,
    mask_BT: Tensor,
    *,
    gamma: float,
    lam: float,
    bootstrap_value_B: Tensor | None = None,
) -> Credit:
    """Estimate advantages by weighing temporal differences over all horizons.

        delta_t = r_t + gamma * V_next - V_t;   A_t = delta_t + gamma * lam * A_next;   return_t = A_t + V_t

    "Next" is the next token that counts: a masked token inside an answer (tool output) is stepped over, so the value is
    carried across it. After the last one stands bootstrap_value_B, or 0 if not given: the answer truly ended, and one
    cut at the length limit counts as ended too. gamma and lam in [0, 1]; masked cells hold zero.
    Source: Schulman et al. 2016, arXiv:1506.02438.
    """
    sizes = check_shapes("B T", reward_BT=reward_BT, value_BT=value_BT, mask_BT=mask_BT)
    next_advantage_B = value_BT.new_zeros(sizes["B"])
    next_value_B = torch.zeros_like(next_advantage_B)
    if bootstrap_value_B is not None:
        check_shapes("B", sizes, bootstrap_value_B=bootstrap_value_B)
        next_value_B = bootstrap_value_B
    advantage_BT = torch.zeros_like(value_BT)
    for t in reversed(range(sizes["T"])):
        delta_B = reward_BT[:, t] + gamma * next_value_B - value_BT[:, t]
        counts_B = mask_BT[:, t]
        next_advantage_B = torch.where(counts_B, delta_B + gamma * lam * next_advantage_B, next_advantage_B)
        next_value_B = torch.where(counts_B, value_BT[:, t], next_value_B)
        advantage_BT[:, t] = next_advantage_B
    advantage_BT = select(advantage_BT, mask_BT)
    return Credit(advantage_BT, select(advantage_BT + value_BT, mask_BT))


@torch.no_grad()
def leave_one_out_advantage(reward_PG: Tensor) -> Tensor:
    """Compare each sample's reward with the mean of its prompt's other samples.

        a_pg = r_pg - sum_{h != g} r_ph / (G - 1)

    reward_PG: one score per sample, any unit; G >= 2 samples per prompt.
    Returns the advantage, (P, G), in the reward's unit; each row sums to zero.
    Raises ShapeError if G < 2.
    Source: Ahmadian et al. 2024, arXiv:2402.14740.
    """
    num_samples = _samples_per_prompt(reward_PG)
    mean_P1 = reward_PG.mean(dim=1, keepdim=True)
    return (reward_PG - mean_P1) * (num_samples / (num_samples - 1))


@torch.no_grad()
def group_relative_advantage(
    reward_PG: Tensor, *, eps: float = 1e-4, ddof: int = 1, scale_by_sd: bool = True
) -> Tensor:
    """Compare each sample's reward with its prompt's mean, in units of the prompt's standard deviation.

        a_pg = (r_pg - mean_p) / (sd_p + eps)

    ddof: 1 divides the variance by G - 1 (TRL), 0 by G (HALOs). scale_by_sd False leaves the division out (Dr. GRPO).
    A prompt whose samples all earn the same teaches nothing: its row is zero.
    Raises ShapeError if G < 2.
    Source: Shao et al. 2024, arXiv:2402.03300; Liu et al. 2025, arXiv:2503.20783.
    """
    _samples_per_prompt(reward_PG)
    centred_PG = reward_PG - reward_PG.mean(dim=1, keepdim=True)
    if not scale_by_sd:
        return centred_PG
    return centred_PG / (reward_PG.std(dim=1, keepdim=True, correction=ddof) + eps)


def running_baseline(baseline: float | None, mean_reward: float, *, decay: float) -> float:
    """Return the moving average of rewards after one more batch: the whole state of REINFORCE's baseline.

        b <- decay * b + (1 - decay) * mean_reward;   the first batch (baseline None) sets it

    mean_reward: over all ranks. decay in [0, 1).
    """
    return mean_reward if baseline is None else decay * baseline + (1.0 - decay) * mean_reward


def spread_over_tokens(advantage_B: Tensor, mask_BT: Tensor) -> Tensor:
    """Give every token that counts its sequence's advantage; masked cells hold zero."""
    sizes = check_shapes("B T", mask_BT=mask_BT)
    check_shapes("B", sizes, advantage_B=advantage_B)
    return select(advantage_B.unsqueeze(1).expand_as(mask_BT), mask_BT)


def _samples_per_prompt(reward_PG: Tensor) -> int:
    num_samples = check_shapes("P G", reward_PG=reward_PG)["G"]
    if num_samples < 2:
        raise ShapeError(
            f"reward_PG has {num_samples} sample(s) per prompt, expected at least 2 to compare. "
            "Raise the number of samples per prompt."
        )
    return num_samples
