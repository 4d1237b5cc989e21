"""One base in memory, several roles on it: policy, reference, reward models and critic as adapters of one model.

The models of `causal_lm.py` and `heads.py` are views of a `Role`, an adapter or none, and make it the active one before
each forward pass. What is active and what is trained are apart: the latter is settled when an adapter is put on. Nobody
switches between a forward pass and its backward pass, where checkpointed layers are computed again under whatever is
active then. What is saved is the adapter with its base's digest; merged weights are derived from it, one at a time.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import peft
import torch
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from kleash.errors import ModelError
from kleash.models import lora as adapters
from kleash.models.folders import Loading, weights_digest
from kleash.models.lora import ALL_LINEAR, LearningDropout, LoraSettings, beyond_plain_lora, quiet_peft
from kleash.screen import say


class Bases(WeakValueDictionary[tuple[Hashable, ...], "SharedBase"]):
    """The bases in memory, for as long as somebody uses one: loading what is there already gives the very same."""

    def __reduce__(self) -> tuple[type[Bases], tuple[()]]:
        return Bases, ()  # another process has a memory of its own


_ADAPTER_IN_NAME = re.compile(r"\.lora_\w+\.([^.]+)(?=\.|$)")


class SharedBase:
    """A frozen model and the named adapters on it, of which one, or none, is active. folder: where it is from."""

    def __init__(self, model: Any, folder: Path) -> None:
        self.model = model.requires_grad_(False)
        self.folder = folder
        self.active: str | None = None
        self._wrapped: Any = None
        self._trained: set[str] = set()
        self._layers: list[Any] = []

    def add_fresh(self, role: str, settings: LoraSettings) -> Role:
        """Put an untrained, trainable adapter on. Raises ModelError for targets that LoRA cannot be put on."""
        targets, kind = settings.target_modules, self.model.config.model_type
        config = peft.LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            target_modules=adapters.linear_layers(self.model) if targets == ALL_LINEAR else targets,
            task_type="CAUSAL_LM" if hasattr(self.model, "prepare_inputs_for_generation") else None,
            fan_in_fan_out=any(isinstance(module, Conv1D) for module in self.model.modules()),  # as in GPT-2
        )
        names = [place for place, _ in self.model.named_modules()]
        for target in targets if isinstance(targets, list) else ():
            if not any(place == target or place.endswith(f".{target}") for place in names):
                known = sorted({place.rpartition(".")[2] for place in adapters.linear_layers(self.model)})
                raise ModelError(
                    f"model.lora_targets names {target!r}, which no layer of this {kind} model is called. Expected "
                    f'"all-linear", or names of its linear layers: {", ".join(known)}. Correct it.'
                )
        name = self._free_name(role)
        try:
            with torch.random.fork_rng(), quiet_peft():
                torch.manual_seed(settings.seed)
                if self._wrapped is None:
                    self._wrapped = peft.get_peft_model(self.model, config, adapter_name=name)
                else:
                    self._wrapped.add_adapter(name, config)
        except Exception as error:  # what peft raises depends on the layer and on how the target is written
            raise ModelError(
                f"LoRA cannot be put on {targets!r} of this {kind} model: {error} Expected linear layers. Set "
                'model.lora_targets to "all-linear", or to names of its layers.'
            ) from error
        if odd := beyond_plain_lora(self._wrapped, name):
            raise ModelError(
                f"model.lora_targets = {targets!r} takes in {odd}. Expected linear layers alone, and no head that "
                'shares its weights with the embedding. Set it to "all-linear", or to names of such layers.'
            )
        return self._added(role, name, is_trained=True)

    def add_saved(self, role: str, folder: Path, *, is_trained: bool) -> Role | str:
        """Put a saved adapter on, or say why it is no plain LoRA, which alone can share a base."""
        name = self._free_name(role)
        self._wrapped = adapters.attach(self._wrapped or self.model, folder, base_folder=self.folder, name=name)
        if odd := beyond_plain_lora(self._wrapped, name):
            self._wrapped.delete_adapter(name)
            return odd
        return self._added(role, name, is_trained=is_trained)

    def activate(self, adapter: str | None) -> None:
        if adapter == self.active:
            return
        for layer in self._layers:  # peft's own way would set requires_grad as well
            layer._disable_adapters = adapter is None
            layer._active_adapter = [adapter or ""]
        self.active = adapter

    def layers_of(self, adapter: str | None) -> dict[str, Any]:
        """Return the layers that an adapter changes, by name."""
        named = self.model.named_modules()
        return {name: layer for name, layer in named if isinstance(layer, LoraLayer) and adapter in layer.lora_A}

    def _free_name(self, role: str) -> str:
        taken = self._wrapped.peft_config if self._wrapped is not None else {}
        numbered = (f"{role}_{number}" for number in range(2, len(taken) + 3))
        return next(name for name in (role, *numbered) if name not in taken)

    def _added(self, role: str, name: str, *, is_trained: bool) -> Role:
        self._trained |= {name} if is_trained else set()
        for weight_name, weight in self.model.named_parameters():
            found = _ADAPTER_IN_NAME.search(weight_name)
            weight.requires_grad_(found is not None and found[1] in self._trained)
        self._layers = [module for module in self.model.modules() if isinstance(module, LoraLayer)]
        self.active = "(what peft made active)"
        self.activate(name)
        return Role(self, role, name)


@dataclass(frozen=True)
class Role:
    """One adapter on a base, or (None) the bare base. role: what it is there for, such as "critic"."""

    base: SharedBase
    role: str
    adapter: str | None

    def activate(self) -> None:
        self.base.activate(self.adapter)

    def trained_by(self, lora: LoraSettings) -> Role:
        """Take the settings' dropout, wherever gradients are computed; say where the adapter has another shape."""
        for layer in self.base.layers_of(self.adapter).values() if lora.dropout else ():
            layer.lora_dropout[self.adapter] = LearningDropout(lora.dropout)
        config = self.base._wrapped.peft_config[self.adapter]
        if (config.r, config.lora_alpha) != (lora.rank, lora.alpha):
            say(
                f"The adapter of the {self.role} goes on as it was made, with rank {config.r} and alpha "
                f"{config.lora_alpha:g}; model.lora_rank = {lora.rank}, lora_alpha = {lora.alpha:g} are for new ones."
            )
        return self

    def guarded(self, output: Tensor) -> Tensor:
        """Have the backward pass of an output check that this role is active again. Raises ModelError there."""
        if output.requires_grad:
            output.register_hook(lambda gradient: self._require_active())
        return output

    def parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the adapter's weights, by names that are the same whatever else is on the base."""
        for name, weight in self.base.model.named_parameters():
            found = _ADAPTER_IN_NAME.search(name)
            if found and found[1] == self.adapter:
                yield f"{name[: found.start(1)]}{self.role}{name[found.end(1) :]}", weight

    def save(self, folder: Path) -> None:
        """Write the adapter in peft's format, with the base's path and digest."""
        folder.mkdir(parents=True, exist_ok=True)
        wrapped, base = self.base._wrapped, self.base.folder
        weights = peft.get_peft_model_state_dict(wrapped, adapter_name=self.adapter)
        ready = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
        save_file(ready, folder / adapters.WEIGHTS_FILE)
        config = wrapped.peft_config[self.adapter]
        config.base_model_name_or_path = str(base)
        config.save_pretrained(str(folder))
        where = {"base": str(base), "relative": os.path.relpath(base, folder), "base_digest": weights_digest(base)}
        (folder / adapters.ORIGIN_FILE).write_text(json.dumps(where, indent=2) + "\n")

    @torch.no_grad()
    def merged_weights(self, *, of_backbone_as: str | None = None) -> Iterator[tuple[str, Tensor]]:
        """Yield all weights under the names they have without adapters, this one added in, in float32.

        of_backbone_as: the backbone's alone, under this prefix instead of the base's own.
        """
        layers, model = self.base.layers_of(self.adapter), self.base.model
        own = "" if model.base_model is model else f"{model.base_model_prefix}."
        for name, tensor in model.state_dict().items():
            if ".lora_" in name or (of_backbone_as is not None and not name.startswith(own)):
                continue
            owner, _, suffix = name.rpartition(".base_layer.")
            is_changed = suffix == "weight" and owner in layers
            plain = name.replace(".base_layer.", ".")
            if of_backbone_as is not None:
                plain = f"{of_backbone_as}.{plain.removeprefix(own)}"
            yield plain, _merged(layers[owner], self.adapter) if is_changed else tensor

    @contextmanager
    def as_merged(self) -> Iterator[None]:
        """Compute as the merged weights would for this long, each layer's merged as it is called, and forgotten."""
        layers = list(self.base.layers_of(self.adapter).values())
        for layer in layers:
            layer.forward = partial(_forward_merged, layer, self.adapter)
        try:
            yield
        finally:
            for layer in layers:
                del layer.forward

    def _require_active(self) -> None:
        if self.base.active != self.adapter:
            raise ModelError(
                f"Adapter {self.base.active!r} is active in the backward pass of {self.adapter!r}. Expected no other "
                "role's forward pass between a forward pass and its backward pass: layers may be computed again there. "
                "Take the gradient of one role before another one computes."
            )


def load_on_base(
    stack: Sequence[Path], load: Callable[[], Any], loading: Loading, *, kind: str, role: str, is_trained: bool
) -> tuple[Any, Role | None]:
    """Load a model with the adapters of a stack as one role of a base, shared where it is in memory already.

    load: reads the stack's first folder, as a model of this kind.  Without LoRA settings it is a model of its own,
    unless the stack ends in plain LoRA. Returns the model, and its role; None for a model of its own.
    """
    lora, bases = loading["lora"], Bases() if loading["bases"] is None else loading["bases"]

    def base_of(lower: Sequence[Path]) -> SharedBase:
        config = (lower[0] / "config.json").read_bytes()
        key = (kind, loading["dtype"], str(loading["device"]), config, *map(weights_digest, lower))
        base: SharedBase | None = bases.get(key)
        if base is None:
            base = bases[key] = SharedBase(adapters.put_on(load(), lower), lower[-1])
        return base

    if len(stack) > 1:
        odd = adapters.beyond_plain_config(peft.PeftConfig.from_pretrained(str(stack[-1])))
        found = odd or base_of(stack[:-1]).add_saved(role, stack[-1], is_trained=is_trained)
        if isinstance(found, Role):
            return found.base.model, found.trained_by(lora) if is_trained and lora is not None else found
        say(f"The adapter {stack[-1]} is merged into its base, not trained on as an adapter, for it has {found}.")
    if lora is None:
        return adapters.put_on(load(), stack), None
    base = base_of(stack)
    return base.model, base.add_fresh(role, lora).trained_by(lora) if is_trained else Role(base, role, None)


def _merged(layer: Any, adapter: str | None) -> Tensor:
    return layer.base_layer.weight.float() + layer.get_delta_weight(adapter).float()


def _forward_merged(layer: Any, adapter: str | None, *inputs: Any, **settings: Any) -> Tensor:
    kept = layer.base_layer.weight
    layer.base_layer.weight = nn.Parameter(_merged(layer, adapter), requires_grad=False)
    try:
        output: Tensor = layer.base_layer(*inputs, **settings)
    finally:
        layer.base_layer.weight = kept
    return output
