"""The marks that figures about training are made of, and their texts; what all figures share is in `kleash.web.plots`.

What is drawn, and from which figures, is decided in `charts.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kleash.estimates import Estimate
from kleash.monitor.read.measures import thinned
from kleash.web.plots import ACCENT, INK, Part, look
from kleash.web.wording import GAP, number, number_range, percent

LONGEST_LABEL = 34


def line(steps: Sequence[int], values: Sequence[float], name: str, *, color: str = ACCENT) -> Part:
    """Return a line over the updates, thinned to what a screen can show."""
    x, y = thinned(steps, values)
    hover = f"%{{y:.3g}}<extra>{name}</extra>"
    return look("line", x=x, y=y, name=name, line={"color": color, "width": 1.8}, hovertemplate=hover)


def words(x: Sequence[float], y: Sequence[float], texts: Sequence[str], *, leftward: Sequence[bool] = ()) -> Part:
    """Return words that begin right of their points, or end left of those that are leftward."""
    sides = leftward or [False] * len(texts)
    spaced = [f"{text}{3 * GAP}" if left else f"{3 * GAP}{text}" for text, left in zip(texts, sides, strict=True)]
    places = ["middle left" if left else "middle right" for left in sides]
    return look("words", x=list(x), y=list(y), text=spaced, textposition=places)


def bars(
    middles: Sequence[float], counts: Sequence[int], width: float, texts: Sequence[str], name: str, color: str
) -> Part:
    """Return a histogram's bars, all of one width."""
    marker, hover = {"color": color, "line": {"width": 0}}, f"%{{y}} pairs, margin %{{text}}<extra>{name}</extra>"
    drawn = {"x": list(middles), "y": list(counts), "width": width, "text": list(texts)}
    return look("bars", **drawn, name=name, marker=marker, hovertemplate=hover)


def intervals(values: Sequence[Estimate], *, scale: float = 1.0) -> Part:
    """Return plotly's error bars for estimates; one without an interval gets none."""
    above = [0.0 if figure.high is None else scale * (figure.high - figure.value) for figure in values]
    below = [0.0 if figure.low is None else scale * (figure.value - figure.low) for figure in values]
    return look("intervals", array=above, arrayminus=below)


def band(low: float, high: float) -> Part:
    """Return a horizontal band across the panel."""
    return look("band", y0=low, y1=high)


def heading(title: str, unit: str, *, y: float, shift: int) -> Part:
    """Return a panel's title and unit, set above its top left corner."""
    text = f'<b>{title}</b>  <span style="font-size:12px">{unit}</span>'
    place = {"x": 0, "y": y, "xref": "paper", "yref": "paper", "yanchor": "bottom", "xshift": shift, "yshift": 3}
    return _note(text, INK, size=13, align="left", **place)


def flag(x: float, text: str, *, color: str) -> Part:
    """Return a word at the top of a vertical line through the figure."""
    return _note(text, color, size=11, x=x, y=1, yref="paper", yanchor="top", xshift=2)


def end_label(y: float, text: str, *, yref: str, color: str) -> Part:
    """Return a line's last value, written to the right of the panel."""
    return _note(f"<b>{text}</b>", color, size=12, x=1, y=y, xref="paper", yref=yref, yanchor="middle", xshift=4)


def _note(text: str, color: str, *, size: int, **place: Any) -> Part:
    return {"text": text, "showarrow": False, "xanchor": "left", "font": {"size": size, "color": color}} | place


# ------------------------------------------------------------------------------------------------------------- texts
def shortened(name: str) -> str:
    """Return a slice's name, cut where it would outgrow its chart."""
    return name if len(name) <= LONGEST_LABEL else name[: LONGEST_LABEL - 1] + "…"


def value_text(figure: Estimate) -> str:
    """Return an estimate with its interval and n, as a hover shows it."""
    return f"{number(figure.value)}{span_text(figure)}{size_text(figure)}"


def rate_text(figure: Estimate) -> str:
    """Return a rate with its interval and n, as a hover shows it."""
    span = "" if figure.low is None or figure.high is None else f" ({percent(figure.low)} to {percent(figure.high)})"
    return f"{percent(figure.value, 1)}{span}{size_text(figure)}"


def span_text(figure: Estimate) -> str:
    span = number_range(figure.low, figure.high)
    return f" ({span})" if span else ""


def size_text(figure: Estimate) -> str:
    return "" if figure.n is None else f", n = {figure.n}"
