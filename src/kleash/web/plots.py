"""What every figure is made of, as plotly wants it: points, marks, axes, layout, colours.

Colours are the names of a style sheet's variables; figures.js puts in their values for the light or the dark scheme.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kleash.web.wording import GAP

Part = dict[str, Any]

INK, MUTED, RULE, ACCENT, SOFT, OLD, BAD, WARN, SURFACE = (
    f"var(--{name})" for name in ("ink", "muted", "rule", "accent", "soft", "old", "bad", "warn-ink", "surface")
)


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


def unseen(x: Any, y: float) -> Part:
    """Return a point that only widens its axis, so that a band drawn there is in view."""
    return {"type": "scatter", "mode": "markers", "x": [x], "y": [y], "opacity": 0, "hoverinfo": "skip"}


def level(y: float) -> Part:
    """Return a dashed horizontal line across the panel."""
    span = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y}
    return span | {"line": {"color": MUTED, "width": 1, "dash": "4px,4px"}}


def upright(x: float, *, color: str = INK, dash: str = "solid") -> Part:
    """Return a vertical line through the whole figure."""
    span = {"type": "line", "yref": "paper", "x0": x, "x1": x, "y0": 0, "y1": 1}
    return span | {"line": {"color": color, "width": 1, "dash": dash}}


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


def chart(
    traces: Sequence[Part],
    *,
    x: Part,
    y: Part,
    height: int,
    left: int = 44,
    bottom: int = 44,
    top: int = 10,
    right: int = 8,
    **looks: Any,
) -> Part:
    """Return a figure of one panel. x, y: its axes; looks: what else its layout has, such as shapes."""
    own = layout(height=height, left=left, bottom=bottom, top=top, right=right)
    return figure(traces, own | {"xaxis": x, "yaxis": y} | looks)
