"""The reference training engine: policy, reference and critic as torch modules in this process.

`LocalTrainer` steps optimisers over micro-batches, whatever is trained: SFT, reward models and DPO run on it, and
`LocalEngine` is one that also runs the models of online training.

It holds what the loop must not know: devices, precision, micro-batches, ranks. Under LoRA policy, reference and critic
are roles on one base (`models/shared_base.py`); in full fine-tuning each is a model of its own. With several ranks each
runs this engine on its own rows and gradients are summed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from kleash.data.batches import Rollouts, TokenBatch, TokenSequence, pack_by_tokens, token_batch
from kleash.models.causal_lm import LanguageModel
from kleash.models.forward import rollout_outputs, rollout_values
from kleash.models.heads import ScalarModel, ValueHead
from kleash.protocols import Outputs, Sized
from kleash.settings import AdamSettings
from kleash.training.optimiser import Optimiser
from kleash.training.ranks import Ranks

# Where a checkpoint keeps the weights that the optimiser called "policy" trains.
_POLICY = "policy/weights"


class LocalTrainer:
    """A `Trainer` of this process: steps named optimisers on the losses of micro-batches.

    max_batch_tokens: tokens of one micro-batch, by its rows' `num_tokens`.
    """

    def __init__(
        self, optimisers: Mapping[str, Optimiser], *, max_batch_tokens: int, ranks: Ranks | None = None
    ) -> None:
        self.optimisers = dict(optimisers)
        self.max_batch_tokens = max_batch_tokens
        self.ranks = ranks or Ranks()

    @property
    def rank(self) -> int:
        return self.ranks.rank

    @property
    def num_ranks(self) -> int:
        return self.ranks.num_ranks

    def micro_batches(self, rows: Sequence[Any]) -> Iterator[list[int]]:
        """Yield the numbers of the rows that are read together."""
        yield from pack_by_tokens([row.num_tokens for row in rows], max_tokens=self.max_batch_tokens)

    def forward(self, rows: Sequence[Any]) -> Iterator[Outputs]:
        """Show a micro-batch's outputs, one network after the other; here the loss runs the models itself."""
        yield Outputs()

    def step(
        self,
        rows: Sequence[Sized],
        compute_loss: Callable[[Outputs, Sequence[int]], Tensor],
        *,
        learning_rate_share: float = 1.0,
    ) -> Mapping[str, float]:
        for chosen in self.micro_batches(rows):
            for outputs in self.forward([rows[row] for row in chosen]):
                loss = compute_loss(outputs, chosen)
                if loss.requires_grad:
                    loss.backward()
                del outputs, loss  # one network's activations at a time
        figures: dict[str, float] = {}
        for name, optimiser in self.optimisers.items():
            taken = optimiser.step(learning_rate_share=learning_rate_share)
            figures |= {f"{name}_{figure}": value for figure, value in taken.items()}
        return figures

    def sum_across_ranks(self, figures: Mapping[str, float]) -> dict[str, float]:
        return self.ranks.sum_across_ranks(figures)

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


class LocalEngine(LocalTrainer):
    """Trains a policy, and a critic where there is one, against a frozen reference.

    critic: a network of its own (ScalarModel), a head on the policy's trunk (ValueHead), or None.
    """

    def __init__(
        self,
        policy: LanguageModel,
        reference: LanguageModel,
        critic: ScalarModel | ValueHead | None,
        *,
        optimisers: Mapping[str, Optimiser],
        temperature: float,
        max_batch_tokens: int,
        ranks: Ranks | None = None,
    ) -> None:
        super().__init__(optimisers, max_batch_tokens=max_batch_tokens, ranks=ranks)
        self.policy = policy
        self.reference = reference
        self.value_head = critic if isinstance(critic, ValueHead) else None
        self.critic = critic if isinstance(critic, ScalarModel) else None
        self.temperature = temperature

    @torch.no_grad()
    def annotate(self, rollouts: Rollouts) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return (logprob_BT, reference_logprob_BT, value_BT or None).

        Sampling's own log-probabilities are exact in float32 and are kept; in bfloat16, where cached decoding
        rounds otherwise than a training forward, they are computed anew.
        """
        read = partial(
            rollout_outputs, rollouts=rollouts, temperature=self.temperature, max_tokens=self.max_batch_tokens
        )
        logprob_BT, value_BT, mask_BT = rollouts.logprob_BT, None, rollouts.mask_BT
        if not self.policy.is_exact or self.value_head is not None:
            outputs = read(self.policy, value_head=self.value_head)
            logprob_BT = logprob_BT if self.policy.is_exact else outputs.logprob_BT
            value_BT = outputs.value_BT
        if self.critic is not None:
            value_BT = rollout_values(self.critic, rollouts, max_tokens=self.max_batch_tokens)
        reference_BT = read(self.reference).logprob_BT
        return (
            logprob_BT.where(mask_BT, 0.0),
            reference_BT.where(mask_BT, 0.0),
            None if value_BT is None else value_BT.where(mask_BT, 0.0),
        )

    def micro_batches(self, rows: Sequence[TokenSequence]) -> Iterator[list[int]]:
        """Yield texts to keep apart from answers: a forward is at one temperature."""
        for is_text in (False, True):
            group = [number for number, row in enumerate(rows) if row.is_text is is_text]
            for chosen in super().micro_batches([rows[number] for number in group]):
                yield [group[index] for index in chosen]

    def forward(self, rows: Sequence[TokenSequence]) -> Iterator[Outputs]:
        """Show the policy's outputs, with a shared critic's, and then a separate critic's, which reads no texts."""
        batch, is_text = self._batch(rows), rows[0].is_text
        seen = self.policy.response_outputs(
            batch,
            temperature=1.0 if is_text else self.temperature,
            value_head=None if is_text else self.value_head,
        )
        outputs = Outputs(seen.logprob_BT, seen.entropy_BT, seen.value_BT)
        del seen
        yield outputs
        del outputs
        if self.critic is not None and not is_text:
            yield Outputs(value_BT=self.critic.values(batch))

    def named_weights(self) -> Iterable[tuple[str, Tensor]]:
        return self.policy.named_weights()

    def policy_snapshot(self) -> dict[str, Tensor]:
        return {f"{_POLICY}/{name}": parameter.detach() for name, parameter in self.policy.trainable_parameters()}

    @torch.no_grad()
    def restore_policy(self, tensors: Mapping[str, Tensor]) -> None:
        for name, parameter in self.policy.trainable_parameters():
            parameter.copy_(tensors[f"{_POLICY}/{name}"])

    def _batch(self, sequences: Sequence[TokenSequence]) -> TokenBatch:
        return token_batch(sequences, pad_id=self.policy.pad_id, device=self.policy.device)


def build_local_engine(
    policy: LanguageModel,
    reference: LanguageModel,
    critic: ScalarModel | ValueHead | None,
    *,
    optimiser: AdamSettings,
    critic_learning_rate: float | None,
    temperature: float,
    max_batch_tokens: int,
    ranks: Ranks,
) -> LocalEngine:
    """Be the engine that recipes call "local". critic_learning_rate: None = the policy's."""
    optimisers = {"policy": Optimiser.from_settings(policy.trainable_parameters(), optimiser, ranks)}
    if critic is not None:
        trained = critic.trainable_parameters() if isinstance(critic, ScalarModel) else critic.named_parameters()
        optimisers["critic"] = Optimiser.from_settings(trained, optimiser, ranks, learning_rate=critic_learning_rate)
    return LocalEngine(
        policy,
        reference,
        critic,
        optimisers=optimisers,
        temperature=temperature,
        max_batch_tokens=max_batch_tokens,
        ranks=ranks,
    )
