"""The reference training engine: policy, reference and critic as torch modules in this process.

It holds what the loop must not know: devices, precision, adapters, micro-batches, ranks. Under LoRA the reference is
the same base with the frozen `reference` adapter, so no second copy exists; in full fine-tuning it is a second frozen
model. With several ranks each runs this engine on its own rows and gradients are summed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from kleash.data.batches import Rollouts, TokenSequence
from kleash.models.causal_lm import LanguageModel
from kleash.models.forward import frozen_reference, micro_batches, rollout_outputs, rollout_values
from kleash.models.heads import ScalarModel, ValueHead
from kleash.protocols import Outputs
from kleash.training.optimiser import Optimiser
from kleash.training.ranks import Ranks


class LocalEngine:
    """Trains a policy, and a critic where there is one, against a frozen reference.

    reference: a second model, or None when the policy carries a `reference` adapter.
    critic: a network of its own (ScalarModel), a head on the policy's trunk (ValueHead), or None.
    """

    def __init__(
        self,
        policy: LanguageModel,
        reference: LanguageModel | None,
        critic: ScalarModel | ValueHead | None,
        *,
        optimisers: Mapping[str, Optimiser],
        temperature: float,
        max_batch_tokens: int,
        ranks: Ranks | None = None,
    ) -> None:
        self.policy = policy
        self.reference = reference
        self.value_head = critic if isinstance(critic, ValueHead) else None
        self.critic = critic if isinstance(critic, ScalarModel) else None
        self.optimisers = dict(optimisers)
        self.temperature = temperature
        self.max_batch_tokens = max_batch_tokens
        self.ranks = ranks or Ranks()

    @property
    def rank(self) -> int:
        return self.ranks.rank

    @property
    def num_ranks(self) -> int:
        return self.ranks.num_ranks

    @torch.no_grad()
    def annotate(self, rollouts: Rollouts) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return (logprob_BT, reference_logprob_BT, value_BT or None).

        Sampling's own log-probabilities are exact in float32 and are kept; under autocast, where cached decoding
        rounds otherwise than a training forward, they are computed anew.
        """
        read = partial(
            rollout_outputs, rollouts=rollouts, temperature=self.temperature, max_tokens=self.max_batch_tokens
        )
        logprob_BT, value_BT, mask_BT = rollouts.logprob_BT, None, rollouts.mask_BT
        if self.policy.is_autocast or self.value_head is not None:
            outputs = read(self.policy, value_head=self.value_head)
            logprob_BT = outputs.logprob_BT if self.policy.is_autocast else logprob_BT
            value_BT = outputs.value_BT
        if self.critic is not None:
            value_BT = rollout_values(self.critic, rollouts, max_tokens=self.max_batch_tokens)
        with frozen_reference(self.policy, self.reference) as reference:
            reference_BT = read(reference).logprob_BT
        return (
            logprob_BT.where(mask_BT, 0.0),
            reference_BT.where(mask_BT, 0.0),
            None if value_BT is None else value_BT.where(mask_BT, 0.0),
        )

    def step(
        self,
        sequences: Sequence[TokenSequence],
        compute_loss: Callable[[Outputs, Sequence[int]], Tensor],
        *,
        learning_rate_share: float = 1.0,
    ) -> Mapping[str, float]:
        """Take one optimiser step; policy and separate critic pass one after the other, to hold one's activations."""
        for rows, batch in micro_batches(sequences, self.policy, max_tokens=self.max_batch_tokens):
            seen = self.policy.response_outputs(batch, temperature=self.temperature, value_head=self.value_head)
            compute_loss(Outputs(seen.logprob_BT, seen.entropy_BT, seen.value_BT), rows).backward()
            del seen
            if self.critic is not None:
                compute_loss(Outputs(value_BT=self.critic.values(batch)), rows).backward()
        figures: dict[str, float] = {}
        for name, optimiser in self.optimisers.items():
            taken = optimiser.step(learning_rate_share=learning_rate_share)
            figures |= {f"{name}_{figure}": value for figure, value in taken.items()}
        return figures

    def sum_across_ranks(self, figures: Mapping[str, float]) -> dict[str, float]:
        return self.ranks.sum_across_ranks(figures)

    def named_weights(self) -> Iterable[tuple[str, Tensor]]:
        return self.policy.named_weights()

    def snapshot(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors: dict[str, Tensor] = {}
        state: dict[str, Any] = {}
        for name, optimiser in self.optimisers.items():
            flat = optimiser.snapshot(name)
            tensors |= flat.tensors
            state[name] = flat.state
        return tensors, state

    def restore(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        for name, optimiser in self.optimisers.items():
            optimiser.restore(tensors, state[name], name)
