"""How a learning rate rises and falls over a run. No torch here."""

from __future__ import annotations

import math
from typing import Literal

from kleash.errors import SettingsError

Schedule = Literal["linear", "cosine", "constant"]


def rate_share(
    step: int, num_steps: int, *, schedule: Schedule = "linear", warmup_share: float = 0.0, final_share: float = 0.0
) -> float:
    """Return the share of the learning rate that one of a run's optimiser steps, or updates, uses.

        rising      (step + 1) / (W + 1)                                  step < W = round(warmup_share * num_steps)
        linear      1 - (1 - final_share) * p                             p = (step - W) / (num_steps - W)
        cosine      final_share + (1 - final_share) * (1 + cos(pi p)) / 2
        constant    1

    step: counted from 0. Past num_steps the share stays at its end.
    Raises SettingsError for a step before the first or a run without steps.
    Source: linear without a rise as Huang et al. 2024, arXiv:2403.17031; cosine as Loshchilov & Hutter 2017,
    arXiv:1608.03983, without restarts.
    """
    if step < 0 or num_steps < 1:
        raise SettingsError(
            f"Step {step} of {num_steps} has no rate, expected step >= 0 and num_steps >= 1. Count steps from 0."
        )
    num_rising = round(warmup_share * num_steps)
    if step < num_rising:
        return (step + 1) / (num_rising + 1)
    num_falling = max(num_steps - num_rising, 1)
    num_done = min(step - num_rising, num_falling)
    if schedule == "linear":
        return 1 - (1 - final_share) * num_done / num_falling
    if schedule == "cosine":
        return final_share + (1 - final_share) * (1 + math.cos(math.pi * num_done / num_falling)) / 2
    return 1.0
