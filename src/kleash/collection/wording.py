"""Write figures the way people read them: per cent with intervals, dates, durations; a dash for what is not known."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from kleash.maths.intervals import Interval

MISSING = "–"
# A narrow no-break space keeps a number and its unit on one line.
GAP = "\u202f"


def is_known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def number(value: float | None, digits: int = 2) -> str:
    """Return a number with so many decimals and a true minus sign."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")  # + 0.0 turns -0.0 into 0.0


def count(value: float) -> str:
    """Return a whole number with thousands set apart."""
    return f"{int(value):,}".replace(",", GAP)


def counted(value: int, noun: str) -> str:
    """Return a number of things: 1 vote, 2 votes."""
    return f"{count(value)} {noun}{'' if value == 1 else 's'}"


def percent(share: float | None) -> str:
    """Return a share of 1 in per cent."""
    return f"{number(100 * share, 0)}{GAP}%" if share is not None and math.isfinite(share) else MISSING


def percent_range(figure: Interval) -> str:
    """Return the bounds of a share, such as 66 to 75 %; nothing where there is no figure."""
    if not (figure.n and is_known(figure.low) and is_known(figure.high)):
        return ""
    return f"{number(100 * figure.low, 0)} to {number(100 * figure.high, 0)}{GAP}%"


def number_range(figure: Interval, digits: int = 2) -> str:
    """Return the bounds of a figure; nothing where there is none."""
    if not (figure.n and is_known(figure.low) and is_known(figure.high)):
        return ""
    return f"{number(figure.low, digits)} to {number(figure.high, digits)}"


def duration(seconds: float | None) -> str:
    """Return a time as a person says it: 4.5 s, 41 s, 3 min 20 s, 2 h 5 min."""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    if seconds < 59.5:
        return f"{number(seconds, 1 if seconds < 9.95 and seconds != int(seconds) else 0)}{GAP}s"
    if seconds < 3600:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes}{GAP}min" + (f" {rest}{GAP}s" if rest else "")
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours}{GAP}h" + (f" {minutes}{GAP}min" if minutes else "")


def span(time: timedelta) -> str:
    """Return a stretch of time in its largest fitting unit: 3 hours, 1 day, 5 weeks."""
    hours = time.total_seconds() / 3600
    if hours < 1.5:
        return "an hour"
    if hours < 36:
        return f"{round(hours)} hours"
    days = round(hours / 24)
    return counted(days, "day") if days < 21 else counted(round(days / 7), "week")


def day(moment: datetime) -> str:
    """Return a date: 23 Nov 2026."""
    return f"{moment.day} {moment:%b %Y}"


def near_day(moment: datetime) -> str:
    """Return a date whose year goes without saying: 23 Nov."""
    return f"{moment.day} {moment:%b}"


def minute(moment: datetime) -> str:
    """Return a moment in UTC to the minute: 2026-11-23 12:47."""
    return f"{moment:%Y-%m-%d %H:%M}"


def place_letter(place: int) -> str:
    """Return the letter by which a page calls an answer: A, B, C."""
    return chr(ord("A") + place)


def shortened(text: str, length: int = 90) -> str:
    """Return the beginning of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"
