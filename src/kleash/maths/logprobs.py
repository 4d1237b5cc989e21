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

    logits_NV: row n is the distribution that token n was drawn from, so those of the position before it; minus infinity
    forbids a token. temperature > 0. Gradients flow through logprob_N; the entropy is a diagnostic.
    Raises SettingsError if the temperature is not positive.
    """
    sizes = check_shapes("N V", logits_NV=logits_NV)
    check_shapes("N", sizes, token_N=token_N)
    if not temperature > 0:
        raise SettingsError(
            f"Temperature is {temperature}, expected a positive number. Pass the one that sampled the tokens."
        )
    precise_NV = logits_NV if logits_NV.dtype == torch.float64 else logits_NV.float()
    log_softmax_NV = torch.log_softmax(precise_NV / temperature, dim=-1)
    # A forbidden token has p = 0 and log p = -inf, whose product must be 0 and not NaN.
    with torch.no_grad():
        finite_NV = torch.where(log_softmax_NV.isneginf(), torch.zeros_like(log_softmax_NV), log_softmax_NV)
        entropy_N = -(log_softmax_NV.exp() * finite_NV).sum(-1)
    return LogprobsEntropy(log_softmax_NV.gather(-1, token_N.unsqueeze(-1)).squeeze(-1), entropy_N)
