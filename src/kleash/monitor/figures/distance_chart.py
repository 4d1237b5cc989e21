"""Draw quality over d = sqrt(KL): measured points, the law fitted to them, its peak, and where a run stands now.

Gao, Schulman & Hilton's picture (arXiv:2210.10760): the proxy goes on rising while gold bends and falls. The fits are
made in `kleash.maths.overoptimisation`; which curves are drawn is decided by `pages/comparing.py`.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from kleash.estimates import Estimate
from kleash.maths.overoptimisation import LEAST_PPO_DISTANCE, Fit
from kleash.monitor.figures import marks
from kleash.monitor.read.measures import MAX_DOTS, kept_places
from kleash.web import plots
from kleash.web.plots import SURFACE, Part
from kleash.web.wording import number, number_range

COLORS = tuple(f"var(--run-{letter})" for letter in "abcdefgh")
"""One colour per run; the variables are in static/curves.css."""
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "hexagon", "triangle-down")
"""One symbol per run, for those who cannot tell the colours apart."""

HEIGHT_PIXELS = 340
FITTED_POINTS = 80
# A fitted curve is drawn a little beyond the last checkpoint, to its peak where that is near.
DRAWN_REACH = 1.25


@dataclass(frozen=True)
class DrawnCurve:
    """One curve. points: (distance, value); start: its value at KL 0, above which the fit counts its gain."""

    name: str
    color: str
    symbol: str
    points: Sequence[tuple[float, Estimate]]
    fit: Fit | None = None
    start: float = 0.0
    is_dashed: bool = False


def distance_figure(curves: Sequence[DrawnCurve], *, height: int = HEIGHT_PIXELS) -> Part | None:
    """Draw curves over sqrt(KL); the newest point of each is hollow.

    A law that bends is dotted, with a large cross at its peak where that is within reach; another is not drawn.
    """
    drawn = [curve for curve in curves if curve.points]
    if not drawn:
        return None
    traces: list[Part] = []
    for curve in drawn:
        traces.append(_measured(curve))
        if curve.fit is not None and curve.fit.bends:
            traces += _fitted(curve, curve.fit)
    x = plots.axis(title="√KL from the start, √nats", has_grid=False) | {"rangemode": "tozero"}
    return plots.chart(traces, x=x, y=plots.axis(), height=height, left=48, right=14)


def _measured(curve: DrawnCurve) -> Part:
    kept = kept_places([value.value for _, value in curve.points], max_points=MAX_DOTS)
    points = sorted((curve.points[index] for index in kept), key=lambda point: point[0])
    newest = curve.points[-1]
    name = html.escape(curve.name)
    texts = [
        f"{number(value.value)}{marks.span_text(value)} at KL {number(distance**2)} nats" for distance, value in points
    ]
    trace = plots.dots([distance for distance, _ in points], [value.value for _, value in points], texts, color="")
    fills = [SURFACE if point == newest else curve.color for point in points]
    outline = {"color": curve.color, "width": 1.6}
    trace |= {
        "mode": "lines+markers",
        "name": name,
        "line": {"color": curve.color, "width": 1.4, "dash": "4px,4px" if curve.is_dashed else "solid"},
        "marker": {"color": fills, "symbol": curve.symbol, "size": 8, "line": outline},
        "hovertemplate": f"%{{text}}<extra>{name}</extra>",
    }
    return trace | {"error_y": marks.intervals([value for _, value in points]) | {"color": curve.color}}


def _fitted(curve: DrawnCurve, fit: Fit) -> list[Part]:
    reach = max(distance for distance, _ in curve.points)
    peak = fit.peak_distance
    least = LEAST_PPO_DISTANCE if fit.form == "ppo" else 0.02
    end = DRAWN_REACH * max(reach, least)
    xs = [least + (end - least) * index / (FITTED_POINTS - 1) for index in range(FITTED_POINTS)]
    law = "d (a − b log d)" if fit.form == "ppo" else "d (a − b d)"
    text = f"fitted {law}: a {number(fit.a)}, b {number(fit.b)}, R² {number(fit.r_squared)}, n = {fit.num_points}"
    name = html.escape(curve.name)
    line = marks.line([], [], name, color=curve.color) | {
        "x": xs,
        "y": [curve.start + fit.gold(x) for x in xs],
        "line": {"color": curve.color, "width": 1, "dash": "dot"},
        "hovertemplate": f"{text}<extra>{name}</extra>",
    }
    if not least <= peak <= end:
        return [line]
    where = f"predicted peak at √KL {number(peak)} ({number_range(fit.peak_low, fit.peak_high)})"
    mark = plots.dots([peak], [curve.start + fit.peak_value], [where], color=curve.color)
    mark |= {"marker": {"color": curve.color, "symbol": "x-thin-open", "size": 13, "line": {"width": 2.2}}}
    return [line, mark | {"hovertemplate": f"{where}<extra>{name}</extra>"}]
