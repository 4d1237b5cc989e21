"""Load a reward model from its folder, or start one from a language model; on a shared base where it has an adapter.

What a reward model or critic then does, and how it is saved, is in `heads.py`.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack

import torch
import transformers
from safetensors.torch import load_file
from torch import nn
from transformers.models.auto import modeling_auto

from kleash.errors import ModelError
from kleash.models import folders
from kleash.models.heads import (
    BACKBONE_FOLDER,
    HEAD_FILE,
    HEAD_SETTINGS_FILE,
    NORMALISER_FILE,
    Pooling,
    RewardNormaliser,
    ScalarModel,
    state_size,
)
from kleash.models.lora import adapter_shape, adapter_stack, live_stack, put_on, uppermost
from kleash.models.rendering import load_rendering
from kleash.models.shared_base import Role, load_on_base

_MEMBER = "member-"
_UNUSED_WEIGHTS = ("pooler.dense.weight", "pooler.dense.bias")  # encoders' own pooling, which ours replaces
_CLASSES = {
    "causal": transformers.AutoModelForCausalLM,
    "classifier": transformers.AutoModelForSequenceClassification,
    "backbone": transformers.AutoModel,
}
_WRITERS = {
    "causal": frozenset(modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()),
    "classifier": frozenset(modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES.values()),
}
_NOTHING_KNOWN: Mapping[str, Any] = {}


def member_folder(folder: str | Path, number: int) -> Path:
    """Return where a member of an ensemble lies: the first one in the folder itself, the others below it."""
    return Path(folder) / f"{_MEMBER}{number}" if number else Path(folder)


def member_folders(folder: str | Path) -> list[Path]:
    """Return the folders of all members of a reward model: the folder alone, unless it is an ensemble."""
    num_others = sum(1 for _ in Path(folder).glob(f"{_MEMBER}*"))
    return [member_folder(folder, number) for number in range(1 + num_others)]


@folders.clear_model_errors
def load_reward_model(
    folder: str | Path, *, role: str = "reward", is_trained: bool = False, **loading: Unpack[folders.Loading]
) -> ScalarModel:
    """Load a reward model, ours or anybody's sequence-classification folder with one label, in eval mode.

    loading: as `load_language_model` has it.  role, is_trained: of its adapter; without one all weights may be trained.
    With LoRA settings a model without an adapter is the base of its own, and a fresh adapter on it is what is trained.
    eos_token: yields to what the folder's scale was measured with, and to the folder's own where its tokenizer, such as
    a stranger's, lacks the token.  A stranger's reads an answer to where its chat template ends the conversation.
    Raises ModelError for folders of other kinds, several labels, or weights that are missing.
    """
    folder = Path(folder)
    has_own_form = (folder / HEAD_SETTINGS_FILE).is_file()
    path = folders.find_model_folder(folder / BACKBONE_FOLDER if has_own_form else folder)
    stack = adapter_stack(path)
    pooling: Pooling = "last"
    kind = _kind_of(stack[0], loading) if has_own_form else "classifier"
    model, own_role = _load_backbone(stack, kind, role, is_trained, loading)
    if has_own_form:
        head, pooling = _read_head(folder)
    else:
        head = _head_of_classifier(model, stack[-1])
    tokenizer_path = uppermost(stack, "tokenizer_config.json")
    tokenizer = folders.load_tokenizer(tokenizer_path, trust_remote_code=loading.get("trust_remote_code", False))
    how = RewardNormaliser.load(folder).measured_with
    is_of_ours = (folder / NORMALISER_FILE).is_file()
    return _scalar_model(
        model.base_model,
        head,
        tokenizer,
        tokenizer_path,
        loading,
        pooling=pooling,
        role=own_role,
        rendering_folder=folder,
        how=how,
        ends_as_served=how.get("ends_as_served", not is_of_ours),
    )


@folders.clear_model_errors
def reward_model_from(
    folder: str | Path,
    *,
    seed: int,
    pooling: Pooling = "last",
    role: str = "reward",
    **loading: Unpack[folders.Loading],
) -> ScalarModel:
    """Start a reward model from a language model or an encoder: its backbone, and a fresh head without bias.

    The head's weights have standard deviation 1 / sqrt(d + 1), so that first scores spread by about one.
    With LoRA settings an adapter is trained: a copy of the language model's own, where it has one.
    """
    path = folders.find_model_folder(folder)
    stack = adapter_stack(path) if loading.get("lora") is None else live_stack(path)
    if len(stack) > 1 and loading.get("lora") is None:
        model, own_role = put_on(_read_weights(stack, "causal", loading), stack), None  # whose names it has
    else:
        kind = _kind_of(stack[0], loading) if loading.get("lora") is not None else "backbone"
        model, own_role = _load_backbone(stack, kind, role, True, loading)
    backbone = model.base_model
    head = nn.Linear(state_size(backbone), 1, bias=False)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        head.weight.normal_(0.0, 1 / math.sqrt(head.in_features + 1), generator=generator)
    tokenizer_path = uppermost([*stack, path], "tokenizer_config.json")
    tokenizer = folders.load_tokenizer(tokenizer_path, trust_remote_code=loading.get("trust_remote_code", False))
    return _scalar_model(
        backbone, head, tokenizer, path, loading, pooling=pooling, role=own_role, rendering_folder=path
    )


def _scalar_model(
    backbone: Any,
    head: nn.Linear,
    tokenizer: Any,
    path: Path,
    loading: folders.Loading,
    *,
    pooling: Pooling,
    role: Role | None,
    rendering_folder: Path,
    how: Mapping[str, Any] = _NOTHING_KNOWN,
    ends_as_served: bool | None = None,
) -> ScalarModel:
    """Put a reward model together from what was loaded. how: what its scale was measured with."""
    eos_token = loading.get("eos_token")
    is_saved = ends_as_served is not None
    if is_saved and eos_token is not None and not folders.knows_token(tokenizer, eos_token):
        eos_token = None
    folders.check_vocabulary(path, backbone, tokenizer)
    folders.check_generation_settings(path, backbone.get_input_embeddings().weight.shape[0])
    eos_ids = tuple(how.get("eos_ids") or folders.resolve_eos_ids(path, backbone.config, tokenizer, eos_token))
    rendering = load_rendering(
        rendering_folder,
        tokenizer,
        eos_ids,
        turns=loading.get("turns", "auto"),
        system_prompt=loading.get("system_prompt"),
        eos_token=eos_token,
        is_policy=False,
        **({"ends_as_served": ends_as_served} if ends_as_served is not None else {}),
    )
    model = ScalarModel(
        backbone,
        head,
        tokenizer,
        eos_ids=eos_ids,
        rendering=rendering,
        pooling=pooling,
        precision=loading.get("dtype", "float32"),
        gradient_checkpointing=loading.get("gradient_checkpointing", False),
        role=role,
    )
    return model.to(folders.resolve_device(loading.get("device", "auto"))).eval()


def _kind_of(folder: Path, loading: folders.Loading) -> str:
    """Return which of transformers' classes a folder was written by: what its adapters' names fit."""
    config = folders.load_config(folder, trust_remote_code=loading.get("trust_remote_code", False))
    written_by = next(iter(getattr(config, "architectures", None) or ()), "")
    for kind, names in _WRITERS.items():
        if written_by in names or _CLASSES[kind].__name__ in (getattr(config, "auto_map", None) or ()):
            return kind
    return "backbone"


def _load_backbone(
    stack: list[Path], kind: str, role: str, is_trained: bool, loading: folders.Loading
) -> tuple[Any, Role | None]:
    key = (kind, loading.get("dtype", "float32"), str(loading.get("device", "auto")))
    return load_on_base(
        stack,
        lambda: _read_weights(stack, kind, loading),
        role=role,
        lora=loading.get("lora"),
        is_trained=is_trained,
        bases=loading.get("bases"),
        key=key,
    )


def _read_weights(stack: list[Path], kind: str, loading: folders.Loading) -> Any:
    """Load a stack's first folder as one of transformers' classes, with room for the head that an adapter brings."""
    shapes = [shape for adapter in stack[1:] if (shape := adapter_shape(adapter, "score"))]
    is_bare = kind == "backbone"
    return folders.load_weights(
        _CLASSES[kind],
        stack[0],
        dtype=loading.get("dtype", "float32"),
        device=loading.get("device", "auto"),
        trust_remote_code=loading.get("trust_remote_code", False),
        may_lack=_UNUSED_WEIGHTS if is_bare else ("score.weight",) if shapes else (),
        has_own_head=not is_bare and not shapes,
        num_labels=shapes[-1][0] if shapes else None,
    )


def _head_of_classifier(model: Any, folder: Path) -> nn.Linear:
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
    return copy.deepcopy(head).float().requires_grad_(True)


def _read_head(folder: Path) -> tuple[nn.Linear, Pooling]:
    """Return the head of a folder of our own form, and its pooling."""
    weights = load_file(folder / HEAD_FILE)
    head = nn.Linear(weights["weight"].shape[1], 1, bias="bias" in weights)
    head.load_state_dict(weights)
    return head, json.loads((folder / HEAD_SETTINGS_FILE).read_text())["pooling"]
