"""Sums, means, moments and whitening over the cells that count.

Cells are selected with `where`, never multiplied by the mask: NaN * 0 is NaN. Select a tensor *before* a non-linear
function of it: the gradient of exp(NaN) is NaN even where a later `where` throws the value away.
A `Loss` is how sums and counts leave this package.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from kleash.maths.shapes import check_shapes


def select(x_BT: Tensor, mask_BT: Tensor, *, fill: float = 0.0) -> Tensor:
    """Keep the cells that count and put `fill` into all others; neither values nor gradients pass a masked cell."""
    return torch.where(mask_BT, x_BT, torch.full_like(x_BT, fill))


def masked_sum(x_BT: Tensor, mask_BT: Tensor, dim: int | None = None) -> Tensor:
    """Add up the cells that count, over everything or along one dimension. Gradients flow."""
    check_shapes(_letters(x_BT), x_BT=x_BT, mask_BT=mask_BT)
    kept = select(x_BT, mask_BT)
    return kept.sum() if dim is None else kept.sum(dim)


def masked_mean(x_BT: Tensor, mask_BT: Tensor, dim: int | None = None) -> Tensor:
    """Average the cells that count, over everything or along one dimension; zero where none counts. Gradients flow."""
    count = mask_BT.sum() if dim is None else mask_BT.sum(dim)
    return masked_sum(x_BT, mask_BT, dim) / count.clamp(min=1)


def last_counted(mask_BT: Tensor) -> Tensor:
    """Mark the last cell of each row that counts; a row without any stays False throughout."""
    check_shapes("B T", mask_BT=mask_BT)
    num_from_here_on_BT = mask_BT.long().flip(1).cumsum(1).flip(1)
    return mask_BT & (num_from_here_on_BT == 1)


@dataclass(frozen=True)
class Loss:
    """A loss as a sum and a count. total: over what counts, gradients flow; count: how much was summed, detached.

    Add totals and counts over micro-batches and ranks first, and divide once: a mean of means is another loss.
    """

    total: Tensor
    count: Tensor


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations: what parts of a batch need to know to agree on mean and variance.

    Plain floats, so that ranks can exchange them and checkpoints can hold them.
    """

    count: float = 0.0
    mean: float = 0.0
    squared_deviation: float = 0.0

    def merged(self, sum_across_ranks: Callable[[Mapping[str, float]], Mapping[str, float]]) -> Moments:
        """Return the moments of all ranks together: first the common mean, then the squares around it.

        Source: Chan, Golub & LeVeque 1979: no cancellation, unlike sums of squares.
        """
        total = sum_across_ranks({"count": self.count, "sum": self.count * self.mean})
        if not total["count"]:
            return Moments()
        mean = total["sum"] / total["count"]
        around_mean = self.squared_deviation + self.count * (self.mean - mean) ** 2
        return Moments(total["count"], mean, sum_across_ranks({"square": around_mean})["square"])

    def variance(self, *, ddof: int = 0) -> float:
        """Return the variance: divided by count - ddof (0: biased, 1: unbiased); zero if that is not positive."""
        divisor = self.count - ddof
        return self.squared_deviation / divisor if divisor > 0 else 0.0

    def sd(self, *, ddof: int = 0) -> float:
        """Return the standard deviation, in the unit of what was measured."""
        return math.sqrt(self.variance(ddof=ddof))


def masked_moments(x_BT: Tensor, mask_BT: Tensor) -> Moments:
    """Measure the cells that count, in double precision. No gradient flows: the result is plain floats."""
    check_shapes(_letters(x_BT), x_BT=x_BT, mask_BT=mask_BT)
    kept = x_BT.detach()[mask_BT].double()
    if kept.numel() == 0:
        return Moments()
    mean = kept.mean()
    return Moments(float(kept.numel()), float(mean), float((kept - mean).square().sum()))


def whiten(x_BT: Tensor, mask_BT: Tensor, *, shift_mean: bool = True, eps: float = 1e-8) -> Tensor:
    """Bring the cells that count to variance 1, and to mean 0 if shift_mean; masked cells hold zero.

        (x - mean) / sqrt(variance + eps)  [+ mean, unless shift_mean]

    Advantages are whitened with shift_mean, rewards without it: removing the mean of a reward changes what a longer
    answer earns. The variance is the biased one, as in the original code; use `whiten_with` for statistics of a larger
    batch than this one. The statistics count as constants for gradients.
    Source: Huang et al. 2024, "The N implementation details", detail 9.
    """
    return whiten_with(x_BT, mask_BT, masked_moments(x_BT, mask_BT), shift_mean=shift_mean, eps=eps)


def whiten_with(
    x_BT: Tensor, mask_BT: Tensor, moments: Moments, *, shift_mean: bool = True, eps: float = 1e-8, ddof: int = 0
) -> Tensor:
    """Whiten with given moments, such as those merged over all micro-batches and ranks. See `whiten`."""
    check_shapes(_letters(x_BT), x_BT=x_BT, mask_BT=mask_BT)
    scaled = (select(x_BT, mask_BT) - moments.mean) / math.sqrt(moments.variance(ddof=ddof) + eps)
    return select(scaled if shift_mean else scaled + moments.mean, mask_BT)


def _letters(x: Tensor) -> str:
    """Name the dimensions of a tensor of any rank, so that x and its mask can be compared."""
    return "B T" if x.dim() == 2 else " ".join(f"D{index}" for index in range(x.dim()))
