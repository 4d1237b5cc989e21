"""Log-probabilities and entropies from logits, at the temperature that sampled, in float32 or better.

The temperature divides the logits of the old, the current *and* the reference policy, and those of the entropy: a ratio
or a KL between different temperatures means nothing. How logits are made in chunks is the business of `models/`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kleash.errors import SettingsError
from kleash.maths.shapes import check_shapes


@dataclass(frozen=True)
class LogprobsEntropy:
    """logprob_N: log-probability of each token, nats. entropy_N: entropy of the distribution it came from, nats."""

    logprob_N: Tensor
    entropy_N: Tensor


def logprobs_and_entropy(logits_NV: Tensor, token_N: Tensor, *, temperature: float) -> LogprobsEntropy:
    """Score the tokens that were sampled and measure how open the choice was.

        log p = log_softmax(logits / temperature)[token];   H = -sum_v p_v log p_v

    logits_NV: row n is the distribution that token n was drawn from (see `next_token_logprobs` for the shift); minus
    infinity forbids a token. temperature > 0. Gradients flow through both results.
    Raises SettingsError if the temperature is not positive.
    """
    log_softmax_NV = _log_softmax(logits_NV, token_N, temperature)
    # A forbidden token has p = 0 and log p = -inf, whose product must be 0 and not NaN.
    finite_NV = torch.where(log_softmax_NV.isneginf(), torch.zeros_like(log_softmax_NV), log_softmax_NV)
    entropy_N = -(log_softmax_NV.exp() * finite_NV).sum(-1)
    return LogprobsEntropy(_pick(log_softmax_NV, token_N), entropy_N)


def token_logprobs(logits_NV: Tensor, token_N: Tensor, *, temperature: float) -> Tensor:
    """Score the tokens that were sampled, (N,) in nats; `logprobs_and_entropy` without the entropy."""
    return _pick(_log_softmax(logits_NV, token_N, temperature), token_N)


def next_token_logprobs(logits_BTV: Tensor, token_BT: Tensor, *, temperature: float) -> Tensor:
    """Score tokens 1 .. T-1 of each sequence with the logits one place before them.

        result[b, t] = log p(token[b, t+1] | token[b, :t+1]),  read from logits[b, t]

    Returns (B, T-1) in nats: column t belongs to token t+1, so a mask over tokens is shifted alike, mask_BT[:, 1:].
    """
    sizes = check_shapes("B T", token_BT=token_BT)
    check_shapes("B T V", sizes, logits_BTV=logits_BTV)
    logits_NV = logits_BTV[:, :-1].flatten(0, 1)
    return token_logprobs(logits_NV, token_BT[:, 1:].flatten(), temperature=temperature).view(sizes["B"], -1)


def _log_softmax(logits_NV: Tensor, token_N: Tensor, temperature: float) -> Tensor:
    sizes = check_shapes("N V", logits_NV=logits_NV)
    check_shapes("N", sizes, token_N=token_N)
    if not temperature > 0:
        raise SettingsError(
            f"Temperature is {temperature}, expected a positive number. Pass the one that sampled the tokens."
        )
    precise_NV = logits_NV if logits_NV.dtype == torch.float64 else logits_NV.float()
    return torch.log_softmax(precise_NV / temperature, dim=-1)


def _pick(x_NV: Tensor, token_N: Tensor) -> Tensor:
    return x_NV.gather(-1, token_N.unsqueeze(-1)).squeeze(-1)
