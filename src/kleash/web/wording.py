"""Write numbers the way people read them: percentages, signs, intervals, durations; a dash for what is not known."""

from __future__ import annotations

import math

MISSING = "–"
# A narrow no-break space keeps a number and its unit on one line.
GAP = "\u202f"


def number(value: float | None, digits: int = 2, *, signed: bool = False) -> str:
    """Return a number with so many decimals and a true minus sign."""
    if value is None or not math.isfinite(value):
        return MISSING
    rounded = round(value, digits) + 0.0  # + 0.0 turns -0.0 into 0.0
    return f"{rounded:{'+' if signed and rounded else ''}.{digits}f}".replace("-", "−")


def percent(share: float | None, digits: int = 0) -> str:
    """Return a share of 1 as a percentage."""
    return MISSING if share is None or not math.isfinite(share) else f"{number(100 * share, digits)}{GAP}%"


def points(difference: float | None, digits: int = 0) -> str:
    """Return a difference of two shares in signed percentage points."""
    if difference is None or not math.isfinite(difference):
        return MISSING
    return f"{number(100 * difference, digits, signed=True)}{GAP}points"


def percent_range(low: float | None, high: float | None) -> str:
    """Return an interval of shares, such as 66 to 75 %; "" if there is none."""
    return "" if low is None or high is None else f"{number(100 * low, 0)} to {number(100 * high, 0)}{GAP}%"


def points_range(low: float | None, high: float | None) -> str:
    """Return an interval of a difference of two shares, in percentage points; "" if there is none."""
    return "" if low is None or high is None else f"{number(100 * low, 0)} to {number(100 * high, 0)}"


def number_range(low: float | None, high: float | None, digits: int = 2) -> str:
    """Return an interval of numbers; "" if there is none."""
    return "" if low is None or high is None else f"{number(low, digits)} to {number(high, digits)}"


def count(value: float | None) -> str:
    """Return a whole number with thousands set apart."""
    return MISSING if value is None else f"{int(value):,}".replace(",", GAP)


def duration(seconds: float | None) -> str:
    """Return a time as a person says it: 41 s, 3 min 20 s, 2 h 5 min."""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    if seconds < 59.5:
        return f"{number(seconds, 1 if seconds < 9.95 else 0)}{GAP}s"
    if seconds < 3600:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes}{GAP}min" + (f" {rest}{GAP}s" if rest else "")
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours}{GAP}h" + (f" {minutes}{GAP}min" if minutes else "")


def length_accuracy(longer_wins: float) -> tuple[float, str]:
    """Return how often length alone would be right, and which way: the longer or the shorter answer.

    longer_wins: how often the longer answer is the preferred one.
    """
    return (longer_wins, "longer") if longer_wins >= 0.5 else (1 - longer_wins, "shorter")


def length_alone(longer_wins: float | None) -> str:
    """Say what a reward model has to beat: how often length alone would be right, and which way."""
    if longer_wins is None:
        return f"length alone: {MISSING}"
    share, which = length_accuracy(longer_wins)
    return f"always the {which} answer: {percent(share)}"


def listing(names: list[str]) -> str:
    """Join names as a sentence does: a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""
