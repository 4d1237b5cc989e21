"""Write what the pages of labelling show as people read it: counts, intervals, dates. Numbers: `kleash.web.wording`."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from kleash.maths.intervals import Interval
from kleash.web import wording
from kleash.web.wording import GAP, MISSING, count, duration, number, percent

__all__ = ["GAP", "MISSING", "count", "duration", "number", "percent"]


def is_known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def counted(value: int, noun: str) -> str:
    """Return a number of things: 1 vote, 2 votes."""
    return f"{count(value)} {noun}{'' if value == 1 else 's'}"


def percent_range(figure: Interval) -> str:
    """Return the bounds of a share, such as 66 to 75 %; nothing where there is no figure."""
    if not (figure.n and is_known(figure.low) and is_known(figure.high)):
        return ""
    return wording.percent_range(figure.low, figure.high)


def number_range(figure: Interval, digits: int = 2) -> str:
    """Return the bounds of a figure; nothing where there is none."""
    if not (figure.n and is_known(figure.low) and is_known(figure.high)):
        return ""
    return wording.number_range(figure.low, figure.high, digits)


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


def place_letter(index: int) -> str:
    """Return the letter by which a page calls an answer: A, B, C."""
    return chr(ord("A") + index)


def shortened(text: str, length: int = 90) -> str:
    """Return the beginning of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"
