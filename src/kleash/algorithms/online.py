"""The online algorithms as a table: PPO, RLOO, GRPO and REINFORCE differ in one row each.

A row names how credit is assigned (terminal scores and KL to per-token advantages), which loss moves the policy, how
the loss is averaged, whether a critic is needed and where the KL term acts. `loop.py` reads rows; a new algorithm is a
function, a row, a test and a line in `docs/algorithms.md`. All functions are pure; what must be averaged over ranks
(whitening, the running mean) comes in as an argument.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from kleash.algorithms.policy_settings import CreditSettings, LossSettings
from kleash.data.batches import Experience
from kleash.maths.advantages import (
    Credit,
    gae,
    group_relative_advantage,
    leave_one_out_advantage,
    spread_over_tokens,
    token_rewards,
)
from kleash.maths.kl import kl_per_sequence
from kleash.maths.policy_losses import PolicyLoss, clipped_policy_loss, reinforce_loss


@dataclass(frozen=True)
class CreditInputs:
    """What credit may be assigned by. beta: the leash's coefficient; baseline: running mean of the charged reward."""

    experience: Experience
    beta: float
    baseline: float


@dataclass(frozen=True)
class PolicyLossInputs:
    """What a policy loss may read, each (B, T): a micro-batch's present and old log-probabilities, nats, and credit.

    weight_BT: what each token weighs, by the algorithm's reduction.
    """

    logprob_BT: Tensor
    old_logprob_BT: Tensor
    advantage_BT: Tensor
    mask_BT: Tensor
    weight_BT: Tensor


@dataclass(frozen=True)
class OnlineAlgorithm:
    """One row of the table."""

    name: str
    assign_credit: Callable[[CreditInputs, CreditSettings], Credit]
    policy_loss: Callable[[PolicyLossInputs, LossSettings], PolicyLoss]
    reduction: Literal["token", "sequence", "constant"]
    source: str
    uses_critic: bool = False
    kl_acts_on: Literal["reward", "loss"] = "reward"
    min_samples_per_prompt: int = 1
    whitens: bool = False


def sequence_reward(experience: Experience, beta: float) -> Tensor:
    """Return score - beta * sum of k1 for each answer, (B,); no gradient."""
    kl_B = kl_per_sequence(experience.logprob_BT, experience.reference_logprob_BT, experience.mask_BT, estimator="k1")
    return experience.score_B - beta * kl_B


def _gae_credit(inputs: CreditInputs, settings: CreditSettings) -> Credit:
    experience = inputs.experience
    reward_BT = token_rewards(
        experience.logprob_BT,
        experience.reference_logprob_BT,
        experience.score_B,
        experience.mask_BT,
        beta=inputs.beta,
    )
    assert experience.value_BT is not None, "PPO's engine has a critic"
    return gae(reward_BT, experience.value_BT, experience.mask_BT, gamma=settings.gamma, lam=settings.lam)


def _leave_one_out_credit(inputs: CreditInputs, settings: CreditSettings) -> Credit:
    experience = inputs.experience
    reward_PG = sequence_reward(experience, inputs.beta).view(-1, experience.rollouts.samples_per_prompt)
    return _spread(leave_one_out_advantage(reward_PG), experience)


def _group_credit(inputs: CreditInputs, settings: CreditSettings) -> Credit:
    experience = inputs.experience
    score_PG = experience.score_B.view(-1, experience.rollouts.samples_per_prompt)
    return _spread(group_relative_advantage(score_PG, eps=settings.group_eps, ddof=1), experience)


def _running_mean_credit(inputs: CreditInputs, settings: CreditSettings) -> Credit:
    return _spread(sequence_reward(inputs.experience, inputs.beta) - inputs.baseline, inputs.experience)


def _spread(advantage: Tensor, experience: Experience) -> Credit:
    """Give every counted token of an answer the answer's own advantage."""
    return Credit(spread_over_tokens(advantage.reshape(-1), experience.mask_BT))


def _clipped(inputs: PolicyLossInputs, settings: LossSettings) -> PolicyLoss:
    return clipped_policy_loss(
        inputs.logprob_BT,
        inputs.old_logprob_BT,
        inputs.advantage_BT,
        inputs.mask_BT,
        clip_range=settings.clip_range,
        dual_clip=settings.dual_clip,
        weight_BT=inputs.weight_BT,
    )


def _reinforce(inputs: PolicyLossInputs, settings: LossSettings) -> PolicyLoss:
    return reinforce_loss(inputs.logprob_BT, inputs.advantage_BT, inputs.mask_BT, weight_BT=inputs.weight_BT)


PPO = OnlineAlgorithm(
    name="ppo",
    assign_credit=_gae_credit,
    policy_loss=_clipped,
    reduction="token",
    uses_critic=True,
    whitens=True,
    source="Schulman et al. 2017, arXiv:1707.06347; Ziegler et al. 2019, arXiv:1909.08593",
)

RLOO = OnlineAlgorithm(
    name="rloo",
    assign_credit=_leave_one_out_credit,
    policy_loss=_reinforce,
    reduction="constant",
    min_samples_per_prompt=2,
    source="Ahmadian et al. 2024, arXiv:2402.14740",
)

GRPO = OnlineAlgorithm(
    name="grpo",
    assign_credit=_group_credit,
    policy_loss=_clipped,
    reduction="sequence",
    kl_acts_on="loss",
    min_samples_per_prompt=2,
    source="Shao et al. 2024, arXiv:2402.03300",
)

REINFORCE = OnlineAlgorithm(
    name="reinforce",
    assign_credit=_running_mean_credit,
    policy_loss=_reinforce,
    reduction="constant",
    source="Williams 1992, doi:10.1007/BF00992696",
)

ONLINE_ALGORITHMS = {row.name: row for row in (PPO, RLOO, GRPO, REINFORCE)}
