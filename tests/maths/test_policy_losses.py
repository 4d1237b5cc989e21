import math
from itertools import pairwise

import pytest
import torch

from kleash.errors import SettingsError, ShapeError
from kleash.maths.masked import masked_moments
from kleash.maths.policy_losses import (
    clipped_policy_loss,
    clipped_value_loss,
    explained_variance,
    kl_loss,
    policy_drift,
    reduction_count,
    reduction_weights,
    reinforce_loss,
)

MASK_BT = torch.tensor([[1, 1, 0, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 1, 0, 0, 0]], dtype=torch.bool)


def numbers(seed: int, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(4, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def one(value: float) -> torch.Tensor:
    return torch.tensor([[value]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient"),
    [
        (1.5, 1.0, -1.2, 0.0),  # good, and already far enough: no more push
        (0.5, 1.0, -0.5, -0.5),  # good, but went the wrong way: pull back
        (1.5, -1.0, 1.5, 1.5),  # bad and too likely: push down
        (0.5, -1.0, 0.8, 0.0),  # bad, and already unlikely enough
    ],
)
def test_the_four_corners_of_the_clip(ratio, advantage, loss, gradient):
    logprob = one(math.log(ratio)).requires_grad_()
    result = clipped_policy_loss(logprob, one(0.0), one(advantage), torch.tensor([[True]]), clip_range=0.2)
    result.total.backward()
    assert result.total.item() == pytest.approx(loss)
    assert logprob.grad.item() == pytest.approx(gradient)
    assert result.num_clipped.item() == (gradient == 0.0)


@pytest.mark.parametrize("dual_clip", [None, 1.5])
def test_clipped_policy_loss_matches_a_loop(dual_clip):
    logprob, old, advantage = numbers(1), numbers(2), numbers(3)
    loss = clipped_policy_loss(logprob, old, advantage, MASK_BT, clip_range=0.2, dual_clip=dual_clip)
    total, clipped, kl, ratios = 0.0, 0, 0.0, []
    for b, t in MASK_BT.nonzero().tolist():
        rho, a = math.exp(logprob[b, t].item() - old[b, t].item()), advantage[b, t].item()
        plain, bounded = -a * rho, -a * min(max(rho, 0.8), 1.2)
        token = max(plain, bounded)
        total += min(token, -dual_clip * a) if dual_clip and a < 0 else token
        clipped += bounded > plain
        kl += rho - 1 - math.log(rho)
        ratios.append(rho)
    assert loss.total.item() == pytest.approx(total)
    drift = policy_drift(logprob, old, MASK_BT)
    assert loss.count.item() == drift.num_tokens.item() == 9
    assert loss.num_clipped.item() == clipped
    assert drift.approx_kl_total.item() == pytest.approx(kl)
    assert drift.ratio_max.item() == pytest.approx(max(ratios))
    assert drift.ratio_error_max.item() == pytest.approx(max(abs(rho - 1) for rho in ratios))


def test_on_the_samples_own_policy_the_gradient_is_reinforces():
    logprob, advantage = numbers(1).requires_grad_(), numbers(3)
    clipped = clipped_policy_loss(logprob, logprob.detach(), advantage, MASK_BT, clip_range=0.2)
    (first,) = torch.autograd.grad(clipped.total, logprob)
    (second,) = torch.autograd.grad(reinforce_loss(logprob, advantage, MASK_BT).total, logprob)
    torch.testing.assert_close(first, second)
    drift = policy_drift(logprob, logprob.detach(), MASK_BT)
    assert (drift.ratio_max.item(), drift.ratio_error_max.item(), drift.approx_kl_total.item()) == (1.0, 0.0, 0.0)


def test_drift_shows_a_ratio_that_is_no_number_and_nothing_of_masked_cells():
    broken = torch.where(MASK_BT, numbers(1), float("nan"))
    assert policy_drift(broken, numbers(1), MASK_BT).ratio_error_max.item() == 0.0
    assert math.isnan(policy_drift(numbers(1) * float("nan"), numbers(1), MASK_BT).ratio_error_max.item())
    assert policy_drift(one(0), one(9), torch.tensor([[False]])).ratio_max.item() == 0.0


def test_a_dual_clip_of_one_or_less_is_refused():
    with pytest.raises(SettingsError, match=r"dual_clip is 1\.0, expected a number above 1\. Set 3"):
        clipped_policy_loss(one(0), one(0), one(0), torch.tensor([[True]]), clip_range=0.2, dual_clip=1.0)


@pytest.mark.parametrize(
    ("value", "old", "target", "loss", "gradient"),
    [
        (1.0, 0.9, 2.0, 0.5, -1.0),  # within the clip: plain squared error
        (1.0, 0.0, 2.0, (0.2 - 2.0) ** 2 / 2, 0.0),  # ran ahead towards the target: the clip binds
        (-1.0, 0.0, 2.0, 4.5, -3.0),  # ran the wrong way: the plain error is the larger
    ],
)
def test_value_clip_by_hand(value, old, target, loss, gradient):
    v = one(value).requires_grad_()
    result = clipped_value_loss(v, one(old), one(target), torch.tensor([[True]]), clip_range=0.2)
    result.total.backward()
    assert result.total.item() == pytest.approx(loss)
    assert v.grad.item() == pytest.approx(gradient)


def test_value_loss_matches_a_loop_and_forgets_a_wide_clip():
    value, old, target = numbers(1), numbers(2), numbers(3)
    loss = clipped_value_loss(value, old, target, MASK_BT, clip_range=0.3)
    total = 0.0
    for b, t in MASK_BT.nonzero().tolist():
        v, v_old, r = value[b, t].item(), old[b, t].item(), target[b, t].item()
        total += max((v - r) ** 2, (min(max(v, v_old - 0.3), v_old + 0.3) - r) ** 2) / 2
    assert loss.total.item() == pytest.approx(total)
    wide = clipped_value_loss(value, old, target, MASK_BT, clip_range=1e9)
    assert wide.total.item() == pytest.approx(((value - target)[MASK_BT] ** 2).sum().item() / 2)


def test_reinforce_by_hand():
    logprob = torch.tensor([[-1.0, -2.0]]).requires_grad_()
    loss = reinforce_loss(logprob, torch.tensor([[3.0, -0.5]]), torch.tensor([[True, True]]))
    loss.total.backward()
    assert loss.total.item() == pytest.approx(3.0 - 1.0)
    assert logprob.grad.tolist() == [[-3.0, 0.5]]
    assert loss.count.item() == 2
    assert loss.num_clipped.item() == 0


def test_only_the_present_policy_and_critic_learn():
    inputs = [numbers(seed).requires_grad_() for seed in range(3)]
    for loss in (
        clipped_policy_loss(*inputs, MASK_BT, clip_range=0.2),
        clipped_value_loss(*inputs, MASK_BT, clip_range=0.2),
        reinforce_loss(*inputs[:2], MASK_BT),
        kl_loss(*inputs[:2], MASK_BT),
    ):
        gradients = torch.autograd.grad(loss.total, inputs, allow_unused=True)
        assert gradients[0].any()
        assert gradients[1:] == (None, None)


def losses(rows: slice, logprob: torch.Tensor, reduction: str) -> tuple[torch.Tensor, torch.Tensor]:
    mask = MASK_BT[rows]
    weight = reduction_weights(mask, reduction=reduction, max_tokens=8, dtype=torch.float64)
    policy = clipped_policy_loss(
        logprob[rows], numbers(2)[rows], numbers(3)[rows], mask, clip_range=0.2, weight_BT=weight
    )
    kl = kl_loss(logprob[rows], numbers(2)[rows], mask, weight_BT=weight)
    return policy.total + kl.total, reduction_count(mask, reduction=reduction)


@pytest.mark.parametrize("reduction", ["token", "sequence", "constant"])
@pytest.mark.parametrize("splits", [[0, 4], [0, 1, 4], [0, 2, 3, 4]])
def test_any_split_into_micro_batches_gives_the_same_gradient(reduction, splits):
    logprob = numbers(1).requires_grad_()
    total, count = losses(slice(0, 4), logprob, reduction)
    (expected,) = torch.autograd.grad(total / count, logprob)
    parts = [losses(slice(a, b), logprob, reduction) for a, b in pairwise(splits)]
    global_count = sum(part_count for _, part_count in parts)
    (gradient,) = torch.autograd.grad(sum(part for part, _ in parts) / global_count, logprob)
    torch.testing.assert_close(gradient, expected)


def test_reductions_by_hand():
    loss = torch.tensor([[1.0, 1.0, 1.0], [4.0, 9.0, 9.0]])
    mask = torch.tensor([[True, True, True], [True, False, False]])
    means = {}
    for reduction in ("token", "sequence", "constant"):
        weight = reduction_weights(mask, reduction=reduction, max_tokens=10)
        assert not weight[~mask].any()
        total = reinforce_loss(-torch.ones_like(loss), loss, mask, weight_BT=weight).total
        means[reduction] = (total / reduction_count(mask, reduction=reduction)).item()
    assert means == pytest.approx({"token": 7 / 4, "sequence": (1 + 4) / 2, "constant": 7 / 10 / 2})


def test_weights_must_fit_and_reductions_must_exist():
    with pytest.raises(ShapeError, match="weight_BT has shape"):
        reinforce_loss(numbers(1), numbers(2), MASK_BT, weight_BT=torch.ones(4, 4))
    with pytest.raises(
        SettingsError, match=r'Reduction is "mean", expected "token", "sequence" or "constant"\. Choose'
    ):
        reduction_weights(MASK_BT, reduction="mean")
    with pytest.raises(SettingsError, match=r'Reduction is "mean"'):
        reduction_count(MASK_BT, reduction="mean")
    with pytest.raises(SettingsError, match=r'"constant" has max_tokens=None; expected >= 1\. Pass'):
        reduction_weights(MASK_BT, reduction="constant")


def test_explained_variance_is_one_less_the_share_of_the_residuals():
    returns, values = numbers(1), numbers(2, scale=0.1) + 0.8 * numbers(1)

    def moments(x):
        return masked_moments(x, MASK_BT)

    expected = 1 - (returns - values)[MASK_BT].var(correction=0) / returns[MASK_BT].var(correction=0)
    assert explained_variance(moments(returns), moments(returns - values)) == pytest.approx(expected.item())
    assert explained_variance(moments(returns), moments(torch.zeros_like(returns))) == 1.0
    assert math.isnan(explained_variance(moments(torch.ones_like(returns)), moments(returns)))
