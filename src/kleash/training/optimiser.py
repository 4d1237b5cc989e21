"""AdamW with gradient clipping: one object per set of parameters that share a learning rate.

Weights of lower precision than float32 are rounded copies: their float32 masters are what Adam steps and what a
checkpoint keeps, and a bfloat16 gradient is added to its master's float32 one as soon as a backward pass gives it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from kleash.errors import RunError
from kleash.settings import AdamSettings
from kleash.training.checkpoints import Flat, flatten_optimizer, restore_optimizer
from kleash.training.ranks import Ranks


class Optimiser:
    """Steps named parameters by AdamW; sums gradients over ranks and clips their norm first.

    parameters: what is stepped, the parameters themselves where they are float32, else their masters.
    """

    def __init__(
        self,
        named_parameters: Iterable[tuple[str, torch.nn.Parameter]],
        *,
        learning_rate: float,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-5,
        weight_decay: float = 0.0,
        max_grad_norm: float | None = 1.0,
        ranks: Ranks | None = None,
    ) -> None:
        self.named_parameters = [(name, p) for name, p in named_parameters if p.requires_grad]
        self.parameters = [_master_of(p) for _, p in self.named_parameters]
        self.learning_rate = learning_rate
        self.max_grad_norm = max_grad_norm
        self.ranks = ranks or Ranks()
        self.adam = torch.optim.AdamW(
            self.parameters, lr=learning_rate, betas=betas, eps=eps, weight_decay=weight_decay, fused=True
        )

    @classmethod
    def from_settings(
        cls,
        named_parameters: Iterable[tuple[str, torch.nn.Parameter]],
        settings: AdamSettings,
        ranks: Ranks,
        *,
        learning_rate: float | None = None,
    ) -> Optimiser:
        """Return the optimiser that the settings describe. learning_rate: instead of the settings' own."""
        return cls(
            named_parameters,
            learning_rate=learning_rate or settings.learning_rate,
            betas=(settings.beta1, settings.beta2),
            eps=settings.eps,
            weight_decay=settings.weight_decay,
            max_grad_norm=settings.max_grad_norm,
            ranks=ranks,
        )

    def step(self, *, learning_rate_share: float = 1.0) -> dict[str, float]:
        """Apply the accumulated gradients and clear them; return gradient norm and learning rate.

        Where no rank has a gradient, for what is frozen, nothing is updated: neither weights nor moments, and no
        weight decays. Raises RunError when the gradient is not finite, before it touches the weights.
        """
        num_gradients = sum(parameter.grad is not None for parameter in self.parameters)
        if not self.ranks.sum_across_ranks({"gradients": num_gradients})["gradients"]:
            return {"gradient_norm": 0.0, "learning_rate": 0.0}
        for parameter in self.parameters:
            if parameter.grad is None:  # zero rather than absent, so that a resumed run takes the very same step
                parameter.grad = torch.zeros_like(parameter)
        self.ranks.sum_gradients(self.parameters)
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm or float("inf")))
        if not norm < float("inf"):
            self.adam.zero_grad(set_to_none=True)
            raise RunError(
                f"The gradient's norm is {norm}. Expected a finite number. The last checkpoint is whole: lower the "
                "learning rate, or look for non-finite rewards and overlong rows in the data."
            )
        learning_rate = self.learning_rate * learning_rate_share
        for group in self.adam.param_groups:
            group["lr"] = learning_rate
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        self._round_weights()
        return {"gradient_norm": norm, "learning_rate": learning_rate}

    def snapshot(self, prefix: str) -> Flat:
        """Weights and Adam's moments by name, and Adam's JSON state."""
        flat = flatten_optimizer(self.adam, f"{prefix}/adam")
        masters = zip(self.named_parameters, self.parameters, strict=True)
        weights = {f"{prefix}/weights/{name}": master.detach() for (name, _), master in masters}
        return Flat({**flat.tensors, **weights}, flat.state)

    def restore(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any], prefix: str) -> None:
        """Go back to a snapshot, exactly."""
        with torch.no_grad():
            for (name, _), master in zip(self.named_parameters, self.parameters, strict=True):
                master.copy_(tensors[f"{prefix}/weights/{name}"])
        self._round_weights()
        restore_optimizer(self.adam, tensors, state, f"{prefix}/adam")

    @torch.no_grad()
    def _round_weights(self) -> None:
        for (_, weight), master in zip(self.named_parameters, self.parameters, strict=True):
            if master is not weight:
                weight.copy_(master)


def _master_of(weight: torch.nn.Parameter) -> torch.nn.Parameter:
    if weight.dtype == torch.float32:
        return weight
    master = torch.nn.Parameter(weight.detach().float())
    weight.register_post_accumulate_grad_hook(partial(_hand_over, master))
    return master


def _hand_over(master: torch.nn.Parameter, weight: Tensor) -> None:
    """Add a weight's gradient to its master's, and clear it: bfloat16 would lose small ones in the sum."""
    assert weight.grad is not None
    gradient, weight.grad = weight.grad.float(), None
    master.grad = gradient if master.grad is None else master.grad.add_(gradient)
