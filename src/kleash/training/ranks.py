"""One process or many: the few collective operations KLeash needs, and nothing else that knows of ranks.

Every rank runs the same program. Under `torchrun` the processes join through gloo (CPU) or nccl (GPU); alone, all of
this is the identity.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from kleash.maths.tally import merge_figures

# Ranks wait while the first one samples, labels or evaluates alone.
PATIENCE = timedelta(days=1)


@dataclass(frozen=True)
class Ranks:
    """This process's place among all."""

    rank: int = 0
    num_ranks: int = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def sum_across_ranks(self, figures: Mapping[str, float]) -> dict[str, float]:
        """Combine figures over all ranks: names ending in ":max" by maximum, all others by sum, in rank order."""
        if self.num_ranks == 1:
            return dict(figures)
        gathered: list[Mapping[str, float]] = [{} for _ in range(self.num_ranks)]
        dist.all_gather_object(gathered, dict(figures))
        merged: dict[str, float] = {}
        for part in gathered:
            merged = merge_figures(merged, part)
        return merged

    def sum_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Add up gradients over all ranks, in place; every rank has one for the same parameters."""
        if self.num_ranks == 1:
            return
        grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([grad.reshape(-1) for grad in grads])
        dist.all_reduce(flat)
        for grad, total in zip(grads, flat.split([grad.numel() for grad in grads]), strict=True):
            grad.copy_(total.view_as(grad))

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.num_ranks > 1:
            dist.barrier()


def join_ranks() -> Ranks:
    """Join the process group that torchrun announced in the environment; alone when there is none."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Ranks()
    if not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    return Ranks(dist.get_rank(), dist.get_world_size())
