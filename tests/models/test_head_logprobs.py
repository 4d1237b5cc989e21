"""The chunked head against plain log-softmax: figures, gradients, chunk sizes and reused buffers."""

import math

import pytest
import torch

from kleash.maths.logprobs import logprobs_and_entropy
from kleash.models.head_logprobs import HeadWorkspace, head_logprobs

NUM_TOKENS, HIDDEN, VOCABULARY = 50, 8, 23


def inputs(*, seed=0, with_bias=True):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(NUM_TOKENS, HIDDEN, generator=generator, requires_grad=True)
    weight = torch.randn(VOCABULARY, HIDDEN, generator=generator, requires_grad=True)
    bias = torch.randn(VOCABULARY, generator=generator, requires_grad=True) if with_bias else None
    return hidden, weight, bias, torch.randint(VOCABULARY, (NUM_TOKENS,), generator=generator)


def gradients(outputs, leaves):
    scale = torch.linspace(-1, 2, NUM_TOKENS)
    return torch.autograd.grad((outputs.logprob_N * scale).sum(), [leaf for leaf in leaves if leaf is not None])


def test_two_tokens_worked_by_hand():
    """Logits (ln 3, 0) give probabilities 3/4 and 1/4; at temperature 1/2 they are squared first: 9/10 and 1/10."""
    hidden, weight = torch.tensor([[math.log(3)]]), torch.tensor([[1.0], [0.0]])
    figures = head_logprobs(hidden, weight, None, torch.tensor([1]))
    torch.testing.assert_close(figures.logprob_N, torch.tensor([math.log(1 / 4)]))
    torch.testing.assert_close(figures.entropy_N, torch.tensor([-(3 / 4 * math.log(3 / 4) + 1 / 4 * math.log(1 / 4))]))
    sharper = head_logprobs(hidden, weight, None, torch.tensor([1]), temperature=0.5)
    torch.testing.assert_close(sharper.logprob_N, torch.tensor([math.log(1 / 10)]))


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("kept_elements", [0, 20 * VOCABULARY, 1 << 20])
def test_chunks_agree_with_whole_logits(with_bias, temperature, kept_elements):
    hidden, weight, bias, target = leaves = inputs(with_bias=with_bias)
    workspace = HeadWorkspace(chunk_elements=16 * VOCABULARY, kept_elements=kept_elements)
    found = head_logprobs(*leaves, temperature=temperature, workspace=workspace)
    whole = logprobs_and_entropy(torch.nn.functional.linear(hidden, weight, bias), target, temperature=temperature)
    torch.testing.assert_close(found.logprob_N, whole.logprob_N)
    torch.testing.assert_close(found.entropy_N, whole.entropy_N)
    torch.testing.assert_close(gradients(found, leaves[:3]), gradients(whole, leaves[:3]), rtol=1e-5, atol=1e-5)


def test_gradient_survives_another_forward_in_the_same_buffers():
    leaves, others = inputs(), inputs(seed=1)
    workspace = HeadWorkspace()
    expected = gradients(head_logprobs(*leaves), leaves[:3])
    first = head_logprobs(*leaves, workspace=workspace)
    head_logprobs(*others, workspace=workspace)
    torch.testing.assert_close(gradients(first, leaves[:3]), expected)


def test_second_backward_gives_the_same_gradient():
    hidden, weight, bias, target = inputs()
    logprob = head_logprobs(hidden, weight, bias, target).logprob_N.sum()
    first = torch.autograd.grad(logprob, hidden, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(logprob, hidden), first)


def test_entropy_carries_no_gradient():
    assert not head_logprobs(*inputs()).entropy_N.requires_grad


def test_no_token_at_all():
    hidden, weight, bias, target = inputs()
    figures = head_logprobs(hidden[:0], weight, bias, target[:0])
    assert figures.logprob_N.shape == (0,)
    torch.testing.assert_close(torch.autograd.grad(figures.logprob_N.sum(), weight)[0], torch.zeros_like(weight))


def test_confident_head_neither_overflows_nor_underflows():
    figures = head_logprobs(torch.tensor([[1000.0]]), torch.tensor([[1.0], [0.0]]), None, torch.tensor([1]))
    torch.testing.assert_close(figures.logprob_N, torch.tensor([-1000.0]))
    torch.testing.assert_close(figures.entropy_N, torch.tensor([0.0]))


def test_bfloat16_states_are_reduced_in_float32():
    hidden, weight, bias, target = inputs()
    exact = head_logprobs(hidden.bfloat16().float(), weight, bias, target).logprob_N
    with torch.autocast("cpu", torch.bfloat16):
        found = head_logprobs(hidden.bfloat16(), weight, bias, target).logprob_N
    torch.testing.assert_close(found, exact, rtol=0, atol=0)
