"""Models that answer with a number: reward models, critics, and the value head on a policy's trunk.

A `ScalarModel` is a backbone and a linear head. Its portable form is a Hugging Face sequence-classification folder
with one label, which plain transformers scores identically: last real token, no bias. What that form cannot express
(mean pooling, encoders, biased heads) is saved with a head file of our own and never poses as a portable folder.
Training them is the reward stage's business, clipping and combining scores the judges'.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kleash.data.batches import TokenBatch
from kleash.durable import json_text
from kleash.errors import ModelError, RunError
from kleash.models import folders
from kleash.models.last_layer import LastFeedForward
from kleash.models.lora import adapter_shape, adapter_stack, put_on, uppermost
from kleash.models.precision import Precision, agree, computing
from kleash.models.recomputing import RecomputedLayers
from kleash.models.rendering import Rendering, Turns, load_rendering
from kleash.screen import say

Pooling = Literal["last", "mean"]

_HEAD_FILE = "head.safetensors"
_HEAD_SETTINGS_FILE = "kleash_head.json"
_BACKBONE_FOLDER = "backbone"
_NORMALISER_FILE = "kleash_reward.json"
_MEMBER = "member-"
_UNUSED_WEIGHTS = ("pooler.dense.weight", "pooler.dense.bias")  # encoders' own pooling, which ours replaces


class ValueHead(nn.Module):
    """Reads a value off each state of a policy's trunk; starts at zero, so that it does not mislead the first steps."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden_size, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, hidden_ND: Tensor) -> Tensor:
        return self.linear(hidden_ND.float())[:, 0]


@dataclass(frozen=True)
class RewardNormaliser:
    """z = (score - mean) / sd, with constants measured once on the reference policy's samples and then frozen.

    measured_with: how the model computed and read for that (dtype, device, eos_ids, ends_as_served); empty where it was
    not recorded.
    """

    mean: float = 0.0
    sd: float = 1.0
    measured_with: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def measured(cls, score_N: Tensor, model: ScalarModel) -> RewardNormaliser:
        """Return the constants of the reference policy's answers. Raises RunError when all have the same score."""
        sd = float(score_N.std())
        if not sd > 0:
            raise RunError(
                f"The reward model gives all {len(score_N)} answers of the reference policy the same score "
                f"{float(score_N[0]):.4g}. Expected them to differ. Train it longer, or check the preferences."
            )
        how = {"dtype": model.precision, "device": model.device.type, "eos_ids": list(model.eos_ids)}
        return cls(float(score_N.mean()), sd, how).read_as(model)

    def read_as(self, model: ScalarModel) -> RewardNormaliser:
        """Return the constants with a note if the model reads answers as its template serves them."""
        note = {"ends_as_served": True} if model.rendering.ends_as_served else {}
        return replace(self, measured_with={**self.measured_with, **note})

    def warn_of_precision(self, model: ScalarModel) -> None:
        """Say on the screen when the model computes in another precision than its scale was measured in."""
        scaled, used = self.measured_with.get("dtype", model.precision), model.precision
        if scaled != used:
            say(
                f"The scale of the reward model was measured in {scaled}, and it is used in {used}, which may shift "
                f'its scores by more than the differences between answers. Set model.dtype to "{scaled}".'
            )

    def save(self, folder: str | Path) -> None:
        """Write the constants beside a reward model."""
        (Path(folder) / _NORMALISER_FILE).write_text(json_text(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> RewardNormaliser:
        """Read a reward model's constants; a folder without them, such as anybody else's, is taken as it scores."""
        path = Path(folder) / _NORMALISER_FILE
        return cls(**json.loads(path.read_text())) if path.is_file() else cls()


class ScalarModel(nn.Module):
    """A backbone and a linear head: one score per sequence, or one value per response token.

    pooling: "last" reads the last real token's state, EOS included; "mean" averages all real tokens' states. Which
    tokens are real comes from lengths alone: in models trained elsewhere the pad id may equal the EOS.
    """

    def __init__(
        self,
        backbone: Any,
        head: nn.Linear,
        tokenizer: Any,
        *,
        eos_ids: tuple[int, ...],
        rendering: Rendering | None = None,
        pooling: Pooling = "last",
        precision: Precision = "float32",
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.tokenizer = tokenizer
        self.pooling: Pooling = pooling
        self.precision: Precision = precision
        self.max_positions = folders.position_limit(backbone.config, backbone)
        self.rendering = rendering or Rendering(tokenizer, eos_ids)
        self.eos_ids = self.rendering.eos_ids
        self.pad_id = folders.choose_pad_id(tokenizer, self.eos_ids, backbone.get_input_embeddings().weight.shape[0])
        self.is_causal = _is_causal(backbone)
        self._last_feed_forward = LastFeedForward(backbone)
        self._recomputed = RecomputedLayers(backbone, is_on=gradient_checkpointing)

    @property
    def device(self) -> torch.device:
        return self.head.weight.device

    @property
    def is_portable(self) -> bool:
        """Whether plain transformers can load and score the model identically."""
        can_be_expressed = self.pooling == "last" and self.is_causal and self.head.bias is None
        return can_be_expressed and hasattr(_empty_classifier(self.backbone.config), "score")

    def score(self, batch: TokenBatch) -> Tensor:
        """Return each sequence's raw score, (B,), float32. Gradients flow into backbone and head."""
        if self.pooling == "last":
            rows_B = torch.arange(len(batch.ids_BS), device=batch.ids_BS.device)
            return self._head_at(batch, rows_B * batch.ids_BS.shape[1] + batch.last_position_B)
        hidden_BSD = self._hidden(batch)
        real_BS1 = batch.attention_mask_BS[..., None]
        sum_BD = hidden_BSD.float().where(real_BS1, 0.0).sum(1)
        return self.head(sum_BD / real_BS1.sum(1))[:, 0]

    def values(self, batch: TokenBatch) -> Tensor:
        """Return the value of the state before each response token, (B, T), float32, zero where masked.

        Under mean pooling the state is the mean over the tokens so far. Gradients flow as in `score`.
        Raises ModelError for encoders, which see the answer before it is given.
        """
        if not self.is_causal:
            raise ModelError(
                f"A {self.backbone.config.model_type} model reads a whole answer at once, so it has no value before "
                "each token. Expected a causal backbone. Start the critic from a causal model."
            )
        row_N, position_N = batch.predicting_positions()
        flat_N = row_N * batch.ids_BS.shape[1] + position_N
        if self.pooling == "last":
            value_N = self._head_at(batch, flat_N)
        else:
            hidden_BSD = self._hidden(batch).float()
            num_tokens_S1 = torch.arange(1, hidden_BSD.shape[1] + 1, device=hidden_BSD.device)[:, None]
            mean_BSD = hidden_BSD.cumsum(1) / num_tokens_S1
            value_N = self.head(mean_BSD.flatten(0, 1).index_select(0, flat_N))[:, 0]
        mask_BT = batch.response_mask_BT
        return torch.zeros(mask_BT.shape, device=mask_BT.device).masked_scatter(mask_BT, value_N)

    def freeze_backbone(self, is_frozen: bool) -> None:
        """Train the head alone for a while, so that a fresh head does not contort the backbone; or train both again."""
        self.backbone.requires_grad_(not is_frozen)

    def save(self, folder: str | Path, tokenizer: Any = None) -> None:
        """Write the model: in the portable form if it has one, else with our own head file. Not atomic."""
        folder = Path(folder)
        config = self.backbone.config
        config.pad_token_id = self.pad_id
        config.eos_token_id = list(self.eos_ids) if len(self.eos_ids) > 1 else self.eos_ids[0]
        if self.is_portable:
            config.num_labels = 1
            classifier = _empty_classifier(config)
            setattr(classifier, classifier.base_model_prefix, self.backbone)
            classifier.score = self.head
            folders.save_weights(classifier, folder)
        else:
            folders.save_weights(self.backbone, folder / _BACKBONE_FOLDER)
            weights = {name: weight.detach().cpu().contiguous() for name, weight in self.head.state_dict().items()}
            save_file(weights, folder / _HEAD_FILE)
            (folder / _HEAD_SETTINGS_FILE).write_text(json_text({"pooling": self.pooling}, indent=2) + "\n")
        (tokenizer or self.tokenizer).save_pretrained(str(folder if self.is_portable else folder / _BACKBONE_FOLDER))

    def _head_at(self, batch: TokenBatch, flat_N: Tensor) -> Tensor:
        """Read the head at positions of the flattened batch, (N,); the last feed-forward part runs there alone."""
        with self._last_feed_forward.only_at(flat_N):
            hidden_BSD = self._hidden(batch)
        return self.head(hidden_BSD.flatten(0, 1).index_select(0, flat_N).float())[:, 0]

    def _hidden(self, batch: TokenBatch) -> Tensor:
        width = batch.ids_BS.shape[1]
        if width > self.max_positions:
            raise ModelError(
                f"A sequence of the batch has {width} tokens. Expected at most {self.max_positions}, the positions the "
                "reward model or critic knows. Lower the limits on prompt and response tokens, or truncate the data."
            )
        mask = {} if self.is_causal else {"attention_mask": batch.attention_mask_BS.long()}
        use_cache = {"use_cache": False} if self.is_causal else {}
        with computing(self.precision, self.device), self._recomputed.in_forward():
            return self.backbone(input_ids=batch.ids_BS, **mask, **use_cache).last_hidden_state


def member_folder(folder: str | Path, number: int) -> Path:
    """Return where a member of an ensemble lies: the first one in the folder itself, the others below it."""
    return Path(folder) / f"{_MEMBER}{number}" if number else Path(folder)


def member_folders(folder: str | Path) -> list[Path]:
    """Return the folders of all members of a reward model: the folder alone, unless it is an ensemble."""
    num_others = sum(1 for _ in Path(folder).glob(f"{_MEMBER}*"))
    return [member_folder(folder, number) for number in range(1 + num_others)]


@folders.clear_model_errors
def load_reward_model(
    folder: str | Path,
    *,
    device: str | torch.device = "auto",
    dtype: Precision = "float32",
    gradient_checkpointing: bool = False,
    trust_remote_code: bool = False,
    eos_token: str | int | None = None,
    turns: Turns = "auto",
    system_prompt: str | None = None,
) -> ScalarModel:
    """Load a reward model, ours or anybody's sequence-classification folder with one label, in eval mode.

    eos_token: yields to what the folder's scale was measured with, and to the folder's own where its tokenizer, such as
    a stranger's, lacks the token.  A stranger's reads an answer to where its chat template ends the conversation.
    Raises ModelError for folders of other kinds, several labels, or weights that are missing.
    """
    backbone_folder = Path(folder) / _BACKBONE_FOLDER
    pooling: Pooling = "last"
    if (Path(folder) / _HEAD_SETTINGS_FILE).is_file():
        path = folders.find_model_folder(backbone_folder)
        backbone = folders.load_weights(
            transformers.AutoModel, path, dtype=dtype, trust_remote_code=trust_remote_code, may_lack=_UNUSED_WEIGHTS
        )
        head, pooling = _read_head(Path(folder))
    else:
        path = folders.find_model_folder(folder)
        stack = adapter_stack(path)
        backbone, head = _read_classifier(stack, dtype=dtype, trust_remote_code=trust_remote_code)
        path = uppermost(stack, "tokenizer_config.json")
    tokenizer = folders.load_tokenizer(path, trust_remote_code=trust_remote_code)
    folders.check_vocabulary(path, backbone, tokenizer)
    if eos_token is not None and not folders.knows_token(tokenizer, eos_token):
        eos_token = None
    folders.check_generation_settings(path, backbone.get_input_embeddings().weight.shape[0])
    how = RewardNormaliser.load(folder).measured_with
    is_of_ours = (Path(folder) / _NORMALISER_FILE).is_file()
    eos_ids = tuple(how.get("eos_ids") or folders.resolve_eos_ids(path, backbone.config, tokenizer, eos_token))
    rendering = load_rendering(
        Path(folder),
        tokenizer,
        eos_ids,
        turns=turns,
        system_prompt=system_prompt,
        eos_token=eos_token,
        is_policy=False,
        ends_as_served=how.get("ends_as_served", not is_of_ours),
    )
    model = ScalarModel(
        backbone,
        head,
        tokenizer,
        eos_ids=eos_ids,
        rendering=rendering,
        pooling=pooling,
        precision=dtype,
        gradient_checkpointing=gradient_checkpointing,
    )
    return model.to(folders.resolve_device(device)).eval()


@folders.clear_model_errors
def reward_model_from(
    folder: str | Path,
    *,
    seed: int,
    pooling: Pooling = "last",
    device: str | torch.device = "auto",
    dtype: Precision = "float32",
    gradient_checkpointing: bool = False,
    trust_remote_code: bool = False,
    eos_token: str | int | None = None,
    turns: Turns = "auto",
    system_prompt: str | None = None,
) -> ScalarModel:
    """Start a reward model from a language model or an encoder: its backbone, and a fresh head without bias.

    The head's weights have standard deviation 1 / sqrt(d + 1), so that first scores spread by about one.
    """
    path = folders.find_model_folder(folder)
    stack = adapter_stack(path)
    if len(stack) > 1:  # made for the language model, whose names it has
        model = folders.load_weights(
            transformers.AutoModelForCausalLM, stack[0], dtype=dtype, trust_remote_code=trust_remote_code
        )
        backbone = put_on(model, stack)[0].base_model
    else:
        backbone = folders.load_weights(
            transformers.AutoModel,
            path,
            dtype=dtype,
            trust_remote_code=trust_remote_code,
            may_lack=_UNUSED_WEIGHTS,
            has_own_head=False,
        )
    head = nn.Linear(state_size(backbone), 1, bias=False)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        head.weight.normal_(0.0, 1 / math.sqrt(head.in_features + 1), generator=generator)
    tokenizer = folders.load_tokenizer(uppermost(stack, "tokenizer_config.json"), trust_remote_code=trust_remote_code)
    folders.check_vocabulary(path, backbone, tokenizer)
    folders.check_generation_settings(path, backbone.get_input_embeddings().weight.shape[0])
    eos_ids = folders.resolve_eos_ids(path, backbone.config, tokenizer, eos_token)
    rendering = load_rendering(
        path, tokenizer, eos_ids, turns=turns, system_prompt=system_prompt, eos_token=eos_token, is_policy=False
    )
    model = ScalarModel(
        backbone,
        head,
        tokenizer,
        eos_ids=eos_ids,
        rendering=rendering,
        pooling=pooling,
        precision=dtype,
        gradient_checkpointing=gradient_checkpointing,
    )
    return model.to(folders.resolve_device(device)).eval()


def critic_from_reward_model(model: ScalarModel, *, mean: float, sd: float, zero_head: bool) -> ScalarModel:
    """Turn a reward model into a critic, on the scale of z-scored returns.

        w <- w / sd,   b <- (b - mean) / sd

    mean, sd: the reward's normaliser, folded into the head.  zero_head: start at zero everywhere instead.
    """
    scored = model.head
    model.head = nn.Linear(scored.in_features, 1, device=model.device)
    scale = 0.0 if zero_head else 1 / sd
    with torch.no_grad():
        bias = torch.zeros_like(model.head.bias) if scored.bias is None else scored.bias
        model.head.weight.copy_(scored.weight * scale)
        model.head.bias.copy_((bias - mean) * scale)
    return model


def _read_classifier(stack: list[Path], *, dtype: Precision, trust_remote_code: bool) -> tuple[Any, nn.Linear]:
    """Return backbone and head of a sequence-classification folder, adapters on it merged."""
    folder = stack[-1]
    shapes = [shape for adapter in stack[1:] if (shape := adapter_shape(adapter, "score"))]
    model = folders.load_weights(
        transformers.AutoModelForSequenceClassification,
        stack[0],
        dtype=dtype,
        trust_remote_code=trust_remote_code,
        may_lack=("score.weight",) if shapes else (),
        has_own_head=not shapes,
        num_labels=shapes[-1][0] if shapes else None,
    )
    model, _ = put_on(model, stack)
    head = getattr(model, "score", None)
    if not isinstance(head, nn.Linear):
        raise ModelError(
            f"The reward model in {folder} is a {type(model).__name__}, whose head is not one linear layer over the "
            "last token. Expected a decoder's sequence-classification model. Use one, or wrap this one in a scorer "
            "plug-in."
        )
    if head.out_features != 1:
        raise ModelError(
            f"The reward model in {folder} has {head.out_features} labels. Expected 1, the reward. Train it with "
            "num_labels=1, or wrap it as a scorer plug-in that says which label counts."
        )
    return model.base_model, head.float()


def _read_head(folder: Path) -> tuple[nn.Linear, Pooling]:
    """Return the head of a folder of our own form, and its pooling."""
    weights = load_file(folder / _HEAD_FILE)
    head = nn.Linear(weights["weight"].shape[1], 1, bias="bias" in weights)
    head.load_state_dict(weights)
    return head, json.loads((folder / _HEAD_SETTINGS_FILE).read_text())["pooling"]


def _empty_classifier(config: Any) -> Any:
    """Return the Hugging Face classifier of an architecture, without weights, or None where there is none."""
    classes = transformers.AutoModelForSequenceClassification
    if type(config) not in classes._model_mapping:
        return None
    with torch.device("meta"):
        return classes.from_config(config)


@torch.no_grad()
def state_size(backbone: Any) -> int:
    """Return how wide the states are that a head reads; some architectures project them to another width than theirs.

    Raises ModelError for models that need more than token ids, such as an encoder and its decoder.
    """
    try:
        return int(
            backbone(input_ids=torch.zeros(1, 2, dtype=torch.long, device=backbone.device)).last_hidden_state.shape[-1]
        )
    except Exception as error:  # what it raises depends on what it lacks
        raise ModelError(
            f"A {backbone.config.model_type} model gives no state for token ids alone: {error} Expected a decoder, or "
            "an encoder, of one text. Use another base for the reward model."
        ) from error


@torch.no_grad()
def _is_causal(backbone: Any) -> bool:
    """Tell whether later tokens leave the states before them as they are."""
    ids_BS = torch.arange(1, 9, device=backbone.device)[None]
    longer_BSD = backbone(input_ids=ids_BS).last_hidden_state[:, :4]
    return agree(longer_BSD, backbone(input_ids=ids_BS[:, :4]).last_hidden_state, rtol=1e-3, atol=1e-3)
