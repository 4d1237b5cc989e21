"""The record that every loss returns: a sum and a count, so that any split of a batch adds up to the same gradient."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Loss:
    """total: the sum over what counts, gradients flow; count: how much was summed, detached.

    Add totals and counts over micro-batches and ranks first, and divide once: a mean of means is another loss.
    """

    total: Tensor
    count: Tensor
