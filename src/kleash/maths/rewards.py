"""From a reward model's raw scores to the reward that is optimised: a frozen z-score, and Llama 2's two-model rule."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kleash.errors import SettingsError
from kleash.maths.masked import whiten
from kleash.maths.shapes import check_shapes


@dataclass(frozen=True)
class NormalisedReward:
    """reward_B: clipped z-scores. num_clipped: how many hit the bound; above 5 % the policy left the model's range."""

    reward_B: Tensor
    num_clipped: Tensor


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
    return NormalisedReward(z_B.clamp(-clip, clip), (z_B.abs() > clip).sum())


@dataclass(frozen=True)
class SafetyGatedReward:
    """combined_B: the model in charge, a probability. whitened_B: its logit at mean 0 and variance 1 over the batch."""

    combined_B: Tensor
    whitened_B: Tensor


def safety_gated_reward(
    safety_B: Tensor, helpfulness_B: Tensor, is_safety_prompt_B: Tensor, *, threshold: float = 0.15
) -> SafetyGatedReward:
    """Let the safety model judge where safety is at stake, the helpfulness model everywhere else.

        R = R_safety if the prompt asks for safety or R_safety < threshold, else R_helpful;   whiten(logit(R))

    safety_B, helpfulness_B: sigmoids of the models' outputs, in (0, 1).
    Source: Touvron et al. 2023, arXiv:2307.09288, section 3.2.3.
    """
    check_shapes("B", safety_B=safety_B, helpfulness_B=helpfulness_B, is_safety_prompt_B=is_safety_prompt_B)
    combined_B = torch.where(is_safety_prompt_B | (safety_B < threshold), safety_B, helpfulness_B)
    everything_B = torch.ones_like(is_safety_prompt_B)
    return SafetyGatedReward(combined_B, whiten(torch.logit(combined_B), everything_B, eps=1e-12))
