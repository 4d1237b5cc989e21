import math

import pytest
import torch

from kleash.errors import ShapeError
from kleash.maths.advantages import (
    gae,
    group_relative_advantage,
    leave_one_out_advantage,
    missing_eos_score,
    running_baseline,
    spread_over_tokens,
    token_rewards,
)
from kleash.maths.kl import kl_per_sequence

MASK_BT = torch.tensor([[1, 1, 0, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 1, 0, 0, 0]], dtype=torch.bool)


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_token_rewards_by_hand():
    policy = torch.tensor([[-1.0, -2.0, -5.0]], dtype=torch.float64)
    reference = torch.tensor([[-1.5, -1.0, -1.0]], dtype=torch.float64)
    mask = torch.tensor([[True, True, False]])
    rewards = token_rewards(policy, reference, torch.tensor([3.0]).double(), mask, beta=0.1)
    assert rewards.tolist() == [pytest.approx([-0.05, 3.1, 0.0])]


def test_token_rewards_add_up_to_score_less_beta_kl():
    p, q, score = numbers(4, 5, seed=1), numbers(4, 5, seed=2), numbers(4, seed=3)
    rewards = token_rewards(p, q, score, MASK_BT, beta=0.3)
    expected = score - 0.3 * kl_per_sequence(p, q, MASK_BT)
    # The second row counts no token, so it is paid nothing at all.
    expected[1] = 0.0
    torch.testing.assert_close(rewards.sum(1), expected)


def test_token_rewards_carry_no_gradient():
    p = numbers(4, 5).requires_grad_()
    assert not token_rewards(p, p.detach(), numbers(4), MASK_BT, beta=0.3).requires_grad


def test_an_answer_without_end_never_gains_by_the_penalty():
    score, finished = torch.tensor([2.0, 2.0, -3.0]), torch.tensor([True, False, False])
    assert missing_eos_score(score, finished).tolist() == [2.0, -1.0, -3.0]
    assert missing_eos_score(score, finished, penalty=-5.0).tolist() == [2.0, -5.0, -5.0]


def looped_gae(rewards, values, mask, gamma, lam, bootstrap):
    """The definition, as a double sum over later counted tokens of one row."""
    places = [t for t, counts in enumerate(mask) if counts]
    following = [values[t] for t in places[1:]] + [bootstrap]
    deltas = [rewards[t] + gamma * v - values[t] for t, v in zip(places, following, strict=False)]
    advantages = [0.0] * len(mask)
    for i, t in enumerate(places):
        advantages[t] = sum((gamma * lam) ** k * delta for k, delta in enumerate(deltas[i:]))
    return advantages


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (1.0, 0.0), (1.0, 1.0)])
@pytest.mark.parametrize("bootstraps", [False, True])
def test_gae_matches_the_double_sum_with_gaps_carried_over(gamma, lam, bootstraps):
    reward, value, bootstrap = numbers(4, 5, seed=1), numbers(4, 5, seed=2), numbers(4, seed=3)
    credit = gae(reward, value, MASK_BT, gamma=gamma, lam=lam, bootstrap_value_B=bootstrap if bootstraps else None)
    for b in range(4):
        last = bootstrap[b].item() if bootstraps else 0.0
        expected = looped_gae(reward[b].tolist(), value[b].tolist(), MASK_BT[b].tolist(), gamma, lam, last)
        assert credit.advantage_BT[b].tolist() == pytest.approx(expected)
    expected_return = torch.where(MASK_BT, credit.advantage_BT + value, 0.0)
    torch.testing.assert_close(credit.return_BT, expected_return)


def test_gae_with_nothing_discounted_returns_the_rewards_to_come():
    reward, value = numbers(4, 5, seed=1), numbers(4, 5, seed=2)
    credit = gae(reward, value, MASK_BT, gamma=1.0, lam=1.0)
    kept = torch.where(MASK_BT, reward, 0.0)
    to_come = kept.flip(1).cumsum(1).flip(1)
    torch.testing.assert_close(credit.return_BT, torch.where(MASK_BT, to_come, 0.0))


def test_gae_ignores_padding_on_either_side():
    reward, value = numbers(4, 5, seed=1), numbers(4, 5, seed=2)
    credit = gae(reward, value, MASK_BT, gamma=0.9, lam=0.8)
    padded = [torch.nn.functional.pad(x, (2, 3)) for x in (reward, value, MASK_BT)]
    wide = gae(*padded, gamma=0.9, lam=0.8)
    torch.testing.assert_close(wide.advantage_BT[:, 2:7], credit.advantage_BT)
    torch.testing.assert_close(wide.return_BT[:, 2:7], credit.return_BT)


def test_gae_of_answers_without_tokens_is_empty():
    empty = torch.zeros(2, 0)
    assert gae(empty, empty, empty.bool(), gamma=1.0, lam=1.0).advantage_BT.shape == (2, 0)


def test_gae_refuses_misfits():
    with pytest.raises(ShapeError, match="value_BT has shape"):
        gae(numbers(2, 3), numbers(2, 4), MASK_BT[:2, :3], gamma=1.0, lam=1.0)
    with pytest.raises(ShapeError, match="bootstrap_value_B has shape"):
        gae(numbers(2, 3), numbers(2, 3), MASK_BT[:2, :3], gamma=1.0, lam=1.0, bootstrap_value_B=numbers(3))


def test_leave_one_out_matches_a_loop():
    reward = numbers(3, 4)
    advantage = leave_one_out_advantage(reward)
    for p in range(3):
        for g in range(4):
            others = [reward[p, h].item() for h in range(4) if h != g]
            assert advantage[p, g].item() == pytest.approx(reward[p, g].item() - sum(others) / 3)
    torch.testing.assert_close(advantage.sum(1), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("ddof", [0, 1])
def test_group_relative_matches_a_loop(ddof):
    reward = numbers(3, 4)
    advantage = group_relative_advantage(reward, eps=1e-2, ddof=ddof)
    for p in range(3):
        row = reward[p].tolist()
        mean = sum(row) / 4
        sd = math.sqrt(sum((r - mean) ** 2 for r in row) / (4 - ddof))
        assert advantage[p].tolist() == pytest.approx([(r - mean) / (sd + 1e-2) for r in row])


def test_a_constant_added_to_a_prompts_rewards_changes_no_advantage():
    reward, shift = numbers(3, 4), torch.tensor([[1.0], [-5.0], [100.0]])
    for advantage in (leave_one_out_advantage, group_relative_advantage):
        torch.testing.assert_close(advantage(reward + shift), advantage(reward))


@pytest.mark.parametrize("advantage", [leave_one_out_advantage, group_relative_advantage])
def test_one_sample_cannot_be_compared(advantage):
    with pytest.raises(ShapeError, match=r"has 1 sample\(s\) per prompt, expected at least 2 .*Raise the number"):
        advantage(torch.zeros(3, 1))


def test_the_running_baseline_forgets_slowly():
    baseline = None
    for mean_reward in (1.0, 2.0, 0.0):
        baseline = running_baseline(baseline, mean_reward, decay=0.9)
    assert baseline == pytest.approx((1.0 * 0.9 + 2.0 * 0.1) * 0.9)


def test_spreading_gives_each_counted_token_its_sequences_advantage():
    spread = spread_over_tokens(torch.tensor([1.0, 2.0, 3.0, 4.0]), MASK_BT)
    assert spread.tolist() == [[1, 1, 0, 1, 0], [0] * 5, [3] * 5, [0, 4, 0, 0, 0]]
