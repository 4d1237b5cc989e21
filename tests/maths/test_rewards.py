import pytest
import torch

from kleash.errors import SettingsError
from kleash.maths.rewards import normalise_reward


def test_z_scores_are_clipped_and_counted():
    result = normalise_reward(torch.tensor([3.0, 1.0, -99.0, 99.0]), mean=1.0, sd=2.0, clip=5.0)
    assert result.reward_B.tolist() == [1.0, 0.0, -5.0, 5.0]
    assert result.is_clipped_B.tolist() == [False, False, True, True]


def test_a_reward_without_spread_cannot_be_normalised():
    with pytest.raises(SettingsError, match=r"standard deviation is 0\.0, expected a positive number\. Measure it"):
        normalise_reward(torch.ones(2), mean=1.0, sd=0.0)
