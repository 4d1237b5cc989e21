"""Run the last layer's feed-forward part only where its output is read.

Attention needs every position, and so does every layer that another one follows. But after the last layer only the
states that predict a response token (or the one that a reward is read from) are looked at, and most of a layer's
arithmetic is its feed-forward part, which treats each position by itself. Leaving out the rest changes no number that
is read, and saves about a tenth of the work of a small model whose prompts are as long as its answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from kleash.models.precision import agree


class LastFeedForward:
    """The feed-forward part of a model's last layer, where the architecture has one that can be told positions.

    Found by its usual place (`layers[-1].mlp` or the like) and kept only if a trial shows that nothing changes.
    """

    def __init__(self, backbone: Any) -> None:
        self._module = _last_mlp(backbone)
        if self._module is not None and not self._changes_nothing(backbone):
            self._module = None

    @property
    def is_found(self) -> bool:
        return self._module is not None

    @contextmanager
    def only_at(self, flat_N: Tensor | None) -> Iterator[None]:
        """Within the block, compute it at these positions of the flattened (B * S) batch; None = at all of them.

        At all other positions the states that come out are wrong and must not be read. Gradients flow as always.
        """
        if self._module is None or flat_N is None:
            yield
            return
        shape = torch.Size()

        def shrink(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            nonlocal shape
            shape = inputs[0].shape
            return (inputs[0].flatten(0, 1).index_select(0, flat_N)[None], *inputs[1:])

        def spread(module: nn.Module, inputs: tuple[Tensor, ...], output_1ND: Tensor) -> Tensor:
            whole = output_1ND.new_zeros(shape[0] * shape[1], output_1ND.shape[-1])
            return whole.index_copy(0, flat_N, output_1ND[0]).view(*shape[:2], -1)

        hooks = [self._module.register_forward_pre_hook(shrink), self._module.register_forward_hook(spread)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    @torch.no_grad()
    def _changes_nothing(self, backbone: Any) -> bool:
        embedding = backbone.get_input_embeddings().weight
        ids_BS = torch.arange(1, 13, device=embedding.device).remainder(len(embedding)).view(2, 6)
        flat_N = torch.tensor([1, 4, 5, 8], device=ids_BS.device)
        was_training = backbone.training
        backbone.eval()
        try:
            whole_ND = backbone(input_ids=ids_BS).last_hidden_state.flatten(0, 1)[flat_N]
            with self.only_at(flat_N):
                part_ND = backbone(input_ids=ids_BS).last_hidden_state.flatten(0, 1)[flat_N]
        except (TypeError, ValueError, RuntimeError, AttributeError, IndexError):
            return False  # an architecture whose feed-forward part takes or gives something else
        finally:
            backbone.train(was_training)
        return agree(whole_ND, part_ND, rtol=1e-4, atol=1e-5)


def _last_mlp(backbone: Any) -> nn.Module | None:
    """Return `mlp` of the last of the layers, the longest list of modules that all have one."""
    stacks = [m for m in backbone.modules() if isinstance(m, nn.ModuleList) and all(hasattr(x, "mlp") for x in m)]
    layers = max(stacks, key=len, default=None)
    found = layers[-1].mlp if layers is not None and len(layers) else None
    return found if isinstance(found, nn.Module) else None
