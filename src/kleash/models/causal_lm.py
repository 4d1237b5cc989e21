"""Language models: load a Hugging Face folder, compute log-probabilities of responses, save again.

`LanguageModel` is what SFT, DPO, PPO and the samplers share. It knows no loss, no optimiser and no batch schedule;
the head's arithmetic is in `head_logprobs.py`, adapters are in `lora.py`, folders and tokenizers in `folders.py`.
Batches are padded on the right and run without an attention mask: under a causal model what comes after a token
cannot change it, and without a mask the fused causal attention is used. Loading proves both on the model itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

import torch
import transformers
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache, LinearAttentionLayer

from kleash.data.batches import TokenBatch, TokenSequence, token_batch
from kleash.errors import ModelError
from kleash.maths.logprobs import LogprobsEntropy, logprobs_and_entropy
from kleash.models import folders
from kleash.models.head_logprobs import HeadWorkspace, head_logprobs
from kleash.models.last_layer import LastFeedForward
from kleash.models.lora import ADAPTER, adapter_stack, live_stack, put_on
from kleash.models.precision import Precision, agree, cast_once, computing, in_float32
from kleash.models.recomputing import RecomputedLayers
from kleash.models.rendering import Rendering, rendering_of
from kleash.models.shared_base import Role, load_on_base
from kleash.screen import say

if TYPE_CHECKING:
    from kleash.models.heads import ValueHead

MAX_MERGE_GAP = 0.05
"""Nats per token in the mean: merged weights further from the trained model are another model."""


@dataclass(frozen=True)
class ResponseOutputs:
    """What a model says of the responses of a batch: (B, T), nats, zero where masked; value_BT with a value head."""

    logprob_BT: Tensor
    entropy_BT: Tensor
    value_BT: Tensor | None = None


class MergeGap(NamedTuple):
    """How far merged weights' log-probabilities per token are from the live model's, nats.

    mean, max: of the weights alone, both computed in float32.  mean_as_trained: in the model's precision, where
    rounding alone makes some hundredths in bfloat16.
    """

    mean: float
    max: float
    mean_as_trained: float


class LanguageModel:
    """A causal language model with its tokenizer, on one device.

    rendering: how prompts and responses are put to it.  loading: how it was loaded.  role: whose adapter on a shared
    base it is; None for a model of its own.  pad_id: fills padding; never an EOS.  max_positions: longest sequence.
    """

    def __init__(
        self,
        model: Any,
        rendering: Rendering,
        *,
        loading: folders.Loading = folders.DEFAULT_LOADING,
        role: Role | None = None,
    ) -> None:
        self.model = model
        self.rendering = rendering
        self.tokenizer, self.eos_ids = rendering.tokenizer, rendering.eos_ids
        self.precision: Precision = loading["dtype"]
        self.vocabulary_size: int = model.get_input_embeddings().weight.shape[0]
        self.pad_id = folders.choose_pad_id(self.tokenizer, self.eos_ids, self.vocabulary_size)
        self.max_positions = folders.position_limit(model.config)
        self.role = role
        self._workspace = HeadWorkspace()
        self._has_plain_head = _probe(model)
        self._last_feed_forward = LastFeedForward(model.base_model)
        self._recomputed = RecomputedLayers(model, is_on=loading["gradient_checkpointing"])

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def has_adapters(self) -> bool:
        return self.role is not None and self.role.adapter is not None

    @property
    def is_exact(self) -> bool:
        """Whether sampling and a training forward give the same log-probabilities, but for float32's rounding."""
        return self.precision == "float32"

    def computing(self) -> AbstractContextManager[Any]:
        """Compute as this model: in its precision, with its adapter."""
        if self.role is not None:
            self.role.activate()
        return computing(self.precision, self.device)

    def decoding(self) -> AbstractContextManager[Any]:
        """Decode token by token, without gradients: weights that autocast would cast at each step are cast once."""
        return cast_once(self.model) if self.precision == "bfloat16_autocast" else nullcontext()

    def response_outputs(
        self, batch: TokenBatch, *, temperature: float = 1.0, value_head: ValueHead | None = None
    ) -> ResponseOutputs:
        """Run the model over a batch and return log-probability and entropy of each response token, and its value.

            logprob[b, t] = log softmax(logits / temperature)[response token t]

        The body runs once over the whole batch, its last feed-forward part and the head only where a response token is
        predicted; the head in float32.
        The entropy, in nats, is of the same tempered distribution. value_head: reads the trunk's state before each
        token. Gradients flow into the weights from logprob and value, not from entropy.
        Raises ModelError for a batch longer than max_positions.
        """
        folders.check_length(batch, self.max_positions)
        row_N, position_N = batch.predicting_positions()
        flat_N = row_N * batch.ids_BS.shape[1] + position_N
        mask_BT = batch.response_mask_BT
        hidden_ND = None
        if self._has_plain_head or value_head is not None:
            with self.computing(), self._recomputed.in_forward(), self._last_feed_forward.only_at(flat_N):
                hidden_BSD = self.model.base_model(input_ids=batch.ids_BS, use_cache=False).last_hidden_state
            hidden_ND = self._guarded(hidden_BSD).flatten(0, 1).index_select(0, flat_N)
        figures = self._figures(batch, hidden_ND, flat_N, temperature)
        value_N = value_head(hidden_ND) if value_head is not None else None
        return ResponseOutputs(
            _place(figures.logprob_N, mask_BT),
            _place(figures.entropy_N, mask_BT),
            None if value_N is None else _place(value_N, mask_BT),
        )

    def trainable_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield what is trained, by name: everything, or the adapter."""
        weights = self.model.named_parameters() if self.role is None else self.role.parameters()
        return ((name, weight) for name, weight in weights if weight.requires_grad)

    def named_weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield every weight under its Hugging Face name, adapters merged in."""
        return iter(self.model.state_dict().items()) if self.role is None else self.role.merged_weights()

    def save(self, folder: str | Path, *, probes: Sequence[TokenSequence] = ()) -> MergeGap | None:
        """Write a Hugging Face folder: safetensors in float32, tokenizer, generation settings.

        With an adapter, the adapter itself goes into `adapter/` with its base's digest, and what is written beside it
        is derived: all weights, the adapter merged in. How far their log-probabilities are from this
        model's on the probes is returned; weights more than MAX_MERGE_GAP away are not written, which the screen says.
        Not atomic: the artifact layer writes into a partial folder and renames it.
        """
        folder = Path(folder)
        self.model.generation_config.eos_token_id = list(self.eos_ids) if len(self.eos_ids) > 1 else self.eos_ids[0]
        gap = None
        if self.role is not None and self.role.adapter is not None:
            self.role.save(folder / ADAPTER)
            gap = self._merge_gap(self.role, probes) if probes else None
        if gap is None or gap.mean <= MAX_MERGE_GAP:
            folders.save_merged(self.model, self.named_weights(), folder)
        else:
            say(
                f"Merged into its base, the adapter would be {gap.mean:.2g} nats per token away from the model "
                f"that was trained (up to {gap.max:.2g}). Expected at most {MAX_MERGE_GAP}: {folder} holds the "
                f"adapter ({ADAPTER}/) alone, which needs its base."
            )
            self.model.config.save_pretrained(str(folder))
            self.model.generation_config.save_pretrained(str(folder))
        self.tokenizer.save_pretrained(str(folder))
        return gap

    @torch.no_grad()
    def _merge_gap(self, role: Role, probes: Sequence[TokenSequence]) -> MergeGap:
        """Measure what merging moves each token's log-probability by, in float32 and as the model computes."""
        batch = token_batch(probes, pad_id=self.pad_id, device=self.device)

        def gap_N() -> Tensor:
            live_BT = self.response_outputs(batch).logprob_BT
            with role.as_merged():
                return (live_BT - self.response_outputs(batch).logprob_BT).abs()[batch.response_mask_BT]

        as_trained, used = float(gap_N().mean()), self.precision
        self.precision = "float32"
        with in_float32(self.model):
            exact_N = gap_N()
        self.precision = used
        return MergeGap(float(exact_N.mean()), float(exact_N.max()), as_trained)

    def _guarded(self, output: Tensor) -> Tensor:
        return output if self.role is None else self.role.guarded(output)

    def _figures(
        self, batch: TokenBatch, hidden_ND: Tensor | None, flat_N: Tensor, temperature: float
    ) -> LogprobsEntropy:
        target_N = batch.response_ids_N()
        if self._has_plain_head and hidden_ND is not None:
            head = self.model.get_output_embeddings()
            return head_logprobs(
                hidden_ND, head.weight, head.bias, target_N, temperature=temperature, workspace=self._workspace
            )
        with self.computing(), self._recomputed.in_forward():
            logits_BSV = self.model(input_ids=batch.ids_BS, use_cache=False).logits
        return logprobs_and_entropy(
            self._guarded(logits_BSV).flatten(0, 1).index_select(0, flat_N), target_N, temperature=temperature
        )


@folders.clear_model_errors
def load_language_model(
    folder: str | Path,
    *,
    is_trained: bool = True,
    role: str = "policy",
    whole: bool = False,
    **given: Unpack[folders.Loading],
) -> LanguageModel:
    """Load a causal language model, in eval mode with every dropout at zero.

    folder: a Hugging Face folder, an adapter folder (its base is loaded first), or `hub:owner/name`.
    dtype: see `precision.py`.  gradient_checkpointing: see `recomputing.py`.
    lora: train an adapter instead of the weights; an adapter folder goes on training its own.  is_trained: with an
    adapter, whether it learns or is frozen.  role: the adapter's name on its base.  bases: what is in memory already.
    whole: a model of its own whatever the folder holds, adapters merged in.
    eos_token: the token, or its id, that ends a text, for models whose settings name another.
    turns, system_prompt: how plain prompts are put to it; see `RenderingSettings`.
    Raises ModelError for what cannot be loaded: no such folder, pickled weights, weights missing, not a causal model.
    """
    loading: folders.Loading = {**folders.DEFAULT_LOADING, **given}
    path = folders.find_model_folder(folder)
    stack = adapter_stack(path) if whole else live_stack(path)
    _require_cached_decoding(folders.load_config(stack[0], trust_remote_code=loading["trust_remote_code"]), path)
    load = partial(folders.load_weights, transformers.AutoModelForCausalLM, stack[0], loading)
    if whole:
        model, own_role = put_on(load(), stack), None
    else:
        model, own_role = load_on_base(stack, load, loading, kind="causal", role=role, is_trained=is_trained)
    return LanguageModel(model.eval(), rendering_of(model, path, stack, loading), loading=loading, role=own_role)


def _require_cached_decoding(config: Any, folder: Path) -> None:
    """Refuse an architecture that keeps its past in another form than the cache that the sampler hands it.

    Such a model would forget its context after the first token, and say nothing. Raises ModelError.
    """
    model_class: Any = transformers.AutoModelForCausalLM._model_mapping.get(type(config), None)
    if hasattr(model_class, "forward") and "past_key_values" not in inspect.signature(model_class.forward).parameters:
        raise ModelError(
            f"{folder} is a {config.model_type} model, which keeps its past in a state of its own. Expected a model "
            "that decodes with a cache of keys and values, for the sampler would forget the context otherwise. Use a "
            "transformer (Llama, Qwen, GPT ...) or one of the hybrids that docs/models.md lists."
        )


@torch.no_grad()
def _probe(model: Any) -> bool:
    """Tell whether logits are simply head(body(ids)), and prove that later tokens change nothing before them.

    Some architectures scale or cap their logits after the head; for those the model's own forward is used.
    Raises ModelError for a model that looks ahead, such as an encoder.
    """
    vocabulary_size = model.get_input_embeddings().weight.shape[0]
    ids_BS = torch.arange(1, 9, device=next(model.parameters()).device).remainder(vocabulary_size)[None]
    logits_BSV = model(input_ids=ids_BS, use_cache=False).logits
    shorter_BSV = model(input_ids=ids_BS[:, :4], use_cache=False).logits
    if not agree(logits_BSV[:, :4], shorter_BSV, rtol=1e-3, atol=1e-3):
        raise ModelError(
            f"In this {model.config.model_type} model the tokens that follow change the logits before them. Expected a "
            "causal language model. Use a decoder (GPT, Llama, Qwen ...), not an encoder."
        )
    _require_recurrence_to_last(model, ids_BS, logits_BSV)
    head = model.get_output_embeddings()
    if type(head) is not nn.Linear:
        return False
    hidden_BSD = model.base_model(input_ids=ids_BS, use_cache=False).last_hidden_state
    return hidden_BSD.shape[-1] == head.in_features and agree(head(hidden_BSD), logits_BSV, rtol=1e-4, atol=1e-5)


def _require_recurrence_to_last(model: Any, ids_1S: Tensor, logits_1SV: Tensor) -> None:
    """Prove that a hybrid's recurrent layers skip padding on the left and go on from their cache. Raises ModelError."""
    cache = DynamicCache(config=model.config)
    if not any(isinstance(layer, LinearAttentionLayer) for layer in cache.layers):
        return
    mask_1S = torch.cat([torch.zeros_like(ids_1S[:, :2]), torch.ones_like(ids_1S)], dim=1)
    position_1S = (mask_1S.cumsum(1) - 1).clamp(min=0)
    padded_1S = torch.cat([ids_1S[:, -2:], ids_1S], dim=1)
    for part in (slice(0, -1), slice(-1, None)):
        step_1SV = model(
            input_ids=padded_1S[:, part],
            attention_mask=mask_1S[:, : part.stop],
            position_ids=position_1S[:, part],
            past_key_values=cache,
            use_cache=True,
        ).logits
    if not agree(step_1SV[:, -1], logits_1SV[:, -1], rtol=1e-3, atol=1e-2):
        raise ModelError(
            f"The recurrent layers of this {model.config.model_type} model read padding before a prompt, or lose their "
            "state between tokens. Expected decoding in a batch to give what a plain forward gives. Use a transformer "
            "(Llama, Qwen, GPT ...) or one of the hybrids that docs/models.md lists."
        )


def _place(figure_N: Tensor, mask_BT: Tensor) -> Tensor:
    """Put per-token figures in their places, zero elsewhere."""
    return torch.zeros(mask_BT.shape, device=mask_BT.device).masked_scatter(mask_BT, figure_N.float())
