import pytest
import torch

from kleash.errors import SettingsError
from kleash.maths.rewards import normalise_reward, safety_gated_reward


def test_z_scores_are_clipped_and_counted():
    result = normalise_reward(torch.tensor([3.0, 1.0, -99.0, 99.0]), mean=1.0, sd=2.0, clip=5.0)
    assert result.reward_B.tolist() == [1.0, 0.0, -5.0, 5.0]
    assert result.num_clipped.item() == 2


def test_a_reward_without_spread_cannot_be_normalised():
    with pytest.raises(SettingsError, match=r"standard deviation is 0\.0, expected a positive number\. Measure it"):
        normalise_reward(torch.ones(2), mean=1.0, sd=0.0)


def test_safety_judges_where_it_is_asked_for_or_alarmed():
    safety, helpful = torch.tensor([0.1, 0.9, 0.9]), torch.tensor([0.8, 0.7, 0.6])
    gated = safety_gated_reward(safety, helpful, torch.tensor([False, True, False]))
    assert gated.combined_B.tolist() == pytest.approx([0.1, 0.9, 0.6])
    assert gated.whitened_B.mean().item() == pytest.approx(0, abs=1e-6)
    assert gated.whitened_B.std(correction=0).item() == pytest.approx(1)
    assert gated.whitened_B.argsort().tolist() == [0, 2, 1]
