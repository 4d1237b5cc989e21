"""Decode answers token by token with a KV cache: token ids in, token ids and their exact log-probabilities out.

All rows advance together, one token a step. Prompts are padded on the left, so that every row's next token has the
same column; a prompt asked several times is read once. Rows that have ended leave the batch. Works on any Hugging
Face causal language model. Records, texts and versions are `local.py`'s business, how one token is chosen is
`choosing.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer, LinearAttentionLayer

from kleash.errors import RunError
from kleash.models.causal_lm import LanguageModel
from kleash.rollout.choosing import ALL_TOKENS, Among, choose, uniforms

# Ended rows leave once they are this share of the batch: copying the cache costs about as much as a step or two.
LEAVE_SHARE = 0.25

# Columns a full cache grows by. Growing copies it, so by one column at a time every step would copy everything.
ROOM_COLUMNS = 64


# Steps between looks at who has ended: to look, the processor waits for the card. What has ended is fed on till then.
LOOK_EVERY = 8


@dataclass(frozen=True)
class Ask:
    """One answer to sample: its prompt, its token limit and the seed of its own random numbers."""

    prompt_ids: tuple[int, ...]
    max_new_tokens: int
    seed: int


@dataclass(frozen=True)
class Answer:
    """Sampled tokens with their log-probabilities in nats; is_finished: the last token is an EOS."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    is_finished: bool


@torch.no_grad()
def sample_answers(
    language_model: LanguageModel,
    asks: Sequence[Ask],
    *,
    temperature: float,
    among: Among = ALL_TOKENS,
    on_done: Callable[[int], None] = lambda num_done: None,
) -> list[Answer]:
    """Sample one answer per ask, all in one batch; on_done hears how many have ended since it was last called.

    Raises RunError when the model gives no probabilities (NaN or infinite logits).
    """
    device = language_model.device
    num_steps = max(ask.max_new_tokens for ask in asks)
    limit_R = torch.tensor([ask.max_new_tokens for ask in asks], device=device)
    eos_E = torch.tensor(language_model.eos_ids, device=device)
    uniform_RT = uniforms([ask.seed for ask in asks], num_steps).to(device)
    token_BT = torch.zeros(len(asks), num_steps, dtype=torch.long, device=device)
    logprob_BT = torch.zeros(len(asks), num_steps, device=device)
    row_R = torch.arange(len(asks), device=device)
    is_live_R = torch.ones(len(asks), dtype=torch.bool, device=device)
    num_live = len(asks)
    look_every = 1 if device.type == "cpu" else LOOK_EVERY
    with language_model.decoding():
        batch = DecodeBatch(language_model, [ask.prompt_ids for ask in asks])
        for step in range(num_steps):
            token_R, logprob_R = choose(batch.logits_RV, uniform_RT[:, step], temperature=temperature, among=among)
            token_BT[row_R, step] = token_R
            logprob_BT[row_R, step] = logprob_R
            is_live_R = is_live_R & ~torch.isin(token_R, eos_E) & (limit_R > step + 1)
            if (step + 1) % look_every == 0 or step + 1 == num_steps:
                num_live_before, num_live = num_live, int(is_live_R.sum())
                if num_live < num_live_before:
                    on_done(num_live_before - num_live)
                if num_live == 0:
                    break
                if num_live <= (1 - LEAVE_SHARE) * len(row_R):
                    index_K = is_live_R.nonzero()[:, 0]
                    batch.keep(index_K)
                    row_R, limit_R, token_R = row_R[index_K], limit_R[index_K], token_R[index_K]
                    uniform_RT, is_live_R = uniform_RT[index_K], is_live_R[index_K]
            batch.append(token_R)
    columns = zip(asks, token_BT.tolist(), logprob_BT.tolist(), strict=True)
    return [_cut(ask, tokens, logprobs, language_model.eos_ids) for ask, tokens, logprobs in columns]


@torch.no_grad()
def stream_tokens(
    language_model: LanguageModel, ask: Ask, *, temperature: float, among: Among = ALL_TOKENS
) -> Iterator[int]:
    """Sample one answer and yield its tokens as they come, the EOS included; the same ones as `sample_answers`."""
    batch = DecodeBatch(language_model, [ask.prompt_ids])
    uniform_T = uniforms([ask.seed], ask.max_new_tokens)[0].to(language_model.device)
    for step in range(ask.max_new_tokens):
        uniform_R = uniform_T[step : step + 1]
        token_R, logprob_R = choose(batch.logits_RV, uniform_R, temperature=temperature, among=among)
        _require_finite(float(logprob_R))
        yield int(token_R)
        if int(token_R) in language_model.eos_ids:
            return
        if step + 1 < ask.max_new_tokens:
            batch.append(token_R)


class DecodeBatch:
    """R rows being decoded in step: logits_RV, (R, V), float32, predicts each row's next token.

    Rows are not told apart from their neighbours: what has ended is fed on until `keep` drops it, unharmed and unread.
    """

    def __init__(self, language_model: LanguageModel, prompts: Sequence[tuple[int, ...]]) -> None:
        self._language_model = language_model
        self._cache = DynamicCache(config=language_model.model.config)
        self._cache.layers = [RoomyLayer() if type(layer) is DynamicLayer else layer for layer in self._cache.layers]
        distinct = list(dict.fromkeys(prompts))
        ids_RS, mask_RS = self._left_padded(distinct)
        self._num_columns = ids_RS.shape[1]
        # Without padding no mask is needed, and the fused attention kernels prefer none.
        self._mask_RS = None if bool(mask_RS.all()) else mask_RS
        position_RS = (mask_RS.cumsum(1) - 1).clamp_(min=0)
        self._position_R1 = position_RS[:, -1:].clone()
        self.logits_RV = self._forward(ids_RS, position_RS)
        if len(distinct) < len(prompts):
            row_of = {prompt: row for row, prompt in enumerate(distinct)}
            self.keep(torch.tensor([row_of[prompt] for prompt in prompts], device=language_model.device))

    def append(self, token_R: Tensor) -> None:
        """Give every row its next token and compute the logits of the one after."""
        self._num_columns += 1
        if self._mask_RS is not None and self._mask_RS.shape[1] < self._num_columns:
            room_RS = self._mask_RS.new_ones(len(self._mask_RS), ROOM_COLUMNS)
            self._mask_RS = torch.cat([self._mask_RS, room_RS], dim=1)
        # Rows that have ended go on to be fed; past the last position an embedding table would be read out of bounds.
        self._position_R1 = (self._position_R1 + 1).clamp_(max=self._language_model.max_positions - 1)
        self.logits_RV = self._forward(token_R[:, None], self._position_R1)

    def keep(self, index_K: Tensor) -> None:
        """Go on with these rows, in this order; one may be named several times."""
        for layer in self._cache.layers:
            # hybrids' recurrent layers know no selection, but their reordering may leave rows out and repeat them
            select = layer.reorder_cache if isinstance(layer, LinearAttentionLayer) else layer.batch_select_indices
            select(index_K)
        self._position_R1 = self._position_R1[index_K]
        self.logits_RV = self.logits_RV[index_K]
        if self._mask_RS is not None:
            self._mask_RS = self._mask_RS[index_K]

    def _forward(self, ids_RS: Tensor, position_RS: Tensor) -> Tensor:
        mask_RS = None if self._mask_RS is None else self._mask_RS[:, : self._num_columns]
        with self._language_model.computing():
            outputs = self._language_model.model(
                input_ids=ids_RS,
                attention_mask=mask_RS,
                position_ids=position_RS,
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
            )
        return outputs.logits[:, -1].float()

    def _left_padded(self, prompts: Sequence[tuple[int, ...]]) -> tuple[Tensor, Tensor]:
        """Return ids and mask, (R, S), every prompt ending in the last column."""
        width = max(len(prompt) for prompt in prompts)
        pad_id = self._language_model.pad_id
        ids_RS = torch.tensor([[pad_id] * (width - len(prompt)) + list(prompt) for prompt in prompts])
        length_R1 = torch.tensor([len(prompt) for prompt in prompts])[:, None]
        mask_RS = (torch.arange(width) >= width - length_R1).long()
        return ids_RS.to(self._language_model.device), mask_RS.to(self._language_model.device)


class RoomyLayer(DynamicLayer):
    """A layer's keys and values in buffers with room to spare, so that a step writes one column and copies none."""

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
        self._buffers = (self.keys, self.values)
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write the new columns and return all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.keys.shape[2]
        end = start + key_states.shape[2]
        if end > self._buffers[0].shape[2]:
            rows_R = torch.arange(len(key_states), device=key_states.device)
            self._buffers = (_roomy(self.keys, rows_R, end), _roomy(self.values, rows_R, end))
        self._buffers[0][:, :, start:end] = key_states
        self._buffers[1][:, :, start:end] = value_states
        self.keys, self.values = self._buffers[0][:, :, :end], self._buffers[1][:, :, :end]
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Go on with the given rows, in buffers of their own."""
        width = self.keys.shape[2]
        self._buffers = (_roomy(self.keys, indices, width), _roomy(self.values, indices, width))
        self.keys, self.values = self._buffers[0][:, :, :width], self._buffers[1][:, :, :width]


def _roomy(states: Tensor, rows_K: Tensor, num_columns: int) -> Tensor:
    """Copy the given rows of (R, heads, columns, D) into a buffer of num_columns and room."""
    _, num_heads, width, size = states.shape
    buffer = states.new_empty(len(rows_K), num_heads, num_columns + ROOM_COLUMNS, size)
    buffer[:, :, :width] = states[rows_K]
    return buffer


def _cut(ask: Ask, tokens: Sequence[int], logprobs: Sequence[float], eos_ids: tuple[int, ...]) -> Answer:
    """End an answer with its first EOS, or at its limit."""
    length = next((index + 1 for index, token in enumerate(tokens) if token in eos_ids), ask.max_new_tokens)
    length = min(length, ask.max_new_tokens)
    _require_finite(sum(logprobs[:length]))
    return Answer(tuple(tokens[:length]), tuple(logprobs[:length]), is_finished=tokens[length - 1] in eos_ids)


def _require_finite(logprob: float) -> None:
    if not -float("inf") < logprob < float("inf"):
        raise RunError(
            f"The model gave a token the log-probability {logprob}. Expected a finite number: its weights or logits "
            "hold NaN or infinity. Go back to an earlier checkpoint and lower the learning rate, or compute in float32."
        )
