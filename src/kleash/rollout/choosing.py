"""Choose one token per row from logits, by random numbers that belong to the sequence and not to the batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


def uniforms(seeds: Sequence[int], num_steps: int) -> Tensor:
    """Draw each sequence's own random numbers, (B, T), float64, in [0, 1); a longer draw begins with a shorter one."""
    return torch.from_numpy(
        np.stack([np.random.Generator(np.random.Philox(key=seed)).random(num_steps) for seed in seeds])
    )


@dataclass(frozen=True)
class Among:
    """The tokens to choose from: the top_k likeliest (None = all), of those the fewest that hold top_p of their sum.

    Source: top-p is Holtzman et al. 2020, arXiv:1904.09751; with both, top-k comes first, as in Hugging Face.
    """

    top_k: int | None = None
    top_p: float = 1.0

    def kept(self, probability_BV: Tensor) -> Tensor:
        """Return the probabilities, not divided anew, with those of all other tokens at 0. Ties keep the lower id."""
        sorted_BV, token_BV = probability_BV.sort(dim=-1, descending=True, stable=True)
        sorted_BK, token_BK = sorted_BV[:, : self.top_k], token_BV[:, : self.top_k]
        before_BK = sorted_BK.cumsum(dim=-1, dtype=torch.float64) - sorted_BK
        is_kept_BK = before_BK < self.top_p * sorted_BK.sum(dim=-1, keepdim=True, dtype=torch.float64)
        is_kept_BK[:, 0] = True
        return torch.zeros_like(probability_BV).scatter(1, token_BK, sorted_BK.where(is_kept_BK, 0.0))


ALL_TOKENS = Among()


def choose(
    logits_BV: Tensor, uniform_B: Tensor, *, temperature: float, among: Among = ALL_TOKENS
) -> tuple[Tensor, Tensor]:
    """Choose one token per row and return (token_B, logprob_B), nats, float32.

        p = softmax(logits / temperature)        token = the first whose cumulative p exceeds uniform x total

    The distribution is the full softmax, and the log-probability returned is the one sampled from. Sums are taken in
    float64, so that rare tokens of a large vocabulary get their share; a token of probability 0 is never chosen.
    temperature: 0 takes the likeliest token, with its log-probability at temperature 1.
    among: of fewer tokens; the log-probability stays that of the full softmax, so training must not sample so.
    """
    if temperature == 0:
        logprob_BV = torch.log_softmax(logits_BV, dim=-1)
        token_B1 = logprob_BV.argmax(dim=-1, keepdim=True)
    else:
        logprob_BV = torch.log_softmax(logits_BV if temperature == 1 else logits_BV / temperature, dim=-1)
        probability_BV = logprob_BV.exp() if among == ALL_TOKENS else among.kept(logprob_BV.exp())
        cumulative_BV = probability_BV.cumsum(dim=-1, dtype=torch.float64)
        # uniform <= 1 - 2^-53, so that uniform x total stays below the total even when rounded.
        target_B1 = uniform_B[:, None] * cumulative_BV[:, -1:]
        token_B1 = torch.searchsorted(cumulative_BV, target_B1, right=True)
        token_B1 = token_B1.clamp_(max=logits_BV.shape[1] - 1)  # only where logits are NaN, which the caller refuses
    return token_B1[:, 0], logprob_BV.gather(1, token_B1)[:, 0]
