"""The optimiser: AdamW as torch has it, a clipped gradient, a readable stop, and an exact resume."""

import math

import pytest
import torch

from kleash.errors import RunError
from kleash.training.optimiser import Optimiser


def made(**settings):
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))
    other = torch.nn.Parameter(torch.tensor([[0.25]]))
    return Optimiser([("weight", weight), ("other", other)], **{"learning_rate": 0.1} | settings)


def give_gradients(optimiser, step):
    for number, parameter in enumerate(optimiser.parameters):
        generator = torch.Generator().manual_seed(100 * step + number)
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def take(optimiser, steps):
    for step in steps:
        give_gradients(optimiser, step)
        optimiser.step(learning_rate_share=1 - step / 10)
    return [parameter.detach().clone() for parameter in optimiser.parameters]


def test_steps_are_those_of_torchs_own_adamw():
    ours = made(betas=(0.8, 0.9), eps=1e-3, weight_decay=0.1, max_grad_norm=None)
    theirs = [torch.nn.Parameter(parameter.detach().clone()) for parameter in ours.parameters]
    adamw = torch.optim.AdamW(theirs, lr=0.1, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.1)
    for step in range(4):
        give_gradients(ours, step)
        for own, their in zip(ours.parameters, theirs, strict=True):
            their.grad = own.grad.clone()
        adamw.param_groups[0]["lr"] = 0.1 * (1 - step / 10)
        adamw.step()
        ours.step(learning_rate_share=1 - step / 10)
    torch.testing.assert_close(ours.parameters, theirs)


def test_the_norm_is_that_of_all_gradients_and_is_clipped():
    """Adam's first step hardly depends on the size of a gradient, its second moment does."""
    optimiser = made(max_grad_norm=1.0)
    optimiser.parameters[0].grad = torch.tensor([3.0, 0.0, 0.0])
    optimiser.parameters[1].grad = torch.tensor([[4.0]])
    figures = optimiser.step(learning_rate_share=0.5)
    assert figures == {"gradient_norm": pytest.approx(5.0), "learning_rate": 0.05}
    moment = optimiser.adam.state[optimiser.parameters[1]]["exp_avg"]
    assert moment.item() == pytest.approx(0.1 * 4 / 5, rel=1e-4)


def test_frozen_parameters_are_not_trained():
    frozen = torch.nn.Parameter(torch.ones(2), requires_grad=False)
    optimiser = Optimiser([("frozen", frozen), ("free", torch.nn.Parameter(torch.ones(2)))], learning_rate=0.1)
    assert [name for name, _ in optimiser.named_parameters] == ["free"]


def test_gradients_are_cleared_after_a_step():
    optimiser = made()
    take(optimiser, [0])
    assert all(parameter.grad is None for parameter in optimiser.parameters)


def test_what_gets_no_gradient_is_left_alone_and_its_weights_do_not_decay():
    optimiser = made(weight_decay=0.5)
    before = [parameter.detach().clone() for parameter in optimiser.parameters]
    assert optimiser.step() == {"gradient_norm": 0.0, "learning_rate": 0.0}
    torch.testing.assert_close(list(map(torch.Tensor.detach, optimiser.parameters)), before, rtol=0, atol=0)
    assert not optimiser.adam.state
    optimiser.parameters[0].grad = torch.ones(3)
    optimiser.step()  # a loss that reaches one of several: the others' gradient is zero, and they decay
    assert optimiser.parameters[1].item() == pytest.approx(0.25 * (1 - 0.1 * 0.5))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_stops_the_run_before_it_does_harm(bad):
    optimiser = made()
    before = take(optimiser, [0])
    give_gradients(optimiser, 1)
    optimiser.parameters[0].grad[1] = bad
    with pytest.raises(RunError, match=r"gradient's norm is (nan|inf)\. Expected a finite number\..*learning rate"):
        optimiser.step()
    torch.testing.assert_close(list(map(torch.Tensor.detach, optimiser.parameters)), before, rtol=0, atol=0)


def test_a_resumed_optimiser_takes_the_very_same_steps():
    whole = take(made(weight_decay=0.1), range(6))
    first = made(weight_decay=0.1)
    take(first, range(3))
    flat = first.snapshot("policy")
    second = made(weight_decay=0.1)
    second.restore(flat.tensors, flat.state, "policy")
    assert all(map(torch.equal, take(second, range(3, 6)), whole))


def test_a_snapshot_before_the_first_step_is_a_start():
    flat = made().snapshot("policy")
    second = made()
    take(second, range(2))
    second.restore(flat.tensors, flat.state, "policy")
    assert all(map(torch.equal, take(second, range(2)), take(made(), range(2))))
