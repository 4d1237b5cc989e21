"""Language models: load a Hugging Face folder, compute log-probabilities of responses, save again.

`LanguageModel` is what SFT, DPO, PPO and the samplers share. It knows no loss, no optimiser and no batch schedule;
the head's arithmetic is in `head_logprobs.py`, adapters are in `lora.py`, folders and tokenizers in `folders.py`.
Batches are padded on the right and run without an attention mask: under a causal model what comes after a token
cannot change it, and without a mask the fused causal attention is used. Loading proves both on the model itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache, LinearAttentionLayer

from kleash.data.batches import TokenBatch
from kleash.errors import ModelError
from kleash.models import folders
from kleash.models.head_logprobs import HeadWorkspace, TokenFigures, head_logprobs, logits_logprobs
from kleash.models.last_layer import LastFeedForward
from kleash.models.lora import Adapters, LoraSettings, adapter_stack, merged_weights, put_on, uppermost
from kleash.models.precision import Precision, agree, cast_once, computing
from kleash.models.recomputing import RecomputedLayers
from kleash.models.rendering import Rendering, Turns, load_rendering

if TYPE_CHECKING:
    from kleash.models.heads import ValueHead


@dataclass(frozen=True)
class ResponseOutputs:
    """What a model says of the responses of a batch: (B, T), nats, zero where masked; value_BT with a value head."""

    logprob_BT: Tensor
    entropy_BT: Tensor
    value_BT: Tensor | None = None


class LanguageModel:
    """A causal language model with its tokenizer, on one device.

    eos_ids: ids that end a response.  rendering: how prompts and responses are put to it; by default as its tokenizer
    has it.  pad_id: fills padding; never an EOS.
    max_positions: longest sequence, in tokens.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        eos_ids: tuple[int, ...],
        rendering: Rendering | None = None,
        precision: Precision = "float32",
        gradient_checkpointing: bool = False,
        adapters: Adapters | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.rendering = rendering or Rendering(tokenizer, eos_ids)
        self.eos_ids = self.rendering.eos_ids
        self.precision: Precision = precision
        self.vocabulary_size: int = model.get_input_embeddings().weight.shape[0]
        self.pad_id = folders.choose_pad_id(tokenizer, self.eos_ids, self.vocabulary_size)
        self.max_positions = folders.position_limit(model.config)
        self._adapters = adapters
        self._workspace = HeadWorkspace()
        self._has_plain_head = _probe(model)
        self._last_feed_forward = LastFeedForward(model.base_model)
        self._recomputed = RecomputedLayers(model, is_on=gradient_checkpointing)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def has_adapters(self) -> bool:
        return self._adapters is not None

    @property
    def is_exact(self) -> bool:
        """Whether sampling and a training forward give the same log-probabilities, but for float32's rounding."""
        return self.precision == "float32"

    def computing(self) -> AbstractContextManager[Any]:
        """Compute in the model's precision."""
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
        self._check_length(batch)
        row_N, position_N = batch.predicting_positions()
        flat_N = row_N * batch.ids_BS.shape[1] + position_N
        mask_BT = batch.response_mask_BT
        hidden_ND = None
        if self._has_plain_head or value_head is not None:
            with self.computing(), self._recomputed.in_forward(), self._last_feed_forward.only_at(flat_N):
                hidden_BSD = self.model.base_model(input_ids=batch.ids_BS, use_cache=False).last_hidden_state
            hidden_ND = hidden_BSD.flatten(0, 1).index_select(0, flat_N)
        figures = self._figures(batch, hidden_ND, flat_N, temperature)
        value_N = value_head(hidden_ND) if value_head is not None else None
        return ResponseOutputs(
            _place(figures.logprob_N, mask_BT),
            _place(figures.entropy_N, mask_BT),
            None if value_N is None else _place(value_N, mask_BT),
        )

    def trainable_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield what is trained, by name: everything, or the `policy` adapter."""
        return ((name, weight) for name, weight in self.model.named_parameters() if weight.requires_grad)

    def named_weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield every weight under its Hugging Face name, adapters merged in."""
        return merged_weights(self.model)

    def freeze_reference(self) -> None:
        """Keep the policy adapter, as it stands, as the reference. Raises ModelError in full fine-tuning."""
        self._require_adapters().freeze_reference()

    @contextmanager
    def using_reference(self) -> Iterator[None]:
        """Answer as the frozen reference for this long. Raises ModelError in full fine-tuning."""
        with self._require_adapters().using_reference():
            yield

    def save(self, folder: str | Path) -> None:
        """Write a Hugging Face folder: safetensors with adapters merged, tokenizer, generation settings.

        Not atomic: the artifact layer writes into a partial folder and renames it.
        """
        self.model.generation_config.eos_token_id = list(self.eos_ids) if len(self.eos_ids) > 1 else self.eos_ids[0]
        weights = dict(self.named_weights())
        if self._adapters is not None:
            self._adapters.check_merged(weights)
        folders.save_weights(self.model, Path(folder), state_dict=weights)
        self.tokenizer.save_pretrained(str(folder))

    def save_adapter(self, folder: str | Path) -> None:
        """Write the policy adapter alone, with path and digest of its base. Raises ModelError in full fine-tuning."""
        self._require_adapters().save(Path(folder))
        self.tokenizer.save_pretrained(str(folder))

    def _require_adapters(self) -> Adapters:
        if self._adapters is None:
            raise ModelError(
                "The model is trained in full, so it holds neither an adapter nor a reference. Expected a model with "
                "LoRA adapters. Load the reference as a second model, or set `lora`."
            )
        return self._adapters

    def _check_length(self, batch: TokenBatch) -> None:
        width = batch.ids_BS.shape[1]
        if width > self.max_positions:
            raise ModelError(
                f"A sequence of the batch has {width} tokens. Expected at most {self.max_positions}, the positions the "
                "model knows. Lower the limits on prompt and response tokens, or truncate the data."
            )

    def _figures(self, batch: TokenBatch, hidden_ND: Tensor | None, flat_N: Tensor, temperature: float) -> TokenFigures:
        target_N = batch.response_ids_N()
        if self._has_plain_head and hidden_ND is not None:
            head = self.model.get_output_embeddings()
            return head_logprobs(
                hidden_ND, head.weight, head.bias, target_N, temperature=temperature, workspace=self._workspace
            )
        with self.computing(), self._recomputed.in_forward():
            logits_BSV = self.model(input_ids=batch.ids_BS, use_cache=False).logits
        return logits_logprobs(logits_BSV.flatten(0, 1).index_select(0, flat_N), target_N, temperature=temperature)


@folders.clear_model_errors
def load_language_model(
    folder: str | Path,
    *,
    device: str | torch.device = "auto",
    dtype: Precision = "float32",
    gradient_checkpointing: bool = False,
    lora: LoraSettings | None = None,
    trust_remote_code: bool = False,
    eos_token: str | int | None = None,
    turns: Turns = "auto",
    system_prompt: str | None = None,
) -> LanguageModel:
    """Load a causal language model for training, in eval mode with every dropout at zero.

    folder: a Hugging Face folder, an adapter folder (its base is loaded first), or `hub:owner/name`.
    dtype: see `precision.py`.  gradient_checkpointing: see `recomputing.py`.
    lora: train an adapter instead of the weights; an adapter folder goes on training its own.
    eos_token: the token, or its id, that ends a text, for models whose settings name another.
    turns, system_prompt: how plain prompts are put to it; see `RenderingSettings`.
    Raises ModelError for what cannot be loaded: no such folder, pickled weights, weights missing, not a causal model.
    """
    path = folders.find_model_folder(folder)
    stack = adapter_stack(path)
    _require_cached_decoding(folders.load_config(stack[0], trust_remote_code=trust_remote_code), path)
    model = folders.load_weights(
        transformers.AutoModelForCausalLM, stack[0], dtype=dtype, trust_remote_code=trust_remote_code
    )
    model.to(folders.resolve_device(device))
    model, adapters = put_on(model, stack, may_train=True)
    if adapters is None and lora is not None:
        adapters = Adapters.fresh(model, lora, base_folder=path)
    tokenizer_path = uppermost(stack, "tokenizer_config.json")  # not every adapter folder brings one
    tokenizer = folders.load_tokenizer(tokenizer_path, trust_remote_code=trust_remote_code)
    folders.check_vocabulary(path, model, tokenizer)
    generation_path = uppermost(stack, "generation_config.json")
    folders.check_generation_settings(generation_path, model.get_input_embeddings().weight.shape[0])
    eos_ids = folders.resolve_eos_ids(generation_path, model.config, tokenizer, eos_token)
    model.eval()
    rendering = load_rendering(path, tokenizer, eos_ids, turns=turns, system_prompt=system_prompt, eos_token=eos_token)
    return LanguageModel(
        model,
        tokenizer,
        eos_ids=eos_ids,
        rendering=rendering,
        precision=dtype,
        gradient_checkpointing=gradient_checkpointing,
        adapters=adapters,
    )


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
