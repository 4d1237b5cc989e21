"""Load a reward model from its folder, or start one from a language model; on a shared base where it has an adapter.

What a reward model or critic then does, and how it is saved, is in `heads.py`.
"""

from __future__ import annotations

import copy
import json
import math
from functools import partial
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
from kleash.models.lora import adapter_shape, adapter_stack, live_stack, put_on
from kleash.models.rendering import rendering_of
from kleash.models.shared_base import load_on_base

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


def member_folder(folder: str | Path, number: int) -> Path:
    """Return where a member of an ensemble lies: the first one in the folder itself, the others below it."""
    return Path(folder) / f"{_MEMBER}{number}" if number else Path(folder)


def member_folders(folder: str | Path) -> list[Path]:
    """Return the folders of all members of a reward model: the folder alone, unless it is an ensemble."""
    num_others = sum(1 for _ in Path(folder).glob(f"{_MEMBER}*"))
    return [member_folder(folder, number) for number in range(1 + num_others)]


@folders.clear_model_errors
def load_reward_model(
    folder: str | Path, *, role: str = "reward", is_trained: bool = False, **given: Unpack[folders.Loading]
) -> ScalarModel:
    """Load a reward model, ours or anybody's sequence-classification folder with one label, in eval mode.

    given: as `load_language_model` has it.  role, is_trained: of its adapter; without one all weights may be trained.
    With LoRA settings a model without an adapter is the base of its own, and a fresh adapter on it is what is trained.
    eos_token: yields to what the folder's scale was measured with, and to the folder's own where its tokenizer, such as
    a stranger's, lacks the token.  A stranger's reads an answer to where its chat template ends the conversation.
    Raises ModelError for folders of other kinds, several labels, or weights that are missing.
    """
    folder, loading = Path(folder), folders.Loading(**{**folders.DEFAULT_LOADING, **given})
    has_own_form = (folder / HEAD_SETTINGS_FILE).is_file()
    stack = adapter_stack(folders.find_model_folder(folder / BACKBONE_FOLDER if has_own_form else folder))
    kind = _kind_of(stack[0], loading) if has_own_form else "classifier"
    load = partial(_read_weights, stack, kind, loading)
    model, own_role = load_on_base(stack, load, loading, kind=kind, role=role, is_trained=is_trained)
    pooling: Pooling = "last"
    if has_own_form:
        head, pooling = _read_head(folder)
    else:
        head = _head_of_classifier(model, stack[-1])
    how = RewardNormaliser.load(folder).measured_with
    rendering = rendering_of(
        model.base_model,
        folder,
        stack,
        loading,
        eos_ids=how.get("eos_ids", ()),
        is_policy=False,
        ends_as_served=how.get("ends_as_served", not (folder / NORMALISER_FILE).is_file()),
    )
    return ScalarModel(model.base_model, head, rendering, loading=loading, pooling=pooling, role=own_role)


@folders.clear_model_errors
def reward_model_from(
    folder: str | Path,
    *,
    seed: int,
    pooling: Pooling = "last",
    role: str = "reward",
    **given: Unpack[folders.Loading],
) -> ScalarModel:
    """Start a reward model from a language model or an encoder: its backbone, and a fresh head without bias.

    The head's weights have standard deviation 1 / sqrt(d + 1), so that first scores spread by about one.
    With LoRA settings an adapter is trained: a copy of the language model's own, where it has one.
    """
    path, loading = folders.find_model_folder(folder), folders.Loading(**{**folders.DEFAULT_LOADING, **given})
    has_lora = loading["lora"] is not None
    stack = live_stack(path) if has_lora else adapter_stack(path)
    kind = _kind_of(stack[0], loading) if has_lora else "causal" if len(stack) > 1 else "backbone"
    load = partial(_read_weights, stack, kind, loading)
    if has_lora:
        model, own_role = load_on_base(stack, load, loading, kind=kind, role=role, is_trained=True)
    else:
        model, own_role = put_on(load(), stack), None
    head = nn.Linear(state_size(model.base_model), 1, bias=False)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        head.weight.normal_(0.0, 1 / math.sqrt(head.in_features + 1), generator=generator)
    rendering = rendering_of(model.base_model, path, stack, loading, is_policy=False)
    return ScalarModel(model.base_model, head, rendering, loading=loading, pooling=pooling, role=own_role)


def _kind_of(folder: Path, loading: folders.Loading) -> str:
    """Return which of transformers' classes a folder was written by: what its adapters' names fit."""
    config = folders.load_config(folder, trust_remote_code=loading["trust_remote_code"])
    written_by = next(iter(getattr(config, "architectures", None) or ()), "")
    for kind, names in _WRITERS.items():
        if written_by in names or _CLASSES[kind].__name__ in (getattr(config, "auto_map", None) or ()):
            return kind
    return "backbone"


def _read_weights(stack: list[Path], kind: str, loading: folders.Loading) -> Any:
    """Load a stack's first folder as one of transformers' classes, with room for the head that an adapter brings."""
    shapes = [shape for adapter in stack[1:] if (shape := adapter_shape(adapter, "score"))]
    is_bare = kind == "backbone"
    return folders.load_weights(
        _CLASSES[kind],
        stack[0],
        loading,
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
