"""What a row costs in SFT and pretraining: the negative log-likelihood of its response."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from kleash.data.batches import TokenSequence, token_batch
from kleash.maths.tally import Tally
from kleash.models.causal_lm import LanguageModel


@dataclass(frozen=True)
class CompletionNLL:
    """Rows cost the negative log-likelihood of their response tokens, in nats; averaged over the batch's tokens."""

    model: LanguageModel
    sequences: Sequence[TokenSequence]

    def num_tokens(self, row: int) -> int:
        return self.sequences[row].num_tokens

    def begin_batch(self, rows: Sequence[int]) -> dict[str, float]:
        return {"tokens": float(sum(len(self.sequences[row].response_ids) for row in rows))}

    def loss(self, rows: Sequence[int], sums: dict[str, float], tally: Tally) -> Tensor:
        chosen = [self.sequences[row] for row in rows]
        batch = token_batch(chosen, pad_id=self.model.pad_id, device=self.model.device)
        total = -self.model.response_outputs(batch).logprob_BT.sum()
        tally.add("loss_nats_per_token", total.item(), float(batch.response_length_B.sum()))
        return total / sums["tokens"]
