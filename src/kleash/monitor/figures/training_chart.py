"""Draw a training run on one axis of updates: alarms, reward, external quality, KL, beta, one panel below another.

A hover reads every panel at the same update: the reward is only worth what the external quality beneath it says, and
alarms stand where they were raised. One slice can be drawn beside the average of all prompts.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from kleash.monitor.figures import marks
from kleash.monitor.figures.marks import rate_text, shortened, value_text
from kleash.monitor.read.alarms import Mark, ending, history
from kleash.monitor.read.checks import KL_BAND
from kleash.monitor.read.external_quality import ExternalCurve, Points, judge_label
from kleash.monitor.read.findings import KL_METRIC, Findings, slice_names, steps_of
from kleash.monitor.read.measures import MAX_DOTS, column, kept_places
from kleash.monitor.read.reader import Rows
from kleash.records import slice_metric
from kleash.web import plots
from kleash.web.plots import ACCENT, BAD, INK, MUTED, WARN, Part
from kleash.web.wording import GAP, number, percent

PANEL_PIXELS = 132
LOW_PANEL_PIXELS = 64
ALARM_ROW_PIXELS = 20
GAP_PIXELS = 44
HEADING_SHARE = 0.85
LEFT_PIXELS = 44
MAX_SYMPTOMS = 8
LATE_SHARE = 0.8
MAX_SLICES_TOLD = 6
STATE_COLORS = {"ok": MUTED, "warn": WARN, "stop": BAD}
STATE_MARKERS = {"ok": "circle-open", "warn": "triangle-up", "stop": "x"}
SOURCE_MARKERS = (("circle", "●"), ("diamond", "◆"), ("square", "■"), ("triangle-up", "▲"))


@dataclass(frozen=True)
class ChartPanel:
    """One panel of the training figure. end: the last value, written beside the line."""

    title: str
    unit: str
    traces: Sequence[Part]
    end: tuple[float, str, str] | None = None
    shapes: Sequence[Part] = ()
    axis: Part = field(default_factory=dict)
    pixels: int = PANEL_PIXELS


def training_figure(findings: Findings, *, slices: Sequence[str] | None = None) -> Part | None:
    """Stack alarms, reward, external quality, KL and beta on one axis of updates; None if no update was recorded.

    slices: those drawn beside the average. None draws every slice hidden, for a page whose own menu shows them
    (`meta` names the slice).
    """
    names = slice_names(findings.updates) if slices is None else list(slices)
    possible = [
        _alarms(findings),
        _line_panel(findings, "score_mean", "Reward (the proxy)", _reward_unit(findings), "reward", names),
        _win_rates(findings, names),
        _external(findings.external, names),
        _kl(findings, names),
        _low_panel(findings, "kl_nats_per_token", "KL per token", "nats (k1)"),
        _low_panel(findings, "beta", "Beta", "price of KL: reward SD per nat"),
    ]
    panels, steps = [panel for panel in possible if panel is not None], steps_of(findings)
    if not panels or not steps:
        return None
    traces, layout = _stacked(panels)
    layout["xaxis"]["range"] = [steps[0] - 0.5, steps[-1] + 0.5]
    _add_marks(layout, findings)
    if slices is None:
        traces = [trace | {"visible": False} if "meta" in trace else trace for trace in traces]
    return plots.figure(traces, layout)


# ---------------------------------------------------------------------------------------------------------- stacking
def _stacked(panels: Sequence[ChartPanel]) -> tuple[list[Part], Part]:
    """Lay the panels out one below another over one x axis."""
    height = sum(panel.pixels + GAP_PIXELS for panel in panels)
    layout = plots.layout(height=height + 40, left=LEFT_PIXELS, right=44, bottom=40)
    layout["xaxis"] = plots.axis(title="update", has_grid=False, ticks=8)
    layout["xaxis"]["anchor"] = "y" if len(panels) == 1 else f"y{len(panels)}"
    # One x axis for all panels: a spike runs through them all and a hover labels each.
    layout["xaxis"] |= {"showspikes": True, "spikemode": "across", "spikethickness": 1, "spikedash": "dot"}
    layout |= {"hovermode": "x", "hoversubplots": "axis"}
    traces: list[Part] = []
    bottom = float(height)
    for index, panel in enumerate(panels):
        name = f"y{'' if index == 0 else index + 1}"
        top = (bottom - GAP_PIXELS * HEADING_SHARE) / height
        bottom -= panel.pixels + GAP_PIXELS
        domain = {"domain": [max(top - panel.pixels / height, 0), top], "anchor": "x"}
        layout[f"yaxis{name[1:]}"] = plots.axis() | domain | panel.axis
        layout["annotations"].append(marks.heading(panel.title, panel.unit, y=top, shift=-LEFT_PIXELS))
        if panel.end is not None:
            value, text, color = panel.end
            layout["annotations"].append(marks.end_label(value, text, yref=name, color=color))
        layout["shapes"] += [shape | {"yref": name} for shape in panel.shapes]
        traces += [trace | {"xaxis": "x", "yaxis": name} for trace in panel.traces]
    return traces, layout


def _add_marks(layout: Part, findings: Findings) -> None:
    """Draw upright lines where alarms were first raised, where one ended the run, and whose weights were kept."""
    for state in ("warn", "stop"):
        first = next((alarm.step for alarm in findings.alarms if alarm.state == state), None)
        if first is not None:
            layout["shapes"].append(plots.upright(first, color=STATE_COLORS[state], dash="dash"))
    ended = ending(findings.alarms)
    if ended is not None:
        layout["shapes"].append(plots.upright(ended.step, color=BAD))
        layout["annotations"].append(marks.flag(ended.step, "ended by alarm", color=BAD))
    if findings.kept_step is not None:
        layout["shapes"].append(plots.upright(findings.kept_step, color=ACCENT, dash="dot"))
        layout["annotations"].append(marks.flag(findings.kept_step, "weights kept", color=ACCENT))


# ------------------------------------------------------------------------------------------------------------ panels
def _alarms(findings: Findings) -> ChartPanel | None:
    past = history(findings.alarms)
    if not past:
        return None
    symptoms = list(past)[:MAX_SYMPTOMS]
    shown = [(index, name, mark) for index, name in enumerate(symptoms) for mark in past[name]]
    traces = [
        plots.dots(
            [mark.step for _, _, mark in shown if mark.state == state],
            [index for index, _, mark in shown if mark.state == state],
            [_mark_text(name, mark) for _, name, mark in shown if mark.state == state],
            color=color,
            symbol=STATE_MARKERS[state],
        )
        for state, color in STATE_COLORS.items()
        if any(mark.state == state for _, _, mark in shown)
    ]
    names = [html.escape(shortened(symptom.replace("_", " "))) for symptom in symptoms]
    firsts, updates = [past[name][0].step for name in symptoms], steps_of(findings)
    # A name that would run out of the panel stands before its mark.
    late = [step > LATE_SHARE * updates[-1] if updates else False for step in firsts]
    labels = marks.words(firsts, list(range(len(symptoms))), names, leftward=late)
    axis = {"tickvals": list(range(len(symptoms))), "ticktext": [""] * len(symptoms), "nticks": None}
    axis |= {"range": [len(symptoms) - 0.4, -0.6], "showgrid": True}
    left_out = len(past) - len(symptoms)
    unit = "▲ warn ✕ stop ○ over" + (f"; {left_out} more symptoms are listed" if left_out else "")
    height = max(LOW_PANEL_PIXELS, ALARM_ROW_PIXELS * len(symptoms))
    return ChartPanel("Alarms", unit, [*traces, labels], axis=axis, pixels=height)


def _mark_text(symptom: str, mark: Mark) -> str:
    places = [html.escape(shortened(name)) if name else "all prompts" for name in mark.slices]
    where = f"<br>{'<br>'.join(places[:MAX_SLICES_TOLD])}" if places else ""
    more = f"<br>{len(places) - MAX_SLICES_TOLD} more slices" if len(places) > MAX_SLICES_TOLD else ""
    return f"{html.escape(shortened(symptom.replace('_', ' ')))}: {mark.state}{where}{more}"


def _line_panel(
    findings: Findings,
    metric: str,
    title: str,
    unit: str,
    name: str,
    slices: Sequence[str] = (),
    *,
    color: str = ACCENT,
) -> ChartPanel | None:
    """Draw a metric over the updates, its last value beside the line. name: in the hover; slices: drawn beside it."""
    steps, values = column(findings.updates, metric)
    if not values:
        return None
    traces = [marks.line(steps, values, name, color=color), *_slice_lines(findings.updates, metric, slices)]
    return ChartPanel(title, unit, traces, end=(values[-1], number(values[-1]), color))


def _reward_unit(findings: Findings) -> str:
    is_scaled = findings.reward_name == "reward model"
    return f"z-score: in SD of the {findings.reference_name}'s answers" if is_scaled else "in its own unit"


def _win_rates(findings: Findings, names: Sequence[str]) -> ChartPanel | None:
    curves = findings.win_rates
    if not curves:
        return None
    traces, keys = [], []
    for index, curve in enumerate(curves):
        symbol, sign = SOURCE_MARKERS[index % len(SOURCE_MARKERS)]
        label = html.escape(judge_label(curve.name))
        keys.append(f"{sign} {label}")
        traces.append(_quality_trace(curve.points, label, symbol=symbol, is_rate=True))
        traces += _slice_quality(curve, names, symbol=symbol, is_rate=True)
    last = curves[0].points[-1][1].value
    return ChartPanel(
        title=f"Win rate against the {findings.reference_name}",
        unit=f"{', '.join(keys)}; 95 % interval",
        traces=traces,
        end=(100 * last, percent(last), INK),
        shapes=[plots.level(50)],
        axis={"ticksuffix": GAP + "%"},
    )


def _external(curve: ExternalCurve | None, names: Sequence[str]) -> ChartPanel | None:
    if curve is None:
        return None
    points, label = [point for _, point in curve.points], html.escape(judge_label(curve.name))
    has_intervals = any(point.low is not None for point in points)
    size = f", n = {points[-1].n}" if points[-1].n is not None else ""
    return ChartPanel(
        title=f"External quality: {label}",
        unit=f"mean points{', 95 % interval' if has_intervals else ''}{size}",
        traces=[_quality_trace(curve.points, label), *_slice_quality(curve, names)],
        end=(points[-1].value, number(points[-1].value), INK),
    )


def _kl(findings: Findings, names: Sequence[str]) -> ChartPanel | None:
    target, title = findings.kl_target_nats, f"KL to the {findings.reference_name}"
    band = "" if target is None else f"; band: target {number(target)} ± {percent(KL_BAND)}"
    panel = _line_panel(findings, KL_METRIC, title, f"nats per answer (k1){band}", "KL", names)
    if panel is None:
        return None
    panel.axis["rangemode"] = "tozero"
    if target is None:
        return panel
    low, high = (1 - KL_BAND) * target, (1 + KL_BAND) * target
    in_view = plots.unseen(steps_of(findings)[0], 1.05 * high)
    return replace(panel, traces=[*panel.traces, in_view], shapes=[marks.band(low, high), plots.level(target)])


def _low_panel(findings: Findings, metric: str, title: str, unit: str) -> ChartPanel | None:
    panel = _line_panel(findings, metric, title, unit, title, color=MUTED)
    if panel is None or panel.end is None:
        return None
    end, axis = (panel.end[0], number(panel.end[0], 3), MUTED), {"rangemode": "tozero", "nticks": 3}
    return replace(panel, end=end, axis=axis, pixels=LOW_PANEL_PIXELS)


# ------------------------------------------------------------------------------------------------------------ traces
def _slice_lines(updates: Rows, metric: str, names: Sequence[str]) -> list[Part]:
    lines = []
    for name in names:
        steps, values = column(updates, slice_metric(name, metric))
        if values:
            drawn = marks.line(steps, values, html.escape(shortened(name)), color=INK)
            lines.append(drawn | {"meta": {"slice": name}})
    return lines


def _slice_quality(
    curve: ExternalCurve, names: Sequence[str], *, symbol: str = "circle", is_rate: bool = False
) -> list[Part]:
    drawn = []
    for name in names:
        if name in curve.slices:
            label = html.escape(shortened(name))
            trace = _quality_trace(curve.slices[name], label, symbol=symbol, is_rate=is_rate, color=WARN)
            drawn.append(trace | {"meta": {"slice": name}})
    return drawn


def _quality_trace(
    curve: Points, label: str, *, symbol: str = "circle", is_rate: bool = False, color: str = INK
) -> Part:
    kept = kept_places([point.value for _, point in curve], max_points=MAX_DOTS)
    curve, scale = tuple(curve[index] for index in kept), 100.0 if is_rate else 1.0
    points = [point for _, point in curve]
    texts = [f"{label}: {rate_text(point) if is_rate else value_text(point)}" for point in points]
    steps = [step for step, _ in curve]
    trace = plots.dots(steps, [scale * point.value for point in points], texts, color=color, symbol=symbol)
    trace |= {"mode": "lines+markers", "line": {"color": color, "width": 1.2, "dash": "dot"}, "name": label}
    return trace | {"error_y": marks.intervals(points, scale=scale)}
