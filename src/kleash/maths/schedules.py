"""How a rate falls over a run. No torch here."""

from __future__ import annotations

from kleash.errors import SettingsError


def linear_decay(initial: float, *, update: int, num_updates: int, final_share: float = 0.0) -> float:
    """Return the rate of one update on a straight line from `initial` down to initial * final_share after the last.

        initial * (1 - (1 - final_share) * (update - 1) / num_updates)

    update: counted from 1. Past num_updates the rate stays at its end.
    Raises SettingsError for an update before the first or a run without updates.
    Source: Huang et al. 2024, arXiv:2403.17031.
    """
    if update < 1 or num_updates < 1:
        raise SettingsError(
            f"Update {update} of {num_updates} has no rate, expected update >= 1 and num_updates >= 1. "
            "Count updates from 1."
        )
    num_done = min(update - 1, num_updates)
    return initial * (1 - (1 - final_share) * num_done / num_updates)
