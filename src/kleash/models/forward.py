"""Forwards over any number of sequences: packed by tokens into micro-batches, results in the order they came in.

The one place where sequences meet models outside sampling: what a policy says of responses, what a reward model says of
whole answers, and how far a policy is from its reference. The forward of a single batch is the models' own
(`causal_lm.py`, `heads.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from kleash.data.batches import Rollouts, TokenBatch, TokenSequence, pack_by_tokens, token_batch
from kleash.models.causal_lm import LanguageModel, ResponseOutputs
from kleash.models.heads import ScalarModel, ValueHead


def micro_batches(
    sequences: Sequence[TokenSequence], model: LanguageModel | ScalarModel, *, max_tokens: int | None = None
) -> Iterator[tuple[list[int], TokenBatch]]:
    """Yield row numbers and their batch, for this model to read: rows of similar length, at most max_tokens padded."""
    for rows in pack_by_tokens([sequence.num_tokens for sequence in sequences], max_tokens=max_tokens):
        yield rows, token_batch([sequences[row] for row in rows], pad_id=model.pad_id, device=model.device)


def sequence_scores(
    model: ScalarModel,
    sequences: Sequence[TokenSequence],
    *,
    max_tokens: int | None = None,
    on_done: Callable[[int], None] = lambda num_done: None,
) -> Tensor:
    """Return one raw score per sequence, (N,), on the model's device. Gradients flow.

    on_done: hears the number of sequences of each micro-batch when it was scored.
    """

    def scored(batch: TokenBatch) -> Tensor:
        score_B = model.score(batch)
        on_done(len(score_B))
        return score_B

    return _in_order(sequences, model, max_tokens, scored)


def sequence_logprobs(
    model: LanguageModel, sequences: Sequence[TokenSequence], *, max_tokens: int | None = None
) -> Tensor:
    """Return each response's log-probability, nats, (N,), on the model's device. Gradients flow."""
    return _in_order(sequences, model, max_tokens, lambda batch: model.response_outputs(batch).logprob_BT.sum(dim=1))


@torch.no_grad()
def rollout_outputs(
    model: LanguageModel,
    rollouts: Rollouts,
    *,
    temperature: float,
    max_tokens: int,
    value_head: ValueHead | None = None,
) -> ResponseOutputs:
    """Return what a model says of sampled answers, each figure of the shape of `rollouts.logprob_BT`, on the CPU."""
    logprob_BT, entropy_BT, value_BT = (torch.zeros_like(rollouts.logprob_BT) for _ in range(3))
    for rows, batch in micro_batches(rollouts.sequences, model, max_tokens=max_tokens):
        outputs = model.response_outputs(batch, temperature=temperature, value_head=value_head)
        _place(logprob_BT, rows, outputs.logprob_BT)
        _place(entropy_BT, rows, outputs.entropy_BT)
        if outputs.value_BT is not None:
            _place(value_BT, rows, outputs.value_BT)
    return ResponseOutputs(logprob_BT, entropy_BT, None if value_head is None else value_BT)


@torch.no_grad()
def rollout_values(critic: ScalarModel, rollouts: Rollouts, *, max_tokens: int) -> Tensor:
    """Return the critic's value before each token of sampled answers, of the shape of `rollouts.logprob_BT`."""
    value_BT = torch.zeros_like(rollouts.logprob_BT)
    for rows, batch in micro_batches(rollouts.sequences, critic, max_tokens=max_tokens):
        _place(value_BT, rows, critic.values(batch))
    return value_BT


@torch.no_grad()
def kl_to_reference(
    rollouts: Rollouts, policy: LanguageModel, reference: LanguageModel, *, max_tokens: int
) -> list[float]:
    """Return the k1 estimate of each answer that the policy sampled, log pi - log pi_ref, nats per sequence.

    0 for the reference itself, and exactly 0 in bfloat16 for a policy of the same weights: both read the same batch.
    """
    kl_B = torch.zeros(len(rollouts))
    if policy is reference:
        return kl_B.tolist()
    for rows, batch in micro_batches(rollouts.sequences, reference, max_tokens=max_tokens):
        mask_BT = batch.response_mask_BT.cpu()
        logprob_BT = rollouts.logprob_BT[rows][:, : mask_BT.shape[1]]
        if not policy.is_exact:  # cached decoding rounds otherwise than a forward
            logprob_BT = policy.response_outputs(batch, temperature=rollouts.temperature).logprob_BT.cpu()
        reference_BT = reference.response_outputs(batch, temperature=rollouts.temperature).logprob_BT.cpu()
        kl_B[rows] = (logprob_BT - reference_BT).where(mask_BT, 0.0).sum(dim=1)
    return kl_B.tolist()


def _in_order(
    sequences: Sequence[TokenSequence],
    model: LanguageModel | ScalarModel,
    max_tokens: int | None,
    figure: Callable[[TokenBatch], Tensor],
) -> Tensor:
    """Return a figure of each sequence, (N,), whatever the order of the micro-batches."""
    parts, order = [torch.zeros(0, device=model.device)], list[int]()
    for rows, batch in micro_batches(sequences, model, max_tokens=max_tokens):
        parts.append(figure(batch))
        order += rows
    return torch.cat(parts)[torch.argsort(torch.tensor(order, dtype=torch.long)).to(model.device)]


def _place(whole_BT: Tensor, rows: Sequence[int], part_BT: Tensor) -> None:
    """Put a micro-batch's rows into the whole batch's tensor."""
    whole_BT[list(rows), : part_BT.shape[1]] = part_BT.to(whole_BT)
