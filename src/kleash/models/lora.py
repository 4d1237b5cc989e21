"""Adapters on a language model: LoRA that goes on training, and any kind that peft can merge.

KLeash trains plain LoRA: one base, a trainable `policy` adapter and, in RL, a frozen `reference` adapter. After a LoRA
SFT the reference of RL is the SFT adapter, not the bare base; both live on the same base weights, so no second model is
held. Merged weights are computed without touching the model: adding an adapter to the weights and taking it away again
would leave rounding errors in them.

What others trained is loaded by peft, and what is no plain LoRA (DoRA, IA3, LoHa, experts, whole modules, added tokens)
is merged into its base by peft; the outputs before and after are compared. An adapter may lie on another adapter.
`causal_lm.py` and `heads.py` load the base and call `put_on`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import peft
import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import Linear as LoraLinear
from peft.tuners.trainable_tokens.layer import TrainableTokensLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from pydantic import Field
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from kleash.durable import json_text
from kleash.errors import ModelError
from kleash.models.folders import find_model_folder, read_json, weights_digest
from kleash.screen import say
from kleash.settings import Settings

POLICY = "policy"
REFERENCE = "reference"
ALL_LINEAR = "all-linear"
_WEIGHTS_FILE = "adapter_model.safetensors"
_CONFIG_FILE = "adapter_config.json"
_ORIGIN_FILE = "kleash_adapter.json"
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


class Adapters:
    """The adapters on one base model."""

    def __init__(self, wrapped: Any, *, base_folder: Path) -> None:
        self._wrapped = wrapped
        self.base_folder = base_folder

    @classmethod
    def fresh(cls, model: Any, settings: LoraSettings, *, base_folder: Path) -> Adapters:
        """Put an untrained `policy` adapter on a model. Raises ModelError for targets that LoRA cannot be put on."""
        targets = settings.target_modules
        names = [name for name, _ in model.named_modules()]
        for target in targets if isinstance(targets, list) else ():
            if not any(name == target or name.endswith(f".{target}") for name in names):
                known = sorted({name.rpartition(".")[2] for name in _linear_layers(model)})
                raise ModelError(
                    f"model.lora_targets names {target!r}, which no layer of this {model.config.model_type} model is "
                    f'called. Expected "all-linear", or names of its linear layers: {", ".join(known)}. Correct it.'
                )
        config = peft.LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            target_modules=_linear_layers(model) if targets == ALL_LINEAR else targets,
            task_type="CAUSAL_LM",
            fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),  # GPT-2's transposed layers
        )
        try:
            with torch.random.fork_rng(), _quiet_peft():
                torch.manual_seed(settings.seed)
                wrapped = peft.get_peft_model(model, config, adapter_name=POLICY)
        except Exception as error:  # what peft raises depends on the layer and on how the target is written
            raise ModelError(
                f"LoRA cannot be put on {targets!r} of this {model.config.model_type} model: {error} Expected linear "
                'layers. Set model.lora_targets to "all-linear", or to names of its layers.'
            ) from error
        if odd := _beyond_plain_lora(wrapped):
            raise ModelError(
                f"model.lora_targets = {targets!r} takes in {odd}. Expected linear layers alone, and no head that "
                'shares its weights with the embedding. Set it to "all-linear", or to names of such layers.'
            )
        for layer in wrapped.modules() if settings.dropout else ():
            if isinstance(layer, LoraLayer):
                layer.lora_dropout[POLICY] = LearningDropout(settings.dropout)
        return cls(wrapped, base_folder=base_folder)

    def freeze_reference(self) -> None:
        """Copy the `policy` adapter, as it stands, into a frozen `reference` adapter."""
        if REFERENCE not in self._wrapped.peft_config:
            with _quiet_peft():
                self._wrapped.add_adapter(REFERENCE, self._wrapped.peft_config[POLICY])
        present = peft.get_peft_model_state_dict(self._wrapped, adapter_name=POLICY)
        peft.set_peft_model_state_dict(self._wrapped, present, adapter_name=REFERENCE)
        self._wrapped.set_adapter(POLICY)

    @contextmanager
    def using_reference(self) -> Iterator[None]:
        """Answer as the reference for this long: the `reference` adapter, or the bare base when there is none."""
        if REFERENCE not in self._wrapped.peft_config:
            with self._wrapped.disable_adapter():
                yield
            return
        self._wrapped.set_adapter(REFERENCE, inference_mode=True)
        try:
            yield
        finally:
            self._wrapped.set_adapter(POLICY)

    def save(self, folder: Path) -> None:
        """Write the `policy` adapter in peft's format, with the base's path and digest."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = peft.get_peft_model_state_dict(self._wrapped, adapter_name=POLICY)
        save_file({name: tensor.contiguous().cpu() for name, tensor in weights.items()}, folder / _WEIGHTS_FILE)
        config = self._wrapped.peft_config[POLICY]
        config.base_model_name_or_path = str(self.base_folder)
        config.save_pretrained(str(folder))
        origin = {"base": str(self.base_folder), "base_digest": weights_digest(self.base_folder)}
        (folder / _ORIGIN_FILE).write_text(json_text(origin, indent=2) + "\n")

    @torch.no_grad()
    def check_merged(self, weights: dict[str, Tensor]) -> None:
        """Compare what the merged weights compute with what base and adapter do. Raises ModelError if they differ."""
        model = self._wrapped.get_base_model()
        merged = {
            name: weights[name.replace(".base_layer.", ".")] for name in model.state_dict() if "base_layer" in name
        }
        ids = {"input_ids": _probe_ids(self._wrapped), "use_cache": False}
        live = model(**ids).logits
        with self._wrapped.disable_adapter():
            _require_same(live, torch.func.functional_call(model, merged, kwargs=ids).logits, "that was trained")


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


def uppermost(stack: list[Path], name: str) -> Path:
    """Return the last folder of a stack of adapters that has a file of this name; the base where none has."""
    return next((folder for folder in reversed(stack) if (folder / name).is_file()), stack[0])


def put_on(model: Any, stack: list[Path], *, may_train: bool = False) -> tuple[Any, Adapters | None]:
    """Put a stack's adapters on its base, each merged into what lies below it; return the model.

    may_train: leave the last one live and trainable where it is plain LoRA, and return it as well.
    Raises ModelError for adapters that do not fit, or that cannot be merged.
    """
    for base_folder, folder in pairwise(stack):
        wrapped = _attach(model, folder, base_folder=base_folder)
        odd = _beyond_plain_lora(wrapped)
        if may_train and folder == stack[-1] and odd is None:
            return model, Adapters(wrapped, base_folder=base_folder)
        model = _merge(wrapped, folder)
        if may_train and odd is not None:
            say(f"The adapter {folder} is merged into its base, not trained on as an adapter, for it has {odd}.")
    return model, None


def adapter_shape(folder: Path, name: str) -> list[int] | None:
    """Return the shape of an adapter's weight by the end of its name, before `.weight`; None where it has none."""
    with safe_open(_weights_file(folder), "pt") as file:
        for key in file.keys():  # noqa: SIM118 (no mapping)
            place = key.removesuffix(".weight").removesuffix(".modules_to_save").removesuffix(".base_layer")
            if place == name or place.endswith("." + name):
                return list(file.get_slice(key).get_shape())
    return None


@torch.no_grad()
def merged_weights(model: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield a model's weights under the names they have without adapters, the `policy` adapter added in.

    Weights that no adapter touches are the model's own tensors, shared ones once per name.
    """
    layers = {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}
    for name, tensor in model.state_dict().items():
        if ".lora_" in name:
            continue
        owner, _, suffix = name.rpartition(".base_layer.")
        if owner and suffix == "weight" and owner in layers:
            tensor = tensor + layers[owner].get_delta_weight(POLICY).to(tensor.dtype)
        yield name.replace(".base_layer.", "."), tensor


def _linear_layers(model: Any) -> list[str]:
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
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
        and module is not head
        and not beside_experts & set(name.split("."))
        and not name.startswith(recurrent)
    ]


def _attach(model: Any, folder: Path, *, base_folder: Path) -> Any:
    """Put a folder's adapter on its base by peft.

    Raises ModelError if the base is not the one it had, or if not every weight of the adapter has its place.
    """
    origin_file = folder / _ORIGIN_FILE
    if origin_file.is_file():
        expected, found = read_json(origin_file).get("base_digest"), weights_digest(base_folder)
        if expected != found:
            raise ModelError(
                f"The adapter {folder} was trained on a base with digest {expected}, and {base_folder} has {found}."
                " Expected the very same weights. Restore the base, or train the adapter again."
            )
    _resize(model, folder)
    kind = read_json(folder / _CONFIG_FILE).get("peft_type")
    try:
        with _quiet_peft():
            wrapped = peft.PeftModel.from_pretrained(model, str(folder), adapter_name=POLICY, is_trainable=True)
            report = wrapped.load_adapter(str(folder), POLICY, is_trainable=True)  # the same again, with a report
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
    config = wrapped.peft_config[POLICY]
    ids = _probe_ids(wrapped)
    live = wrapped.get_base_model()(input_ids=ids).logits
    try:
        with _quiet_peft():
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


def _beyond_plain_lora(wrapped: Any) -> str | None:
    """Say what an adapter has that training and saving as plain LoRA would lose; None for plain LoRA."""
    config = wrapped.peft_config[POLICY]
    if not isinstance(config, peft.LoraConfig):
        return f"the kind {config.peft_type.value}"
    if config.bias != "none":
        return "trained biases"
    model = wrapped.get_base_model()
    head = model.get_output_embeddings()
    is_tied = getattr(head, "weight", None) is model.get_input_embeddings().weight
    for name, module in model.named_modules():
        if isinstance(module, AuxiliaryTrainingWrapper):
            return f"whole modules or tokens of its own ({name})"
        if isinstance(module, BaseTunerLayer) and (
            type(module) is not LoraLinear or module.lora_variant or any(module.lora_bias.values())
        ):
            return f"more than low-rank matrices on linear layers ({name}, {type(module).__name__})"
        if isinstance(module, BaseTunerLayer) and module is head and is_tied:
            return f"the head, which is the embedding as well ({name})"
    return None


def _probe_ids(wrapped: Any) -> Tensor:
    """Return ids that show what an adapter does, (1, S): some from all over the vocabulary, and those it trains."""
    weight = wrapped.get_base_model().get_input_embeddings().weight
    config = wrapped.peft_config[POLICY]
    trained = getattr(config, "trainable_token_indices", None) or getattr(config, "token_indices", None) or []
    indices = list(trained) if not isinstance(trained, dict) else [i for some in trained.values() for i in some]
    spread = torch.linspace(0, len(weight) - 1, 12).long().tolist()
    return torch.tensor([spread + indices[:4]], device=weight.device)


def _require_same(live: Tensor, merged: Tensor, folder: str) -> None:
    difference, size = float((live - merged).abs().max()), float(live.abs().max())
    if not difference <= 1e-3 * (1 + size):
        raise ModelError(
            f"Merged into its base, the adapter {folder} changes the outputs by {difference:.3g} of {size:.3g}. "
            "Expected the same outputs to rounding: peft merges this kind otherwise than it computes. "
            f"{_OTHER_ADAPTER}"
        )


def _weights_file(folder: Path) -> Path:
    file = folder / _WEIGHTS_FILE
    if not file.is_file():
        raise ModelError(
            f"The adapter {folder} has no {_WEIGHTS_FILE}. Expected safetensors: a pickle (adapter_model.bin) can run "
            "code when it is read. Save it anew with peft where you trust it."
        )
    return file


@contextmanager
def _quiet_peft() -> Iterator[None]:
    """Silence peft's warnings: what they would say of trouble, we check and raise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
