"""The smallest pieces of the report's HTML: escaped text, bars, figures with their interval.

A bar is a track of boxes and marks placed by percentages, so that tables and tiles need no script. Looks are in
report.css. Every text that came from a run passes through `escape`.
"""

from __future__ import annotations

import html
from collections.abc import Iterable

from kleash.monitor.measures import Estimate
from kleash.web.visible import visible_text
from kleash.web.wording import count, number, percent_range

MAX_SHOWN_CHARACTERS = 20_000
"""Far beyond what a person reads of one answer; a model may write a megabyte."""


def escape(content: object) -> str:
    """Return text that a browser shows as it is written, each character visible, also in an attribute."""
    return html.escape(visible_text(str(content)), quote=True)


def model_text(text: str) -> str:
    """Return what a model wrote, each character visible, cut where it would outgrow the page."""
    rest = len(text) - MAX_SHOWN_CHARACTERS
    return escape(text[:MAX_SHOWN_CHARACTERS] or "(empty)") + (
        f" <i>and {count(rest)} more characters</i>" if rest > 0 else ""
    )


def options(values: Iterable[str], *, chosen: str = "") -> str:
    """Return the options of a menu, each called by its value; the value itself stays as it is, to be compared with."""
    return "".join(
        f'<option value="{html.escape(value)}"{" selected" if value == chosen else ""}>{escape(value)}</option>'
        for value in values
    )


def rate_note(rate: Estimate) -> str:
    """Return a rate's interval and n in words."""
    return f"{percent_range(rate.low, rate.high) or 'no interval'}{num_cases(rate)}"


def num_cases(found: Estimate) -> str:
    return "" if found.n is None else f", n\u00a0=\u00a0{count(found.n)}"


def arrow(before: float | None, after: float | None, digits: int) -> str:
    """Return two numbers, before and after."""
    return f"{number(before, digits)} <i>→</i> {number(after, digits)}"


def bounds(found: Estimate) -> tuple[float, float]:
    """Return an estimate's interval; without one, the value twice."""
    return (found.value if found.low is None else found.low), (found.value if found.high is None else found.high)


# -------------------------------------------------------------------------------------------------------------- bars
def interval_bar(
    found: Estimate, *, even: float, start: float = 0.0, end: float = 1.0, less_is_better: bool = False
) -> str:
    """Return a bar with the interval as a box, coloured only if it excludes `even`, where a rule stands."""
    low, high = bounds(found)
    below, above = (" good", " bad") if less_is_better else (" bad", " good")
    kind = below if high < even else above if low > even else ""
    rule = mark("rule", even, start=start, end=end)
    return track(
        rule,
        box(f"range{kind}", low, high, start=start, end=end),
        mark(f"tick{kind}", found.value, start=start, end=end),
    )


def dumbbell(before: float | None, after: float | None, *, start: float = 0.0, end: float = 1.0) -> str:
    """Return a bar with a dot before and a dot after, joined; "" if one of them is not known."""
    if before is None or after is None:
        return ""
    low, high = sorted((before, after))
    join = box("join", low, high, start=start, end=end)
    return track(join, mark("dot old", before, start=start, end=end), mark("dot", after, start=start, end=end))


def track(*parts: str) -> str:
    """Return a bar of these boxes and marks."""
    return f'<span class="track" aria-hidden="true">{"".join(parts)}</span>'


def box(kind: str, low: float, high: float, *, start: float, end: float) -> str:
    """Return a box from low to high on a track from start to end."""
    left, right = _place(low, start, end), _place(high, start, end)
    return f'<span class="{kind}" style="left:{left:.2f}%;width:{max(right - left, 0):.2f}%"></span>'


def mark(kind: str, value: float, *, start: float, end: float) -> str:
    """Return a mark at a value on a track from start to end."""
    return f'<span class="{kind}" style="left:{_place(value, start, end):.2f}%"></span>'


def _place(value: float, start: float, end: float) -> float:
    return min(max(100 * (value - start) / ((end - start) or 1.0), 0.0), 100.0)
