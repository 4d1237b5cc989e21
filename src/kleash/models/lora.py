"""Adapters from folders: what lies on what, which ones are plain LoRA, and merging any kind that peft can merge.

What others trained is loaded by peft, and what is no plain LoRA (DoRA, IA3, LoHa, experts, whole modules, added tokens)
is merged into its base by peft; the outputs before and after are compared. An adapter may lie on another adapter.
What trains and shares a base is `shared_base.py`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import peft
import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from peft.tuners.trainable_tokens.layer import TrainableTokensLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from pydantic import Field
from safetensors import safe_open
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from kleash.errors import ModelError
from kleash.models.folders import find_model_folder, read_json, weights_digest
from kleash.screen import say
from kleash.settings import Settings

ALL_LINEAR = "all-linear"
_MERGED = "merged"
WEIGHTS_FILE = "adapter_model.safetensors"
_CONFIG_FILE = "adapter_config.json"
ADAPTER = "adapter"
"""Where a model's folder keeps the adapter that its weights were merged from."""

ORIGIN_FILE = "kleash_adapter.json"
_HELD_ELSEWHERE = ("vblora_vector_bank", ".tinylora_v.", ".unilora_theta_d.")  # peft's layers share these
_OTHER_ADAPTER = (
    "Merge it in the tool that made it and give the merged folder, or train a LoRA without such extras instead."
)


class LoraSettings(Settings):
    """How large the trained low-rank matrices are and where they go.

    rank: r.  alpha: the update is scaled by alpha / rank.  dropout: of the adapter's input wherever gradients are
    computed, in SFT only: the first PPO ratio is 1 only without.  target_modules: "all-linear" (every linear layer but
    the head; beside experts or a recurrence none), or module names.
    seed: of the first matrix; the second starts at zero, so a fresh adapter changes nothing.
    """

    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=16.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: str | list[str] = ALL_LINEAR
    seed: int = 0


class LearningDropout(nn.Module):
    """Dropout wherever gradients are computed, and nowhere else: models are in eval mode whatever is done with them."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x, self.share, training=torch.is_grad_enabled())


def is_adapter_folder(folder: Path) -> bool:
    return (folder / _CONFIG_FILE).is_file()


def adapter_stack(folder: Path) -> list[Path]:
    """Return the base model's folder and the adapters on it up to this one; a model's own folder stands alone.

    Raises ModelError where an adapter's base is not named or not there, and for adapters that lie on each other.
    """
    stack = [folder]
    while is_adapter_folder(stack[0]):
        base = read_json(stack[0] / _CONFIG_FILE).get("base_model_name_or_path")
        advice = f"Write the base's folder into {_CONFIG_FILE}, as base_model_name_or_path."
        if not base or not isinstance(base, str):
            raise ModelError(
                f"The adapter {stack[0]} names no base model. Expected the model it was trained on. {advice}"
            )
        if not base.startswith("hub:") and not Path(base).is_dir() and (stack[0] / ORIGIN_FILE).is_file():
            base = str(stack[0] / read_json(stack[0] / ORIGIN_FILE).get("relative", base))  # moved with its base
        if not base.startswith("hub:") and not Path(base).is_dir():
            raise ModelError(
                f"The adapter {stack[0]} was trained on {base}, which is no folder here. Expected the folder of its "
                f"base. {advice} A hub model is written `hub:owner/name`."
            )
        below = find_model_folder(base)
        if below.resolve() in {path.resolve() for path in stack}:
            raise ModelError(f"The adapter {stack[0]} has {base} as its base, which leads back to it. {advice}")
        stack.insert(0, below)
    return stack


def live_stack(folder: Path) -> list[Path]:
    """Return the stack of a model's folder, by way of the adapter that it keeps, if its base is as it was.

    Without the base the folder's own weights stand in, the adapter merged in, and the screen says so.
    """
    kept = folder / ADAPTER
    if is_adapter_folder(folder) or not is_adapter_folder(kept):
        return adapter_stack(folder)
    try:
        stack = adapter_stack(kept)
        check_base(kept, stack[-2])
    except ModelError as error:
        if not any(folder.glob("*.safetensors")):
            raise
        say(f"{error} The merged weights in {folder} stand in for it.")
        return [folder]
    return stack


def check_base(folder: Path, base_folder: Path) -> None:
    """Refuse an adapter whose base has other weights than it was trained on. Raises ModelError."""
    expected = read_json(folder / ORIGIN_FILE).get("base_digest") if (folder / ORIGIN_FILE).is_file() else None
    if expected is not None and expected != (found := weights_digest(base_folder)):
        raise ModelError(
            f"The adapter {folder} was trained on a base with digest {expected}, and {base_folder} has {found}."
            " Expected the very same weights. Restore the base, or train the adapter again."
        )


def uppermost(stack: list[Path], name: str) -> Path:
    """Return the last folder of a stack of adapters that has a file of this name; the base where none has."""
    return next((folder for folder in reversed(stack) if (folder / name).is_file()), stack[0])


def put_on(model: Any, stack: Sequence[Path]) -> Any:
    """Merge a stack's adapters into its base, each into what lies below it; return the model.

    Raises ModelError for adapters that do not fit, or that cannot be merged.
    """
    for base_folder, folder in pairwise(stack):
        model = _merge(attach(model, folder, base_folder=base_folder, name=_MERGED), folder)
    return model


def adapter_shape(folder: Path, name: str) -> list[int] | None:
    """Return the shape of an adapter's weight by the end of its name, before `.weight`; None where it has none."""
    with safe_open(_weights_file(folder), "pt") as file:
        for key in file.keys():  # noqa: SIM118 (no mapping)
            place = key.removesuffix(".weight").removesuffix(".modules_to_save").removesuffix(".base_layer")
            if place == name or place.endswith("." + name):
                return list(file.get_slice(key).get_shape())
    return None


def linear_layers(model: Any) -> list[str]:
    """Return the linear layers that "all-linear" means: all but the head, and but what stands beside experts (peft
    would put LoRA on their stacked weights too, whose merged form no saved folder has names for) or beside a
    recurrence, whose kernels read weights past their layer.
    """
    names = [name for name, _ in model.named_modules()]
    beside_experts = {name.split(".")[-2] for name in names if name.endswith(".experts")}
    recurrent = tuple(name.removesuffix("conv1d") for name in names if name.endswith(".conv1d"))
    if left_out := [what for what, found in (("feed-forward", beside_experts), ("recurrent", recurrent)) if found]:
        say(
            f"LoRA leaves out the {' and '.join(left_out)} layers of this {model.config.model_type} model"
            f"{', the experts among them' if beside_experts else ''}. Name others in model.lora_targets."
        )
    head = model.get_output_embeddings()
    body = {id(module) for module in model.base_model.modules()}  # a classifier's head is outside
    return [
        name.removesuffix(".base_layer")
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
        and module is not head
        and id(module) in body
        and ".lora_" not in name
        and not beside_experts & set(name.split("."))
        and not name.startswith(recurrent)
    ]


def attach(model: Any, folder: Path, *, base_folder: Path, name: str) -> Any:
    """Put a folder's adapter on its base by peft. model: the base, or peft's with other adapters on it.

    Raises ModelError if the base is not the one it had, or if not every weight of the adapter has its place.
    """
    check_base(folder, base_folder)
    _weights_file(folder)
    if not isinstance(model, peft.PeftModel):
        _resize(model, folder)
    kind = read_json(folder / _CONFIG_FILE).get("peft_type")
    try:
        with quiet_peft():
            wrapped = model
            if not isinstance(model, peft.PeftModel):
                wrapped = peft.PeftModel.from_pretrained(model, str(folder), adapter_name=name, is_trainable=True)
            report = wrapped.load_adapter(
                str(folder), name, is_trainable=True
            )  # again where it is there: for the report
    except Exception as error:  # what peft raises depends on the file and on the kind
        raise ModelError(
            f"The adapter {folder} ({kind}) cannot be put on {base_folder}: {error} Expected a kind that peft "
            f"{peft.__version__} knows and can go on training, on the base it was made for. {_OTHER_ADAPTER}"
        ) from error
    missing = sorted(key for key in report.missing_keys if not any(part in key for part in _HELD_ELSEWHERE))
    unread = sorted(key for key in report.unexpected_keys if ".modules_to_save." not in key)  # peft writes those twice
    for problem, names in (("lacks", missing), ("has no place for", unread)):
        if names:
            raise ModelError(
                f"The adapter {folder} {problem} {len(names)} weights on {base_folder} ({', '.join(names[:3])}). "
                "Expected its file to fit the base and its own adapter_config.json. Check base_model_name_or_path, "
                "and that the file is whole."
            )
    return wrapped.eval()


def _resize(model: Any, folder: Path) -> None:
    """Give the model as many rows for tokens as an adapter that was trained with added ones brings."""
    embedding = model.get_input_embeddings()
    name = next(name for name, module in model.named_modules() if module is embedding)
    shape = adapter_shape(folder, name.rpartition(".")[2])
    if shape and len(shape) == 2 and shape[1] == embedding.weight.shape[1] and shape[0] != len(embedding.weight):
        model.resize_token_embeddings(shape[0], mean_resizing=False)


@torch.no_grad()
def _merge(wrapped: Any, folder: Path) -> Any:
    """Merge an adapter into its base by peft, and return the model; it must answer as it did before."""
    config = wrapped.peft_config[_MERGED]
    ids = _probe_ids(wrapped)
    live = wrapped.get_base_model()(input_ids=ids).logits
    try:
        with quiet_peft():
            _untie(wrapped)
            model = wrapped.merge_and_unload(safe_merge=True)
    except Exception as error:  # by kind: no such method, not implemented, a layer without the bias it would need
        raise ModelError(
            f"peft cannot merge the adapter {folder} ({config.peft_type.value}): {error} Expected one whose effect "
            f"can be written into the base's weights. {_OTHER_ADAPTER}"
        ) from error
    _require_same(live, model(input_ids=ids).logits, str(folder))
    return model.requires_grad_(True)


def _untie(wrapped: Any) -> None:
    """Part the head's weight from the embedding's where an adapter changes one of them alone."""
    model = wrapped.get_base_model()
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    changed = [layer for layer in (embedding, head) if isinstance(layer, BaseTunerLayer)]
    if head is not None and any(not isinstance(layer, TrainableTokensLayer) for layer in changed):
        inner, outer = (getattr(layer, "base_layer", layer) for layer in (embedding, head))
        if inner.weight is outer.weight:
            outer.weight = nn.Parameter(inner.weight.detach().clone())


def beyond_plain_config(config: Any) -> str | None:
    """Say what an adapter's settings alone show to be more than plain LoRA; None where they show nothing."""
    if not isinstance(config, peft.LoraConfig):
        return f"the kind {config.peft_type.value}"
    if config.bias != "none":
        return "trained biases"
    whole = [
        getattr(config, name, None) for name in ("modules_to_save", "trainable_token_indices", "target_parameters")
    ]
    return "whole modules or tokens of its own" if any(whole) else None


def beyond_plain_lora(wrapped: Any, name: str) -> str | None:
    """Say what an adapter has that training and saving as plain LoRA would lose; None for plain LoRA."""
    if odd := beyond_plain_config(wrapped.peft_config[name]):
        return odd
    model = wrapped.get_base_model()
    head = model.get_output_embeddings()
    is_tied = getattr(head, "weight", None) is model.get_input_embeddings().weight
    for place, module in model.named_modules():
        if not isinstance(module, BaseTunerLayer) or name not in module._all_available_adapter_names():
            continue
        if type(module) is not LoraLinear or module.lora_variant or any(module.lora_bias.values()):
            return f"more than low-rank matrices on linear layers ({place}, {type(module).__name__})"
        if module is head and is_tied:
            return f"the head, which is the embedding as well ({place})"
    return None


def _probe_ids(wrapped: Any) -> Tensor:
    """Return ids that show what an adapter does, (1, S): some from all over the vocabulary, and those it trains."""
    weight = wrapped.get_base_model().get_input_embeddings().weight
    config = wrapped.peft_config[_MERGED]
    trained = getattr(config, "trainable_token_indices", None) or getattr(config, "token_indices", None) or []
    indices = list(trained) if not isinstance(trained, dict) else [i for some in trained.values() for i in some]
    spread = torch.linspace(0, len(weight) - 1, 12).long().tolist()
    return torch.tensor([spread + indices[:4]], device=weight.device)


def _require_same(live: Tensor, merged: Tensor, folder: str) -> None:
    difference, size = float((live - merged).abs().max()), float(live.abs().max())
    if not difference <= (1e-3 if live.dtype == torch.float32 else 5e-2) * (1 + size):
        raise ModelError(
            f"Merged into its base, the adapter {folder} changes the outputs by {difference:.3g} of {size:.3g}. "
            "Expected the same outputs to rounding: peft merges this kind otherwise than it computes. "
            f"{_OTHER_ADAPTER}"
        )


def _weights_file(folder: Path) -> Path:
    file = folder / WEIGHTS_FILE
    if not file.is_file():
        raise ModelError(
            f"The adapter {folder} has no {WEIGHTS_FILE}. Expected safetensors: a pickle (adapter_model.bin) can run "
            "code when it is read. Save it anew with peft where you trust it."
        )
    return file


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Silence peft's warnings: what they would say of trouble, we check and raise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
