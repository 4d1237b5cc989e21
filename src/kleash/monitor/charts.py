"""Draw a run's figures: which panels there are, what each shows and in which unit.

All updates share one step axis, so that a hover reads every panel at the same update: the reward is only worth what
the external quality beneath it says. plotly is imported when the first figure is drawn. The parts are in `plots.py`.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from kleash.monitor import plots
from kleash.monitor.checks import KL_BAND
from kleash.monitor.findings import (
    KL_METRIC,
    Findings,
    RewardModelFindings,
    slice_names,
    steps_of,
)
from kleash.monitor.measures import Estimate, column, metric_names
from kleash.monitor.plots import ACCENT, BAD, INK, MUTED, Part
from kleash.monitor.reader import Row
from kleash.monitor.verdict import judge_label
from kleash.monitor.wording import number, percent

PANEL_PIXELS = 132
GAP_PIXELS = 44
HEADING_SHARE = 0.85
LEFT_PIXELS = 44
MARGIN_BINS = 36
LONGEST_LABEL = 34
OF_THE_OPTIMISER = ("_seconds", "_gradient_norm", "_learning_rate")

SMALL_METRICS: Mapping[str, tuple[str, str, bool]] = {
    "entropy_nats": ("Entropy", "nats per token", False),
    "response_tokens_mean": ("Answer length", "tokens", False),
    "clip_fraction": ("Clip fraction", "tokens whose ratio was clipped", True),
    "explained_variance": ("Explained variance", "of the returns, by the critic", True),
    "truncation_share": ("Truncation", "answers cut off", True),
}
"""The smaller figures of an online run: {metric: (title, unit, is it a share of 1, shown in per cent?)}."""


@dataclass(frozen=True)
class Panel:
    """One panel of the training figure. end: the last value, written beside the line."""

    title: str
    unit: str
    traces: Sequence[Part]
    end: tuple[float, str, str] | None = None
    shapes: Sequence[Part] = ()
    axis: Part = field(default_factory=dict)


def training_figure(findings: Findings) -> Part | None:
    """Stack reward, external quality, KL and beta on one step axis; None if no update was recorded.

    Each slice's reward and KL are there too, hidden until the page's slice menu shows them (`meta` names the slice).
    """
    made = (_reward(findings), _external(findings), _kl(findings), _beta(findings))
    panels = [panel for panel in made if panel is not None]
    steps = steps_of(findings)
    if not panels or not steps:
        return None
    height = len(panels) * (PANEL_PIXELS + GAP_PIXELS)
    layout = plots.layout(height=height + 40, left=LEFT_PIXELS, right=44, bottom=40)
    layout["xaxis"] = plots.axis(title="update", has_grid=False, ticks=8) | {
        "anchor": "y" if len(panels) == 1 else f"y{len(panels)}",
        "range": [steps[0] - 0.5, steps[-1] + 0.5],
    }
    # One x axis for all panels: a spike runs through them all and a hover labels each.
    layout["xaxis"] |= {"showspikes": True, "spikemode": "across", "spikethickness": 1, "spikedash": "dot"}
    layout |= {"hovermode": "x", "hoversubplots": "axis"}
    traces: list[Part] = []
    for place, panel in enumerate(panels):
        name = f"y{'' if place == 0 else place + 1}"
        top = 1 - (place * (PANEL_PIXELS + GAP_PIXELS) + GAP_PIXELS * HEADING_SHARE) / height
        domain = {"domain": [max(top - PANEL_PIXELS / height, 0), top], "anchor": "x"}
        layout[f"yaxis{name[1:]}"] = plots.axis() | domain | panel.axis
        layout["annotations"].append(plots.heading(panel.title, panel.unit, y=top, shift=-LEFT_PIXELS))
        if panel.end is not None:
            value, text, color = panel.end
            layout["annotations"].append(plots.end_label(value, text, yref=name, color=color))
        layout["shapes"] += [shape | {"yref": name} for shape in panel.shapes]
        traces += [trace | {"xaxis": "x", "yaxis": name} for trace in panel.traces]
    if findings.kept_step is not None:
        layout["shapes"].append(plots.upright(findings.kept_step, color=BAD, dash="dot"))
        layout["annotations"].append(plots.flag(findings.kept_step, "weights kept", color=BAD))
    return plots.checked(traces, layout)


def small_figures(findings: Findings) -> list[tuple[str, str, Part]]:
    """Return (title, unit, figure) of each further metric; of a direct method, of the first few that it recorded."""
    wanted = dict(SMALL_METRICS)
    if findings.method == "direct":
        names = metric_names(findings.updates)
        plain = sorted(name for name in names - {"step"} if not name.endswith(OF_THE_OPTIMISER) and "/" not in name)
        wanted = {name: (name.replace("_", " "), "", False) for name in plain[:5]}
    found = []
    for name, (title, unit, is_share) in wanted.items():
        steps, values = column(findings.updates, name)
        if values:
            layout = plots.layout(height=140, left=44, bottom=26, top=8) | {"hovermode": "x"}
            layout["xaxis"] = plots.axis(has_grid=False, ticks=4)
            layout["yaxis"] = plots.axis(ticks=4, is_percent=is_share)
            shown = [100 * value for value in values] if is_share else values
            found.append((title, unit, plots.checked([plots.line(steps, shown, html.escape(title))], layout)))
    return found


def margin_figure(model: RewardModelFindings) -> Part | None:
    """Draw how far apart the reward model puts the two answers of unseen pairs; left of zero it is wrong."""
    if not model.margins:
        return None
    edges, wrong, right = margin_bins([margin for margin, _ in model.margins])
    middles = [(low + high) / 2 for low, high in pairwise(edges)]
    texts = [f"{number(low)} to {number(high)}" for low, high in pairwise(edges)]
    layout = plots.layout(height=_pair_height(model), left=44, bottom=44, top=10) | {"barmode": "stack"}
    layout["xaxis"] = plots.axis(title="margin, raw reward units", has_grid=False)
    layout["yaxis"] = plots.axis(title="pairs")
    layout["shapes"] = [plots.upright(0)]
    width = 0.94 * (edges[1] - edges[0])
    traces = [
        plots.bars(middles, wrong, width, texts, "wrong order", BAD),
        plots.bars(middles, right, width, texts, "right order", ACCENT),
    ]
    return plots.checked(traces, layout)


def slice_accuracy_figure(model: RewardModelFindings) -> Part | None:
    """Draw the reward model's accuracy on unseen pairs by slice with its interval, worst at the top."""
    if not model.slices:
        return None
    order = sorted(model.slices.items(), key=lambda item: item[1].value, reverse=True)
    values = [found for _, found in order]
    layout = plots.layout(height=_pair_height(model), left=10, bottom=44, top=10)
    layout["xaxis"] = plots.axis(is_percent=True)
    # Positions, not names, on the axis: two slices cut to the same label must stay two rows.
    places = list(range(len(order)))
    names = [html.escape(_shortened(name)) for name, _ in order]
    layout["yaxis"] = plots.axis(has_grid=False) | {"tickvals": places, "ticktext": names, "automargin": True}
    layout["shapes"] = [plots.upright(50)]
    texts = [_rate_text(found) for found in values]
    points = plots.dots([100 * found.value for found in values], places, texts, color=ACCENT)
    return plots.checked([points | {"error_x": plots.intervals(values, scale=100)}], layout)


def margin_bins(margins: Sequence[float]) -> tuple[list[float], list[int], list[int]]:
    """Count margins in equal bins with an edge at zero: (edges, counts at or below zero, counts above zero).

    Of a bin's two edges the upper one belongs to it, so that a margin of zero, a tie, is not counted as right.
    """
    low, high = min([*margins, 0.0]), max([*margins, 0.0])
    width = (high - low) / MARGIN_BINS or 1.0
    num_below = int(-low / width) + 1
    edges = [width * place for place in range(-num_below, int(high / width) + 2)]
    wrong, right = [0] * (len(edges) - 1), [0] * (len(edges) - 1)
    for margin in margins:
        place = next(place for place, edge in enumerate(edges[1:]) if margin <= edge)
        (right if margin > 0 else wrong)[place] += 1
    return edges, wrong, right


# ---------------------------------------------------------------------------------------------- the training panels
def _reward(findings: Findings) -> Panel | None:
    steps, values = column(findings.updates, "score_mean")
    if not values:
        return None
    return Panel(
        title="Reward (the proxy)",
        unit="z-score: in SD of the SFT model's answers",
        traces=[plots.line(steps, values, "reward"), *_slice_lines(findings.updates, "score_mean")],
        end=(values[-1], number(values[-1]), ACCENT),
    )


def _external(findings: Findings) -> Panel | None:
    curve = findings.external
    if curve is None:
        return None
    points, label = [point for _, point in curve.points], html.escape(judge_label(curve.name))
    trace = plots.dots(
        [step for step, _ in curve.points],
        [point.value for point in points],
        [_value_text(point) for point in points],
        color=INK,
    )
    trace |= {"mode": "lines+markers", "line": {"color": INK, "width": 1.2, "dash": "dot"}, "name": label}
    has_intervals = any(point.low is not None for point in points)
    size = f", n = {points[-1].n}" if points[-1].n is not None else ""
    return Panel(
        title=f"External quality: {label}",
        unit=f"mean points{', 95 % interval' if has_intervals else ''}{size}",
        traces=[trace | {"error_y": plots.intervals(points)}],
        end=(points[-1].value, number(points[-1].value), INK),
    )


def _kl(findings: Findings) -> Panel | None:
    steps, values = column(findings.updates, KL_METRIC)
    if not values:
        return None
    target, unit = findings.kl_target_nats, "nats per answer (k1)"
    traces = [plots.line(steps, values, "KL"), *_slice_lines(findings.updates, KL_METRIC)]
    shapes: list[Part] = []
    if target is not None:
        low, high = (1 - KL_BAND) * target, (1 + KL_BAND) * target
        shapes = [plots.band(low, high), plots.level(target)]
        traces.append(plots.unseen(steps[0], 1.05 * high))
        unit += f"; band: target {number(target)} ± {percent(KL_BAND)}"
    end = (values[-1], number(values[-1]), ACCENT)
    return Panel("KL to the SFT model", unit, traces, end=end, shapes=shapes, axis={"rangemode": "tozero"})


def _beta(findings: Findings) -> Panel | None:
    steps, values = column(findings.updates, "beta")
    if not values:
        return None
    line = plots.line(steps, values, "beta", color=MUTED)
    end = (values[-1], number(values[-1], 3), MUTED)
    return Panel("Beta", "price of KL: reward SD per nat", [line], end=end, axis={"rangemode": "tozero"})


def _slice_lines(updates: Sequence[Row], metric: str) -> list[Part]:
    lines = []
    for name in slice_names(updates):
        steps, values = column(updates, f"slice/{name}/{metric}")
        if values:
            drawn = plots.line(steps, values, html.escape(_shortened(name)), color=INK)
            lines.append(drawn | {"visible": False, "meta": {"slice": name}})
    return lines


def _pair_height(model: RewardModelFindings) -> int:
    return max(260, 60 + 24 * len(model.slices))


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_LABEL else name[: LONGEST_LABEL - 1] + "…"


def _rate_text(found: Estimate) -> str:
    span = "" if found.low is None or found.high is None else f" ({percent(found.low)} to {percent(found.high)})"
    return f"{percent(found.value, 1)}{span}{_num_cases(found)}"


def _value_text(found: Estimate) -> str:
    span = "" if found.low is None or found.high is None else f" ({number(found.low)} to {number(found.high)})"
    return f"{number(found.value)}{span}{_num_cases(found)}"


def _num_cases(found: Estimate) -> str:
    return "" if found.n is None else f", n = {found.n}"
