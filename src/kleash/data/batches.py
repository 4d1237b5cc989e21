"""Token sequences and the batches made of them: what models read and what the loop passes along.

Two shapes live here. A *ragged* one (`TokenSequence`, `Rollouts`) holds each prompt and response at its own length; a
*padded* one (`TokenBatch`) is what one forward pass reads. Everything measured per response token is a (B, T) tensor
aligned on the response: column t belongs to response token t, whatever the prompt's length. Masks are True = counts.

Training batches are padded on the right only. Under a causal model a pad that comes after every real token changes no
logit, so no attention mask is needed and the fused causal attention stays available (generation pads prompts on the
left; see `rollout/local.py`).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from kleash.errors import DataError
from kleash.records import Completion, Prompt


@dataclass(frozen=True, slots=True)
class TokenSequence:
    """One prompt and one response as token ids; the response holds its EOS when it has one.

    is_text: written by somebody rather than sampled, so that its likelihood is the model's own, at temperature 1.
    """

    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    is_text: bool = False

    @property
    def num_tokens(self) -> int:
        return len(self.prompt_ids) + len(self.response_ids)


@dataclass(frozen=True)
class TokenBatch:
    """Right-padded sequences for one forward pass.

    ids_BS: prompt, response, padding.  prompt_length_B, response_length_B: real tokens of each part.
    """

    ids_BS: Tensor
    prompt_length_B: Tensor
    response_length_B: Tensor

    @property
    def response_mask_BT(self) -> Tensor:
        """True where response token t exists; T is the longest response of the batch."""
        num_columns = int(self.response_length_B.max())
        return torch.arange(num_columns, device=self.ids_BS.device) < self.response_length_B[:, None]

    @property
    def attention_mask_BS(self) -> Tensor:
        length_B = self.prompt_length_B + self.response_length_B
        return torch.arange(self.ids_BS.shape[1], device=self.ids_BS.device) < length_B[:, None]

    @property
    def last_position_B(self) -> Tensor:
        """Index of each row's last real token (its EOS, when it has one)."""
        return self.prompt_length_B + self.response_length_B - 1

    def predicting_positions(self) -> tuple[Tensor, Tensor]:
        """Return (row_N, position_N) of the positions whose logits predict the response tokens, row by row.

        logits[t] predicts token[t + 1], so response token t of a row is predicted at prompt_length + t - 1. The order
        is that of `response_mask_BT.nonzero()`, so that results of N go back by `out_BT[mask_BT] = result_N`.
        """
        row_N, column_N = self.response_mask_BT.nonzero(as_tuple=True)
        return row_N, self.prompt_length_B[row_N] + column_N - 1

    def response_ids_N(self) -> Tensor:
        """The response tokens, flat, in the order of `predicting_positions`."""
        row_N, position_N = self.predicting_positions()
        return self.ids_BS[row_N, position_N + 1]


def token_batch(sequences: Sequence[TokenSequence], *, pad_id: int, device: torch.device | str = "cpu") -> TokenBatch:
    """Pad sequences on the right into one batch. Raises DataError when a prompt has no token."""
    for index, sequence in enumerate(sequences):
        if not sequence.prompt_ids:
            raise DataError(
                f"Sequence {index} of the batch has an empty prompt, so its first response token has no predecessor. "
                "Expected at least one prompt token. Use a tokenizer with a BOS token, or give the prompt some text."
            )
    width = max(sequence.num_tokens for sequence in sequences)
    ids_BS = torch.full((len(sequences), width), pad_id, dtype=torch.long)
    for row, sequence in enumerate(sequences):
        ids_BS[row, : sequence.num_tokens] = torch.tensor(sequence.prompt_ids + sequence.response_ids)
    return TokenBatch(
        ids_BS.to(device),
        torch.tensor([len(sequence.prompt_ids) for sequence in sequences], device=device),
        torch.tensor([len(sequence.response_ids) for sequence in sequences], device=device),
    )


def pack_by_tokens(
    num_tokens: Sequence[int], *, max_tokens: int | None = None, max_padding_share: float = 0.1, min_tokens: int = 512
) -> list[list[int]]:
    """Group rows of similar length: rows x longest within max_tokens, and little of it padding; longest first.

    At most max_padding_share of a group is padding, unless it is so small that one row less would leave fewer than
    min_tokens: tiny matrix products waste more time than padding does. The largest group comes first, so that a batch
    that does not fit in memory fails at once. A row longer than max_tokens gets a group of its own. Ties keep the
    given order: the result is a function of the lengths alone.
    """
    order = sorted(range(len(num_tokens)), key=lambda row: (-num_tokens[row], row))
    groups: list[list[int]] = []
    num_real = longest = 0
    for row in order:
        area = (len(groups[-1]) + 1) * longest if groups else 0
        is_dense = num_real + num_tokens[row] >= (1 - max_padding_share) * area or area - longest < min_tokens
        if groups and is_dense and (max_tokens is None or area <= max_tokens):
            groups[-1].append(row)
            num_real += num_tokens[row]
        else:
            groups.append([row])
            num_real = longest = num_tokens[row]
    return groups


@dataclass(frozen=True)
class Rollouts:
    """What the policy proposed: B sampled answers, exactly as sampled.

    Samples of one prompt stand together: row p * samples_per_prompt + g is sample g of prompt p.
    logprob_BT: nats at `temperature`, float32, zero where masked; mask_BT: True = a token the policy chose (interior
    False = tool output).  is_finished_B: the answer ended with EOS rather than at the length limit.
    tokenizer: whose ids these are, as `models.chat.tokenizer_digest` has it; a reward model reads none but its own.
    """

    prompts: tuple[Prompt, ...]
    sequences: tuple[TokenSequence, ...]
    texts: tuple[str, ...]
    logprob_BT: Tensor
    mask_BT: Tensor
    is_finished_B: Tensor
    samples_per_prompt: int = 1
    policy_id: str = ""
    policy_version: int = 0
    temperature: float = 1.0
    seeds: tuple[int, ...] = ()
    tokenizer: str = ""

    def __len__(self) -> int:
        return len(self.prompts)

    def completions(self, *, with_logprobs: bool = True) -> list[Completion]:
        """The same answers as records, for scorers, files and people; scorers do without log-probabilities."""
        logprobs = self.logprob_BT.tolist() if with_logprobs else [()] * len(self)
        return [
            Completion(
                prompt=prompt,
                text=text,
                token_ids=sequence.response_ids,
                logprobs=tuple(logprobs[row][: len(sequence.response_ids)]),
                finish_reason="stop" if bool(self.is_finished_B[row]) else "length",
                policy_id=self.policy_id,
                policy_version=self.policy_version,
                temperature=self.temperature,
                seed=self.seeds[row] if self.seeds else 0,
                tokenizer=self.tokenizer,
            )
            for row, (prompt, sequence, text) in enumerate(zip(self.prompts, self.sequences, self.texts, strict=True))
        ]


@dataclass(frozen=True)
class Experience:
    """Rollouts with everything the update needs to know about them, all as the policy stood when it sampled.

    score_B: terminal reward per answer (z-scored, clipped, missing-EOS rule applied).  parts: the scorer's named parts,
    each (B,).  reference_logprob_BT: nats under the frozen reference.  value_BT: the critic's estimate before token t,
    None without a critic.
    """

    rollouts: Rollouts
    score_B: Tensor
    reference_logprob_BT: Tensor
    value_BT: Tensor | None = None
    parts: dict[str, Tensor] = field(default_factory=dict)

    @property
    def mask_BT(self) -> Tensor:
        return self.rollouts.mask_BT

    @property
    def logprob_BT(self) -> Tensor:
        return self.rollouts.logprob_BT


def select_rows(rollouts: Rollouts, rows: Sequence[int]) -> Rollouts:
    """Return the given rows, in the given order, as rollouts of their own (columns are kept)."""
    index = list(rows)

    def of(figure: Any) -> Any:
        if isinstance(figure, Tensor):
            return figure[index]
        return tuple(figure[row] for row in index) if figure and isinstance(figure, tuple) else figure

    return replace(rollouts, **{name: of(figure) for name, figure in vars(rollouts).items()})


@functools.lru_cache(maxsize=8)
def epoch_order(num_rows: int, *, seed: int, epoch: int) -> tuple[int, ...]:
    """Shuffle row numbers; a function of (seed, epoch) alone, so that a resumed run sees the same order."""
    generator = torch.Generator().manual_seed(derived_seed(seed, "epoch", epoch))
    return tuple(torch.randperm(num_rows, generator=generator).tolist())


def derived_seed(seed: int, *path: int | str) -> int:
    """Return a 63-bit seed for one use of randomness, named by its path.

    All randomness in KLeash is a function of (run seed, what it is for), never of how much was drawn before. That is
    what makes a resumed run identical to an uninterrupted one without saving generator states.
    """
    digest = hashlib.sha256("/".join(map(str, (seed, *path))).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def batch_rows(num_rows: int, *, batch_size: int, step: int, seed: int) -> list[int]:
    """Return the rows of one step out of endless shuffled epochs; any step can be reached directly."""
    if num_rows == 0:
        raise DataError(
            "There are no rows to draw batches from. Expected at least one. Run `kleash data check` on the file."
        )
    places = range(step * batch_size, (step + 1) * batch_size)
    return [epoch_order(num_rows, seed=seed, epoch=index // num_rows)[index % num_rows] for index in places]
