"""In which numbers a model is held and computes: weights and products in float32 or bfloat16, each.

Adapters, heads, losses, log-probabilities and what an optimiser keeps are float32 always.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

Precision = Literal["float32", "bfloat16_autocast", "bfloat16"]

_BFLOAT16_DISTANCE = 0.05
"""Two ways to compute the same in bfloat16 lie about .01 of their size apart, other outputs some tenths and more."""


WEIGHTS = {"float32": torch.float32, "bfloat16_autocast": torch.float32, "bfloat16": torch.bfloat16}


def computing(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """Compute in the precision's products for this long; float32 adapters on bfloat16 weights included."""
    return nullcontext() if precision == "float32" else torch.autocast(device.type, torch.bfloat16)


def agree(first: Tensor, second: Tensor, *, rtol: float, atol: float) -> bool:
    """Say whether two outputs are the same to the rounding of their type. rtol, atol: of float32."""
    if first.dtype == torch.float32:
        return torch.allclose(first, second, rtol=rtol, atol=atol)
    difference, size = (first.float() - second.float()).norm(), second.float().norm()
    return bool(difference <= _BFLOAT16_DISTANCE * size)


@contextmanager
def in_float32(model: nn.Module) -> Iterator[None]:
    """Compute in float32 for this long, whatever the weights' type: each module's are cast while it is called."""
    kept: dict[nn.Module, dict[str, nn.Parameter]] = {}

    def cast(module: nn.Module, inputs: Any) -> None:
        kept[module] = {name: weight for name, weight in module._parameters.items() if weight is not None}
        for name, weight in kept[module].items():
            module._parameters[name] = nn.Parameter(weight.detach().float(), requires_grad=False)

    def put_back(module: nn.Module, inputs: Any, output: Any) -> None:
        module._parameters.update(kept.pop(module))

    low = [
        m for m in model.modules() if any(w is not None and w.dtype == torch.bfloat16 for w in m._parameters.values())
    ]
    hooks = [hook for m in low for hook in (m.register_forward_pre_hook(cast), m.register_forward_hook(put_back))]
    try:
        with torch.autocast(next(model.parameters()).device.type, enabled=False):
            yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def cast_once(model: nn.Module) -> Iterator[None]:
    """Hold the linear layers' float32 weights in bfloat16 for this long: autocast would cast them at every call.

    The same numbers as with autocast alone. Weights that others share (an embedding's) stay as they are there.
    """
    layers = [
        layer
        for layer in model.modules()
        if isinstance(layer, nn.Linear | Conv1D) and layer.weight.dtype == torch.float32
    ]
    kept = [layer.weight for layer in layers]
    for layer in layers:
        layer.weight = nn.Parameter(layer.weight.detach().bfloat16(), requires_grad=False)
    try:
        yield
    finally:
        for layer, weight in zip(layers, kept, strict=True):
            layer.weight = weight
