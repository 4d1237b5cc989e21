"""The parts that every figure is made of, as plotly wants them: lines, dots, bars, axes, bands, titles.

Colours are the names of report.css's variables; figures.js puts in their values for the light or the dark scheme.
What is drawn, and from which figures, is decided in `charts.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kleash.monitor.downsampling import thinned
from kleash.monitor.measures import Estimate
from kleash.monitor.wording import GAP, number, percent

Part = dict[str, Any]

LONGEST_LABEL = 34

INK, MUTED, RULE, ACCENT, SOFT, BAD, WARN, SURFACE = (
    f"var(--{name})" for name in ("ink", "muted", "rule", "accent", "soft", "bad", "warn-ink", "surface")
)


def line(steps: Sequence[int], values: Sequence[float], name: str, *, color: str = ACCENT) -> Part:
    """Return a line over the updates, thinned to what a screen can show."""
    shown_steps, shown_values = thinned(steps, values)
    return {
        "type": "scatter",
        "mode": "lines",
        "x": shown_steps,
        "y": shown_values,
        "name": name,
        "line": {"color": color, "width": 1.8},
        "hovertemplate": f"%{{y:.3g}}<extra>{name}</extra>",
    }


def dots(x: Sequence[float], y: Sequence[float], texts: Sequence[str], *, color: str, symbol: str = "circle") -> Part:
    """Return points with a hover text each."""
    return {
        "type": "scatter",
        "mode": "markers",
        "x": list(x),
        "y": list(y),
        "text": list(texts),
        "marker": {"color": color, "size": 7, "symbol": symbol},
        "cliponaxis": False,
        "hovertemplate": "%{text}<extra></extra>",
    }


def words(x: Sequence[float], y: Sequence[float], texts: Sequence[str]) -> Part:
    """Return words that begin right of their points."""
    return {
        "type": "scatter",
        "mode": "text",
        "x": list(x),
        "y": list(y),
        "text": [f"{GAP}{GAP}{GAP}{text}" for text in texts],
        "textposition": "middle right",
        "textfont": {"size": 11, "color": INK},
        "hoverinfo": "skip",
    }


def bars(
    middles: Sequence[float], counts: Sequence[int], width: float, texts: Sequence[str], name: str, color: str
) -> Part:
    """Return a histogram's bars, all of one width."""
    return {
        "type": "bar",
        "x": list(middles),
        "y": list(counts),
        "width": width,
        "text": list(texts),
        "textposition": "none",
        "name": name,
        "marker": {"color": color, "line": {"width": 0}},
        "hovertemplate": f"%{{y}} pairs, margin %{{text}}<extra>{name}</extra>",
    }


def unseen(x: float, y: float) -> Part:
    """Return a point that only widens its axis, so that a band drawn there is in view."""
    return {"type": "scatter", "mode": "markers", "x": [x], "y": [y], "opacity": 0, "hoverinfo": "skip"}


def intervals(values: Sequence[Estimate], *, scale: float = 1.0) -> Part:
    """Return plotly's error bars for estimates; one without an interval gets none."""
    above = [0.0 if found.high is None else scale * (found.high - found.value) for found in values]
    below = [0.0 if found.low is None else scale * (found.value - found.low) for found in values]
    common = {"type": "data", "symmetric": False, "thickness": 1.2, "width": 0, "color": MUTED}
    return common | {"array": above, "arrayminus": below}


def band(low: float, high: float) -> Part:
    """Return a horizontal band across the panel."""
    span = {"type": "rect", "xref": "paper", "x0": 0, "x1": 1, "y0": low, "y1": high}
    return span | {"fillcolor": SOFT, "line": {"width": 0}, "layer": "below"}


def level(y: float) -> Part:
    """Return a dashed horizontal line across the panel."""
    span = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y}
    return span | {"line": {"color": MUTED, "width": 1, "dash": "4px,4px"}}


def upright(x: float, *, color: str = INK, dash: str = "solid") -> Part:
    """Return a vertical line through the whole figure."""
    span = {"type": "line", "yref": "paper", "x0": x, "x1": x, "y0": 0, "y1": 1}
    return span | {"line": {"color": color, "width": 1, "dash": dash}}


def heading(title: str, unit: str, *, y: float, shift: int) -> Part:
    """Return a panel's title and unit, set above its top left corner."""
    place = {
        "xref": "paper",
        "yref": "paper",
        "x": 0,
        "y": y,
        "xanchor": "left",
        "yanchor": "bottom",
        "xshift": shift,
        "yshift": 3,
    }
    text = f'<b>{title}</b>  <span style="font-size:12px">{unit}</span>'
    return place | {"text": text, "showarrow": False, "align": "left", "font": {"size": 13, "color": INK}}


def flag(x: float, text: str, *, color: str) -> Part:
    """Return a word at the top of a vertical line through the figure."""
    place = {"x": x, "yref": "paper", "y": 1, "xanchor": "left", "yanchor": "top", "xshift": 2}
    return place | {"text": text, "showarrow": False, "font": {"size": 11, "color": color}}


def end_label(y: float, text: str, *, yref: str, color: str) -> Part:
    """Return a line's last value, written to the right of the panel."""
    place = {"xref": "paper", "x": 1, "yref": yref, "y": y, "xanchor": "left", "yanchor": "middle", "xshift": 4}
    return place | {"text": f"<b>{text}</b>", "showarrow": False, "font": {"size": 12, "color": color}}


def axis(*, title: str = "", has_grid: bool = True, ticks: int = 5, is_percent: bool = False) -> Part:
    """Return an axis in the house's looks; is_percent: its values are already in per cent."""
    return {
        "showgrid": has_grid,
        "gridcolor": RULE,
        "zeroline": False,
        "linecolor": RULE,
        "tickfont": {"size": 11, "color": MUTED},
        "title": {"text": title, "font": {"size": 12, "color": MUTED}},
        "nticks": ticks,
        "fixedrange": True,
        # Panels must stay flush with the page's text: the margins are given, not found.
        "automargin": False,
        "ticksuffix": f"{GAP}%" if is_percent else "",
    }


def layout(*, height: int, left: int, bottom: int, top: int = 0, right: int = 8) -> Part:
    """Return a figure's layout: see-through, without a legend, margins in pixels."""
    return {
        "height": height,
        "margin": {"l": left, "r": right, "t": top, "b": bottom},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"size": 12, "color": INK},
        "hoverlabel": {"bgcolor": SURFACE, "bordercolor": RULE, "font": {"color": INK, "size": 12}},
        "showlegend": False,
        "annotations": [],
        "shapes": [],
    }


def figure(traces: Sequence[Part], figure_layout: Part) -> Part:
    """Return a figure as plain data. Whether plotly knows all that stands in it, tests ask it in a browser."""
    return {"data": list(traces), "layout": figure_layout}


# ------------------------------------------------------------------------------------------------------------- texts
def shortened(name: str) -> str:
    """Return a slice's name, cut where it would outgrow its chart."""
    return name if len(name) <= LONGEST_LABEL else name[: LONGEST_LABEL - 1] + "…"


def value_text(found: Estimate) -> str:
    """Return an estimate with its interval and n, as a hover shows it."""
    span = "" if found.low is None or found.high is None else f" ({number(found.low)} to {number(found.high)})"
    return f"{number(found.value)}{span}{size_text(found)}"


def rate_text(found: Estimate) -> str:
    """Return a rate with its interval and n, as a hover shows it."""
    span = "" if found.low is None or found.high is None else f" ({percent(found.low)} to {percent(found.high)})"
    return f"{percent(found.value, 1)}{span}{size_text(found)}"


def size_text(found: Estimate) -> str:
    return "" if found.n is None else f", n = {found.n}"
