"""Whatever stands in a masked cell reaches neither a result nor a gradient: every function that takes a mask."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import is_dataclass
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from kleash.maths import advantages, kl, masked, policy_losses

MASK_BT = torch.tensor([[1, 1, 0, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], dtype=torch.bool)
SCORE_B = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
MOMENTS = masked.Moments(3.0, 0.5, 1.5)

# name: (function of tensors and a mask, number of tensors)
FUNCTIONS: dict[str, tuple[Callable[..., Any], int]] = {
    "masked_sum": (masked.masked_sum, 1),
    "masked_mean": (masked.masked_mean, 1),
    "masked_mean by row": (partial(masked.masked_mean, dim=1), 1),
    "masked_moments": (masked.masked_moments, 1),
    "whiten": (masked.whiten, 1),
    "whiten_with": (lambda x, mask: masked.whiten_with(x, mask, MOMENTS, shift_mean=False), 1),
    "kl_per_sequence k1": (partial(kl.kl_per_sequence, estimator="k1"), 2),
    "kl_per_sequence k2": (partial(kl.kl_per_sequence, estimator="k2"), 2),
    "kl_per_sequence k3": (partial(kl.kl_per_sequence, estimator="k3"), 2),
    "token_rewards": (lambda p, ref, mask: advantages.token_rewards(p, ref, SCORE_B, mask, beta=0.3), 2),
    "gae": (partial(advantages.gae, gamma=0.9, lam=0.8), 2),
    "clipped_policy_loss": (partial(policy_losses.clipped_policy_loss, clip_range=0.2, dual_clip=2.0), 3),
    "clipped_value_loss": (partial(policy_losses.clipped_value_loss, clip_range=0.2), 3),
    "reinforce_loss": (policy_losses.reinforce_loss, 2),
    "kl_loss": (policy_losses.kl_loss, 2),
    "weighted loss": (lambda p, a, w, mask: policy_losses.reinforce_loss(p, a, mask, weight_BT=w), 3),
}


def results(outcome: Any) -> list[Any]:
    return list(vars(outcome).values()) if is_dataclass(outcome) else [outcome]


def gradient_sources(outcomes: Iterable[Any]) -> list[Tensor]:
    return [outcome for outcome in outcomes if isinstance(outcome, Tensor) and outcome.requires_grad]


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_masked_cells_are_inert(name, poison):
    function, num_tensors = FUNCTIONS[name]
    generator = torch.Generator().manual_seed(7)
    clean = [torch.randn(MASK_BT.shape, generator=generator, dtype=torch.float64) for _ in range(num_tensors)]
    poisoned = [torch.where(MASK_BT, tensor, poison) for tensor in clean]
    for tensor in (*clean, *poisoned):
        tensor.requires_grad_()
    expected, actual = results(function(*clean, MASK_BT)), results(function(*poisoned, MASK_BT))
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(torch.as_tensor(one), torch.as_tensor(other), rtol=0, atol=0)
    for outputs, inputs in ((expected, clean), (actual, poisoned)):
        for output in gradient_sources(outputs):
            output.sum().backward(retain_graph=True)
        for tensor in inputs:
            tensor.grad = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
    for ours, clean_one in zip(poisoned, clean, strict=True):
        torch.testing.assert_close(ours.grad, clean_one.grad, rtol=0, atol=0)
        assert not ours.grad[~MASK_BT].any()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_doubles_stay_doubles(name):
    function, num_tensors = FUNCTIONS[name]
    tensors = [torch.rand(MASK_BT.shape, dtype=torch.float64) for _ in range(num_tensors)]
    floating = [x for x in results(function(*tensors, MASK_BT)) if isinstance(x, Tensor) and x.is_floating_point()]
    assert all(x.dtype == torch.float64 for x in floating)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nothing_counted_gives_finite_zeroes(name):
    function, num_tensors = FUNCTIONS[name]
    tensors = [torch.rand(MASK_BT.shape) for _ in range(num_tensors)]
    for outcome in results(function(*tensors, torch.zeros_like(MASK_BT))):
        assert not torch.as_tensor(outcome).any()
