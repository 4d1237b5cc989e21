"""From a reward model's raw scores to the reward that is optimised: a z-score by frozen constants, clipped."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from kleash.errors import SettingsError
from kleash.maths.shapes import check_shapes


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
