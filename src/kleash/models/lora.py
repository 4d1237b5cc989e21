"""LoRA on a language model: one base, a trainable `policy` adapter and, in RL, a frozen `reference` adapter.

After a LoRA SFT the reference of RL is the SFT adapter, not the bare base; both live on the same base weights, so no
second model is held. Merged weights are computed without touching the model: adding an adapter to the weights and
taking it away again would leave rounding errors in them.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import peft
import torch
from peft.tuners.lora import LoraLayer
from pydantic import Field
from safetensors.torch import save_file
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from kleash.errors import ModelError
from kleash.models.folders import find_model_folder, weights_digest
from kleash.settings import Settings

POLICY = "policy"
REFERENCE = "reference"
_WEIGHTS_FILE = "adapter_model.safetensors"
_ORIGIN_FILE = "kleash_adapter.json"


class LoraSettings(Settings):
    """How large the trained low-rank matrices are and where they go.

    rank: r.  alpha: the update is scaled by alpha / rank.  dropout: of the adapter's input, in SFT only: the first
    PPO ratio is 1 only without.  target_modules: "all-linear" (every linear layer but the head), or module names.
    seed: of the first matrix; the second starts at zero, so a fresh adapter changes nothing.
    """

    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: str | list[str] = "all-linear"
    seed: int = 0


class Adapters:
    """The adapters on one base model."""

    def __init__(self, wrapped: Any, *, base_folder: Path) -> None:
        self._wrapped = wrapped
        self.base_folder = base_folder

    @classmethod
    def fresh(cls, model: Any, settings: LoraSettings, *, base_folder: Path) -> Adapters:
        """Put an untrained `policy` adapter on a model."""
        config = peft.LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules=settings.target_modules,
            task_type="CAUSAL_LM",
            fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),  # GPT-2's transposed layers
        )
        with torch.random.fork_rng(), _old_names_allowed():
            torch.manual_seed(settings.seed)
            wrapped = peft.get_peft_model(model, config, adapter_name=POLICY)
        return cls(wrapped, base_folder=base_folder)

    @classmethod
    def read(cls, model: Any, folder: Path, *, base_folder: Path) -> Adapters:
        """Put the adapter of a folder on its base as `policy`. Raises ModelError if the base is not the one it had."""
        origin_file = folder / _ORIGIN_FILE
        if origin_file.is_file():
            expected, found = json.loads(origin_file.read_text())["base_digest"], weights_digest(base_folder)
            if expected != found:
                raise ModelError(
                    f"The adapter {folder} was trained on a base with digest {expected}, and {base_folder} has {found}."
                    " Expected the very same weights. Restore the base, or train the adapter again."
                )
        with _old_names_allowed():
            wrapped = peft.PeftModel.from_pretrained(model, str(folder), adapter_name=POLICY, is_trainable=True)
        return cls(wrapped, base_folder=base_folder)

    def freeze_reference(self) -> None:
        """Copy the `policy` adapter, as it stands, into a frozen `reference` adapter."""
        if REFERENCE not in self._wrapped.peft_config:
            with _old_names_allowed():
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
        (folder / _ORIGIN_FILE).write_text(json.dumps(origin, indent=2) + "\n")


def is_adapter_folder(folder: Path) -> bool:
    return (folder / "adapter_config.json").is_file()


def base_folder_of(folder: Path) -> Path:
    """Return the base model's folder that an adapter folder names. Raises ModelError when it is not there."""
    base = json.loads((folder / "adapter_config.json").read_text()).get("base_model_name_or_path")
    if not base:
        raise ModelError(
            f"The adapter {folder} names no base model. Expected `base_model_name_or_path` in adapter_config.json. "
            "Write the base's folder there."
        )
    return find_model_folder(base)


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


@contextmanager
def _old_names_allowed() -> Iterator[None]:
    """Let peft ask transformers by names that transformers is about to drop, without a warning to our users."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield
