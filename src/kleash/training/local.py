"""The reference training engine: policy, reference and critic as torch modules in this process.

It holds what the loop must not know: devices, precision, adapters, micro-batches, ranks. Under LoRA the reference is
the same base with the frozen `reference` adapter, so no second copy exists; in full fine-tuning it is a second frozen
model. With several ranks each runs this engine on its own rows and gradients are summed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from kleash.data.batches import Rollouts, TokenBatch, TokenSequence, pack_by_tokens, token_batch
from kleash.models.causal_lm import LanguageModel
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
        logprob_BT = rollouts.logprob_BT
        needs_forward = self.policy.is_autocast or self.value_head is not None
        reference_BT, value_BT = torch.zeros_like(logprob_BT), torch.zeros_like(logprob_BT)
        if self.policy.is_autocast:
            logprob_BT = torch.zeros_like(logprob_BT)
        for rows, batch in self._micro_batches(rollouts.sequences, self.max_batch_tokens):
            mask_BT = batch.response_mask_BT
            if needs_forward:
                outputs = self.policy.response_outputs(batch, temperature=self.temperature, value_head=self.value_head)
                if self.policy.is_autocast:
                    _place(logprob_BT, rows, outputs.logprob_BT)
                if outputs.value_BT is not None:
                    _place(value_BT, rows, outputs.value_BT)
            if self.critic is not None:
                _place(value_BT, rows, self.critic.values(batch).where(mask_BT, 0.0))
            model = self.reference or self.policy
            with nullcontext() if self.reference is not None else self.policy.using_reference():
                _place(reference_BT, rows, model.response_outputs(batch, temperature=self.temperature).logprob_BT)
        mask_BT = rollouts.mask_BT
        has_values = self.critic is not None or self.value_head is not None
        return (
            logprob_BT.where(mask_BT, 0.0),
            reference_BT.where(mask_BT, 0.0),
            value_BT.where(mask_BT, 0.0) if has_values else None,
        )

    def step(
        self,
        sequences: Sequence[TokenSequence],
        compute_loss: Callable[[Outputs, Sequence[int]], Tensor],
        *,
        learning_rate_share: float = 1.0,
    ) -> Mapping[str, float]:
        """Take one optimiser step; policy and separate critic pass one after the other, to hold one's activations."""
        for rows, batch in self._micro_batches(sequences, self.max_batch_tokens):
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

    def _micro_batches(
        self, sequences: Sequence[TokenSequence], max_tokens: int
    ) -> Iterable[tuple[list[int], TokenBatch]]:
        for rows in pack_by_tokens([sequence.num_tokens for sequence in sequences], max_tokens=max_tokens):
            chosen = [sequences[row] for row in rows]
            yield rows, token_batch(chosen, pad_id=self.policy.pad_id, device=self.policy.device)


def _place(whole_BT: Tensor, rows: Sequence[int], part_BT: Tensor) -> None:
    """Put a micro-batch's rows into the whole batch's tensor."""
    whole_BT[list(rows), : part_BT.shape[1]] = part_BT.to(whole_BT)
