"""Choose one token per row from logits, by random numbers that belong to the sequence and not to the batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def uniforms(seeds: Sequence[int], num_steps: int) -> Tensor:
    """Draw each sequence's own random numbers, (B, T), float64, in [0, 1); a longer draw begins with a shorter one."""
    return torch.from_numpy(
        np.stack([np.random.Generator(np.random.Philox(key=seed)).random(num_steps) for seed in seeds])
    )


def choose(logits_BV: Tensor, uniform_B: Tensor, *, temperature: float) -> tuple[Tensor, Tensor]:
    """Choose one token per row and return (token_B, logprob_B), nats, float32.

        p = softmax(logits / temperature)        token = the first whose cumulative p exceeds uniform x total

    The distribution is the full softmax, and the log-probability returned is the one sampled from. Sums are taken in
    float64, so that rare tokens of a large vocabulary get their share; a token of probability 0 is never chosen.
    temperature: 0 takes the likeliest token, with its log-probability at temperature 1.
    """
    if temperature == 0:
        logprob_BV = torch.log_softmax(logits_BV, dim=-1)
        token_B1 = logprob_BV.argmax(dim=-1, keepdim=True)
    else:
        logprob_BV = torch.log_softmax(logits_BV if temperature == 1 else logits_BV / temperature, dim=-1)
        cumulative_BV = logprob_BV.exp().cumsum(dim=-1, dtype=torch.float64)
        # uniform <= 1 - 2^-53, so that uniform x total stays below the total even when rounded.
        target_B1 = uniform_B[:, None] * cumulative_BV[:, -1:]
        token_B1 = torch.searchsorted(cumulative_BV, target_B1, right=True)
        token_B1 = token_B1.clamp_(max=logits_BV.shape[1] - 1)  # only where logits are NaN, which the caller refuses
    return token_B1[:, 0], logprob_BV.gather(1, token_B1)[:, 0]
