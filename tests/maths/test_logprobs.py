import math

import pytest
import torch

from kleash.errors import SettingsError, ShapeError
from kleash.maths.logprobs import logprobs_and_entropy


def test_two_tokens_by_hand():
    logits = torch.tensor([[math.log(3.0), 0.0]], dtype=torch.float64)
    scored = logprobs_and_entropy(logits, torch.tensor([1]), temperature=1.0)
    assert scored.logprob_N.item() == pytest.approx(math.log(0.25))
    assert scored.entropy_N.item() == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))


def test_matches_a_loop_over_tokens():
    logits = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    tokens = torch.tensor([0, 6, 3, 2, 5])
    scored = logprobs_and_entropy(logits, tokens, temperature=0.7)
    for n, token in enumerate(tokens.tolist()):
        weights = [math.exp(z / 0.7) for z in logits[n].tolist()]
        p = [w / sum(weights) for w in weights]
        assert scored.logprob_N[n].item() == pytest.approx(math.log(p[token]))
        assert scored.entropy_N[n].item() == pytest.approx(-sum(q * math.log(q) for q in p))


def test_a_constant_added_to_all_logits_changes_nothing():
    logits, tokens = torch.randn(3, 4, dtype=torch.float64), torch.tensor([0, 1, 2])
    first, second = (logprobs_and_entropy(z, tokens, temperature=1.3) for z in (logits, logits + 100))
    torch.testing.assert_close(first.logprob_N, second.logprob_N)
    torch.testing.assert_close(first.entropy_N, second.entropy_N)


def test_a_forbidden_token_leaves_entropy_and_gradients_finite():
    logits = torch.tensor([[0.0, 0.0, -math.inf]], requires_grad=True)
    scored = logprobs_and_entropy(logits, torch.tensor([0]), temperature=1.0)
    assert scored.entropy_N.item() == pytest.approx(math.log(2))
    scored.logprob_N.sum().backward()
    assert logits.grad.isfinite().all()


def test_half_precision_logits_are_scored_in_float32():
    logits = torch.randn(2, 50).bfloat16()
    scored = logprobs_and_entropy(logits, torch.tensor([1, 2]), temperature=1.0)
    assert scored.logprob_N.dtype == scored.entropy_N.dtype == torch.float32
    exact = logprobs_and_entropy(logits.double(), torch.tensor([1, 2]), temperature=1.0)
    torch.testing.assert_close(scored.logprob_N.double(), exact.logprob_N, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_a_temperature_that_is_not_positive_is_refused(temperature):
    with pytest.raises(SettingsError, match=r"Temperature is .*expected a positive number\. Pass the one that sampled"):
        logprobs_and_entropy(torch.zeros(1, 2), torch.tensor([0]), temperature=temperature)


def test_tokens_must_match_logits():
    with pytest.raises(ShapeError, match="token_N has shape"):
        logprobs_and_entropy(torch.zeros(3, 2), torch.tensor([0]), temperature=1.0)
