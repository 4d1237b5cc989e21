"""What a win rate says, and what became of a round at its gate. The verdict on a run is in `pages/verdict.py`."""

from __future__ import annotations

from typing import Literal

from kleash.estimates import Estimate
from kleash.results import GateSummary
from kleash.run_summary import RoundSummary


def mood_of(rate: Estimate) -> Literal["better", "worse", "unclear"]:
    """Judge a win rate by its interval: all of it above an even half, all below, or neither."""
    if rate.low is None or rate.high is None:
        return "unclear"
    return "better" if rate.low > 0.5 else "worse" if rate.high < 0.5 else "unclear"


def gate_in_words(gate: GateSummary | RoundSummary) -> str:
    """Say what became of a round at its gate; "" where it has not come to one."""
    if gate.moves is None:
        return ""
    if not gate.moves:
        return f"held back: {'; '.join(gate.reasons)}"
    return "moves" if gate.against else "moves, unseen: alarms.comparer names nobody to compare answers"
