"""Models that answer with a number: reward models, critics, and the value head on a policy's trunk.

A `ScalarModel` is a backbone and a linear head. Its portable form is a Hugging Face sequence-classification folder
with one label, which plain transformers scores identically: last real token, no bias. What that form cannot express
(mean pooling, encoders, biased heads) is saved with a head file of our own and never poses as a portable folder.
Training them is the reward stage's business, clipping and combining scores the judges'.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor, nn

from kleash.data.batches import TokenBatch
from kleash.durable import json_text
from kleash.errors import ModelError, RunError
from kleash.models import folders
from kleash.models.last_layer import LastFeedForward
from kleash.models.precision import Precision, agree, computing
from kleash.models.recomputing import RecomputedLayers
from kleash.models.rendering import Rendering
from kleash.models.shared_base import Role
from kleash.screen import say

Pooling = Literal["last", "mean"]

HEAD_FILE = "head.safetensors"
HEAD_SETTINGS_FILE = "kleash_head.json"
BACKBONE_FOLDER = "backbone"
NORMALISER_FILE = "kleash_reward.json"


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
        (Path(folder) / NORMALISER_FILE).write_text(json_text(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> RewardNormaliser:
        """Read a reward model's constants; a folder without them, such as anybody else's, is taken as it scores."""
        path = Path(folder) / NORMALISER_FILE
        return cls(**json.loads(path.read_text())) if path.is_file() else cls()


class ScalarModel(nn.Module):
    """A backbone and a linear head: one score per sequence, or one value per response token.

    pooling: "last" reads the last real token's state, EOS included; "mean" averages all real tokens' states. Which
    tokens are real comes from lengths alone: in models trained elsewhere the pad id may equal the EOS.
    role: whose adapter on a shared base the backbone is read with; None for a backbone of its own.
    """

    def __init__(
        self,
        backbone: Any,
        head: nn.Linear,
        rendering: Rendering,
        *,
        loading: folders.Loading,
        pooling: Pooling = "last",
        role: Role | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.rendering = rendering
        self.tokenizer, self.eos_ids = rendering.tokenizer, rendering.eos_ids
        self.pooling: Pooling = pooling
        self.role = role
        self.precision: Precision = loading["dtype"]
        self.max_positions = folders.position_limit(backbone.config, backbone)
        num_rows = backbone.get_input_embeddings().weight.shape[0]
        self.pad_id = folders.choose_pad_id(self.tokenizer, self.eos_ids, num_rows)
        self.is_causal = _is_causal(backbone)
        self._last_feed_forward = LastFeedForward(backbone)
        self._recomputed = RecomputedLayers(backbone, is_on=loading["gradient_checkpointing"])
        self.to(backbone.device).eval()

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
        for _, weight in self._body():
            weight.requires_grad_(not is_frozen)

    def trainable_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield what is trained, by name: backbone or adapter, and the head, under `head.`."""
        yield from ((name, weight) for name, weight in self._body() if weight.requires_grad)
        yield from self.head.named_parameters(prefix="head")

    def save(self, folder: str | Path, tokenizer: Any = None, *, is_portable: bool = False) -> None:
        """Write the model: in the portable form if it has one, else with our own head file. Not atomic.

        With an adapter that is the adapter with its base's digest, and the head; is_portable: merged, in float32,
        as a sequence-classification folder. Raises ModelError where that form cannot express the model.
        """
        folder = Path(folder)
        has_adapter = self.role is not None and self.role.adapter is not None
        if is_portable and not self.is_portable:
            raise ModelError(
                f"A reward model that reads the {self.pooling} state of a {self.backbone.config.model_type} model has "
                "no portable form. Expected a decoder read at its last token. Use it from here, or train one with "
                'reward.pooling = "last".'
            )
        config = self.backbone.config
        config.pad_token_id = self.pad_id
        config.eos_token_id = list(self.eos_ids) if len(self.eos_ids) > 1 else self.eos_ids[0]
        writes_portable = self.is_portable and (is_portable or not has_adapter)
        if writes_portable:
            config.num_labels = 1
            classifier = _empty_classifier(config)
            setattr(classifier, classifier.base_model_prefix, self.backbone)
            classifier.score = self.head
            if self.role is None:
                folders.save_weights(classifier, folder)
            else:
                body = self.role.merged_weights(of_backbone_as=classifier.base_model_prefix)
                folders.save_merged(classifier, chain(body, [("score.weight", self.head.weight.detach())]), folder)
        else:
            if self.role is not None and has_adapter:
                self.role.save(folder / BACKBONE_FOLDER)
            else:
                folders.save_weights(self.backbone, folder / BACKBONE_FOLDER)
            weights = {name: weight.detach().cpu().contiguous() for name, weight in self.head.state_dict().items()}
            save_file(weights, folder / HEAD_FILE)
            (folder / HEAD_SETTINGS_FILE).write_text(json_text({"pooling": self.pooling}, indent=2) + "\n")
        (tokenizer or self.tokenizer).save_pretrained(str(folder if writes_portable else folder / BACKBONE_FOLDER))

    def _head_at(self, batch: TokenBatch, flat_N: Tensor) -> Tensor:
        """Read the head at positions of the flattened batch, (N,); the last feed-forward part runs there alone."""
        with self._last_feed_forward.only_at(flat_N):
            hidden_BSD = self._hidden(batch)
        return self.head(hidden_BSD.flatten(0, 1).index_select(0, flat_N).float())[:, 0]

    def _body(self) -> Iterator[tuple[str, nn.Parameter]]:
        return self.backbone.named_parameters(prefix="backbone") if self.role is None else self.role.parameters()

    def _hidden(self, batch: TokenBatch) -> Tensor:
        folders.check_length(batch, self.max_positions)
        mask = {} if self.is_causal else {"attention_mask": batch.attention_mask_BS.long()}
        use_cache = {"use_cache": False} if self.is_causal else {}
        if self.role is not None:
            self.role.activate()
        with computing(self.precision, self.device), self._recomputed.in_forward():
            hidden_BSD = self.backbone(input_ids=batch.ids_BS, **mask, **use_cache).last_hidden_state
        return hidden_BSD if self.role is None else self.role.guarded(hidden_BSD)


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
