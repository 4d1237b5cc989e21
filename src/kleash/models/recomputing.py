"""Gradient checkpointing: keep each layer's input alone, and compute the layer again when its gradient is due.

transformers checkpoints a layer that is in training mode. Only the layers' own flag is set, for the forward passes
that gradients flow from: what lies inside them stays in evaluation mode, so that nothing is dropped out or jittered.
The last layer keeps its activations: its gradient is due first, when it would be computed again at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from kleash.errors import ModelError


class RecomputedLayers:
    """The layers of a model that are computed again in the backward pass; none unless is_on.

    Raises ModelError for an architecture that has no such layers.
    """

    def __init__(self, model: Any, *, is_on: bool) -> None:
        self._layers: list[Any] = []
        if is_on:
            layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
            if not layers or not model.supports_gradient_checkpointing:
                raise ModelError(
                    f"model.gradient_checkpointing is set, and this {model.config.model_type} model has no layers that "
                    "transformers can compute again. Expected one that supports it. Set it to false."
                )
            self._layers = layers[:-1]
        for layer in self._layers:
            layer.gradient_checkpointing = True
            layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)

    @contextmanager
    def in_forward(self) -> Iterator[None]:
        """Checkpoint the forward pass in this block, if gradients flow from it; cached decoding never does."""
        layers = self._layers if torch.is_grad_enabled() else []
        for layer in layers:
            layer.training = True
        try:
            yield
        finally:
            for layer in layers:
                layer.training = False
