"""What every figure is made of, as plotly wants it: points, marks, axes, layout, colours.

Colours are the names of a style sheet's variables; figures.js puts in their values for the light or the dark scheme.
"""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kleash.web.wording import GAP

Part = dict[str, Any]

_LOOKS: Mapping[str, Part] = tomllib.loads(Path(__file__).with_name("looks.toml").read_text(encoding="utf-8"))

INK, MUTED, RULE, ACCENT, SOFT, OLD, BAD, WARN, SURFACE = (
    f"var(--{name})" for name in ("ink", "muted", "rule", "accent", "soft", "old", "bad", "warn-ink", "surface")
)


def look(kind: str, /, **drawn: Any) -> Part:
    """Return a part of a kind in looks.toml, with what is drawn put in."""
    return copy.deepcopy(_LOOKS[kind]) | drawn


def dots(x: Sequence[float], y: Sequence[float], texts: Sequence[str], *, color: str, symbol: str = "circle") -> Part:
    """Return points with a hover text each."""
    marker = {"color": color, "size": 7, "symbol": symbol}
    return look("dots", x=list(x), y=list(y), text=list(texts), marker=marker)


def unseen(x: Any, y: float) -> Part:
    """Return a point that only widens its axis, so that a band drawn there is in view."""
    return look("unseen", x=[x], y=[y])


def level(y: float) -> Part:
    """Return a dashed horizontal line across the panel."""
    return look("level", y0=y, y1=y)


def upright(x: float, *, color: str = INK, dash: str = "solid") -> Part:
    """Return a vertical line through the whole figure."""
    return look("upright", x0=x, x1=x, line={"color": color, "width": 1, "dash": dash})


def axis(*, title: str = "", has_grid: bool = True, ticks: int = 5, is_percent: bool = False) -> Part:
    """Return an axis in the house's looks; is_percent: its values are already in per cent."""
    named = {"text": title, "font": {"size": 12, "color": MUTED}}
    return look("axis", title=named, showgrid=has_grid, nticks=ticks, ticksuffix=f"{GAP}%" if is_percent else "")


def layout(*, height: int, left: int, bottom: int, top: int = 0, right: int = 8) -> Part:
    """Return a figure's layout: see-through, without a legend, margins in pixels."""
    return look("layout", height=height, margin={"l": left, "r": right, "t": top, "b": bottom})


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
