"""Draw the admin pages' figures, as plain data for plotly: each with its intervals, and the bound it is held against.

Colours are names of style.css's variables; figures.js puts in their values for the light or the dark scheme. Texts that
people or models wrote are escaped, because plotly reads some HTML in them.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

from kleash.collection import wording
from kleash.collection.gates import DEFAULT
from kleash.collection.leaderboard import Leaderboard
from kleash.collection.quality import Agreement, RaterRow
from kleash.collection.views import Pace
from kleash.estimates import json_numbers
from kleash.maths.intervals import Interval
from kleash.raters.monitoring import JudgeFigures
from kleash.web import plots
from kleash.web.plots import ACCENT, BAD, INK, MUTED, OLD, SOFT, Part

ROW_PIXELS = 26
LONGEST_LABEL = 26
NUM_BINS = 30
FEW_DAYS = 6
LEAST_SECONDS = 0.5


# ------------------------------------------------------------------------------------------------------------ progress
def progress_figure(votes: Mapping[str, int], pace: Pace, *, now: datetime) -> Part | None:
    """Draw votes so far, the number wanted, and where the present pace leads, with its interval as a fan."""
    if not votes:
        return None
    total, days, sums = 0, [], []
    for day, num_votes in votes.items():
        total += num_votes
        days.append(day)
        sums.append(total)
    layout = plots.layout(height=230, left=44, bottom=30, top=10)
    layout["xaxis"] = plots.axis(has_grid=False) | {"type": "date", "tickformat": "%-d %b"}
    layout["yaxis"] = plots.axis() | {"rangemode": "tozero"}
    layout["shapes"] = [plots.level(pace.num_wanted)]
    layout["annotations"] = [_note(f"{wording.count(pace.num_wanted)} wanted", x=0, y=pace.num_wanted)]
    days, sums = [*days, now.isoformat()], [*sums, total]
    traces = [_line(days, sums, hover="%{y} votes by %{x|%-d %b}", fill=SOFT)]
    if pace.num_left and pace.finish is not None:
        traces += _projection(total, pace, now=now)
    else:
        traces.append(plots.unseen(days[-1], pace.num_wanted))
    return _figure(traces, layout)


def _projection(total: int, pace: Pace, *, now: datetime) -> list[Part]:
    start, top = now.isoformat(), total + pace.num_left
    ends = [end.isoformat() for end in (pace.earliest, pace.latest) if end is not None]
    fan = []
    if len(ends) == 2:
        fan.append(_line([start, ends[0], ends[1], start], [total, top, top, total], color=SOFT, fill=SOFT, width=0))
        fan[0]["fill"] = "toself"
    assert pace.finish is not None
    middle = _line([start, pace.finish.isoformat()], [total, top], color=ACCENT, hover="%{x|%-d %b}")
    middle["line"]["dash"] = "dot"
    return [*fan, middle]


def daily_figure(votes: Mapping[str, int]) -> Part | None:
    """Draw the votes of each day."""
    if not votes:
        return None
    layout = plots.layout(height=150, left=44, bottom=30, top=10)
    layout["xaxis"] = plots.axis(has_grid=False) | {"type": "date", "tickformat": "%-d %b"}
    if len(votes) <= FEW_DAYS:
        # A tick for each, lest a date stand there twice.
        layout["xaxis"] |= {"dtick": 24 * 3600 * 1000}
    layout["yaxis"] = plots.axis(ticks=4)
    return _figure([_bars(list(votes), list(votes.values()), hover="%{y} votes on %{x|%-d %b}")], layout)


def seconds_figure(seconds: Sequence[float], *, min_seconds: float) -> Part | None:
    """Draw how long verdicts took, on a scale of ratios; what is left of the line cannot have been read."""
    if not seconds:
        return None
    known = [math.log10(max(value, LEAST_SECONDS)) for value in seconds]
    low, high = min(known), max(known)
    width = max(high - low, 0.1) / NUM_BINS
    if min_seconds > 0:  # an edge at the bound, so that no bin holds verdicts of both sides
        bound = math.log10(min_seconds)
        low = bound - width * math.ceil((bound - low) / width - 1e-9)
    counts = [0] * (NUM_BINS + 2)
    for value in known:
        counts[int((value - low) / width + 1e-9)] += 1
    edges = [10 ** (low + width * number) for number in range(len(counts) + 1)]
    texts = [f"{wording.duration(start)} to {wording.duration(end)}" for start, end in pairwise(edges)]
    middles = [low + width * (number + 0.5) for number in range(len(counts))]
    layout = plots.layout(height=190, left=44, bottom=30, top=10)
    ticks = [value for value in (1, 3, 10, 30, 60, 180, 600, 1800, 7200) if low <= math.log10(value) <= high]
    layout["xaxis"] = plots.axis(has_grid=False) | {
        "tickvals": [math.log10(value) for value in ticks],
        "ticktext": [wording.duration(value) for value in ticks],
    }
    layout["yaxis"] = plots.axis(ticks=4)
    if min_seconds > 0 and math.log10(min_seconds) > low:
        layout["shapes"] = [_mark(math.log10(min_seconds))]
    bars = _bars(middles, counts, hover="%{y} verdicts in %{text}")
    return _figure([bars | {"text": texts, "textposition": "none", "width": width * 0.92}], layout)


# ----------------------------------------------------------------------------------------------------------- agreement
def agreement_over_time_figure(over_time: Mapping[str, Agreement]) -> Part | None:
    """Draw agreement without ties with its interval as a band, and chance-corrected agreement (AC1) beside it."""
    known = {
        name: agreement for name, agreement in over_time.items() if agreement.percent_without_ties.n >= DEFAULT.min_n
    }
    if len(known) < 2:
        return None
    names, figures = list(known), [agreement.percent_without_ties for agreement in known.values()]
    texts = [_rate_text(name, figure) for name, figure in zip(names, figures, strict=True)]
    others = [agreement.ac1 for agreement in known.values()]
    other_texts = [
        f"{name}: AC1 {wording.number(figure.value)} ({wording.number_range(figure)})"
        for name, figure in zip(names, others, strict=True)
    ]
    layout = plots.layout(height=230, left=44, bottom=30, right=86, top=10)
    layout["xaxis"] = plots.axis(has_grid=False, ticks=4) | {"type": "category", "tickangle": 0}
    layout["yaxis"] = plots.axis(is_percent=True)
    layout["shapes"] = [plots.level(100 * DEFAULT.min_agreement)]
    edges = [100 * figure.high for figure in figures] + [100 * figure.low for figure in figures[::-1]]
    band = _line(names + names[::-1], edges, color=SOFT, fill=SOFT, width=0) | {"fill": "toself"}
    second = _line(names, [100 * figure.value for figure in others], color=OLD, texts=other_texts)
    main = _line(names, [100 * figure.value for figure in figures], texts=texts) | {"mode": "lines+markers"}
    layout["annotations"] = [
        _end_label(names[-1], 100 * figures[-1].value, "agreement", color=ACCENT, shift=7),
        _end_label(names[-1], 100 * others[-1].value, "AC1", color=MUTED, shift=-7),
    ]
    return _figure([band, second, main], layout)


def agreement_by_slice_figure(by_slice: Mapping[str, Mapping[str, Agreement]], overall: Interval) -> Part | None:
    """Draw agreement without ties in every slice with its interval, by dimension, worst first; the line is overall."""
    rows: list[tuple[str, Interval]] = []
    for dimension, values in by_slice.items():
        within = [(f"{dimension}={value}", agreement.percent_without_ties) for value, agreement in values.items()]
        # Of fewer items a bootstrap knows no interval: one item drawn again and again is always the same.
        within = [(name, figure) for name, figure in within if figure.n >= DEFAULT.min_n]
        rows += sorted(within, key=lambda row: row[1].value)
    return _rate_rows(rows, mark=overall.value)


def rater_figures(rows: Sequence[RaterRow]) -> dict[str, Part]:
    """Draw each habit over all raters with intervals, worst first: {name: figure}, habits nobody has shown left out."""
    habits: dict[str, tuple[Callable[[RaterRow], Interval], Callable[[float], float], float | None]] = {
        "gold_accuracy": (lambda row: row.gold_accuracy, lambda value: value, DEFAULT.min_gold_accuracy),
        "self_consistency": (lambda row: row.self_consistency, lambda value: value, DEFAULT.min_self_consistency),
        "with_others": (lambda row: row.with_others, lambda value: value, None),
        "first_position": (lambda row: row.first_position, lambda value: -abs(value - 0.5), 0.5),
        "longer": (lambda row: row.longer, lambda value: -abs(value - 0.5), DEFAULT.max_longer),
    }
    drawn = {}
    for name, (figure_of, worth, mark) in habits.items():
        known = [(row.rater, figure_of(row)) for row in rows if figure_of(row).n]
        known.sort(key=lambda row: worth(row[1].value))
        figure = _rate_rows(known, mark=mark)
        if figure is not None:
            # The whole scale, so that a look along the row of figures compares like with like.
            figure["layout"]["xaxis"] |= {"range": [0, 100], "tickvals": [0, 25, 50, 75, 100]}
            drawn[name] = figure
    return drawn


def leaderboard_figure(board: Leaderboard) -> Part | None:
    """Draw each policy's strength with intervals, raw above and with length held equal below."""
    if not board.standings:
        return None
    order = board.standings[::-1]
    layout = plots.layout(height=2 * ROW_PIXELS * len(order) + 50, left=10, bottom=44, top=4)
    layout["xaxis"] = plots.axis(title="strength, logits above the mean")
    layout["yaxis"] = _names_axis([standing.source for standing in order])
    layout["shapes"] = [_mark(0)]
    traces = []
    for shift, color, label, figures in (
        (0.13, OLD, "raw", [standing.strength for standing in order]),
        (-0.13, ACCENT, "length held equal", [standing.length_controlled for standing in order]),
    ):
        texts = [
            f"{_plain(standing.source)}, {label}: {wording.number(figure.value)} ({wording.number_range(figure)})"
            for standing, figure in zip(order, figures, strict=True)
        ]
        places = [number + shift for number in range(len(order))]
        traces.append(plots.dots([figure.value for figure in figures], places, texts, color=color))
        traces[-1]["error_x"] = _errors(figures)
    return _figure(traces, layout)


# -------------------------------------------------------------------------------------------------------------- judges
def judge_charts(weeks: Sequence[JudgeFigures]) -> dict[str, Part]:
    """Draw each figure of the AI judges week by week, one line per judge version, with intervals."""
    figures: dict[str, Callable[[JudgeFigures], Interval]] = {
        "with_people": lambda week: week.agreement_without_ties,
        "flips": lambda week: week.flip_rate,
        "judge_longer": lambda week: week.length_preference,
        "unparsed": lambda week: week.parse_failure,
    }
    drawn = {}
    for name, figure_of in figures.items():
        known = [week for week in weeks if week.week and figure_of(week).n]
        if known:
            drawn[name] = _judge_chart(known, figure_of)
    return drawn


def _judge_chart(weeks: Sequence[JudgeFigures], figure_of: Callable[[JudgeFigures], Interval]) -> Part:
    layout = plots.layout(height=210, left=44, bottom=30, top=10)
    names = sorted({week.week for week in weeks})
    judges = sorted({week.judge for week in weeks})
    layout["xaxis"] = plots.axis(has_grid=False) | {"tickvals": list(range(len(names))), "ticktext": names}
    layout["xaxis"]["range"] = [-0.4, len(names) - 0.6]
    layout["yaxis"] = plots.axis(is_percent=True) | {"rangemode": "tozero"}
    layout |= {"showlegend": True, "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"}}
    layout["margin"]["t"] = 30
    traces = []
    for number, judge in enumerate(judges):
        own = [week for week in weeks if week.judge == judge]
        figures = [figure_of(week) for week in own]
        # A little apart, so that one judge's interval does not hide another's.
        x = [names.index(week.week) + 0.08 * (number - (len(judges) - 1) / 2) for week in own]
        texts = [_rate_text(f"{judge}, {week.week}", figure) for week, figure in zip(own, figures, strict=True)]
        color = (ACCENT, OLD, BAD, INK)[number % 4]
        line = _line(x, [100 * figure.value for figure in figures], color=color, texts=texts)
        traces.append(line | {"mode": "lines+markers", "error_y": _errors(figures, scale=100), "name": _plain(judge)})
    return _figure(traces, layout)


# --------------------------------------------------------------------------------------------------------------- parts
def _rate_rows(rows: Sequence[tuple[str, Interval]], *, mark: float | None) -> Part | None:
    """Draw one share per row with its interval, the first row on top; None without rows."""
    known = [(name, figure) for name, figure in rows if wording.is_known(figure.value)][::-1]
    if not known:
        return None
    figures = [figure for _, figure in known]
    layout = plots.layout(height=ROW_PIXELS * len(known) + 40, left=10, bottom=30, top=4, right=14)
    layout["xaxis"] = plots.axis(is_percent=True)
    layout["yaxis"] = _names_axis([name for name, _ in known])
    layout["shapes"] = [] if mark is None or math.isnan(mark) else [_mark(100 * mark)]
    texts = [_rate_text(name, figure) for name, figure in known]
    points = plots.dots([100 * figure.value for figure in figures], list(range(len(known))), texts, color=ACCENT)
    return _figure([points | {"error_x": _errors(figures, scale=100)}], layout)


def _rate_text(name: str, figure: Interval) -> str:
    return f"{_plain(name)}: {wording.percent(figure.value)} ({wording.percent_range(figure)}, n = {figure.n})"


def _line(
    x: Sequence[Any],
    y: Sequence[float],
    *,
    color: str = ACCENT,
    width: float = 1.8,
    hover: str = "",
    texts: Sequence[str] = (),
    fill: str = "",
) -> Part:
    part: Part = {"type": "scatter", "mode": "lines", "x": list(x), "y": list(y), "line": {"color": color}}
    part["line"]["width"] = width
    part |= {"fill": "tozeroy", "fillcolor": fill} if fill else {}
    if texts:
        return part | {"text": list(texts), "hovertemplate": "%{text}<extra></extra>"}
    return part | ({"hovertemplate": f"{hover}<extra></extra>"} if hover else {"hoverinfo": "skip"})


def _bars(x: Sequence[Any], y: Sequence[int], *, hover: str) -> Part:
    part: Part = {"type": "bar", "x": list(x), "y": list(y), "marker": {"color": ACCENT, "line": {"width": 0}}}
    return part | {"hovertemplate": f"{hover}<extra></extra>"}


def _errors(figures: Sequence[Interval], *, scale: float = 1.0) -> Part:
    above = [scale * (figure.high - figure.value) if wording.is_known(figure.high) else 0.0 for figure in figures]
    below = [scale * (figure.value - figure.low) if wording.is_known(figure.low) else 0.0 for figure in figures]
    common = {"type": "data", "symmetric": False, "thickness": 1.4, "width": 0, "color": MUTED}
    return common | {"array": above, "arrayminus": below}


def _mark(x: float) -> Part:
    return plots.upright(x, color=MUTED, dash="4px,4px") | {"layer": "below"}


def _note(text: str, *, x: float, y: float) -> Part:
    index = {"xref": "paper", "x": x, "y": y, "xanchor": "left", "yanchor": "bottom", "xshift": 4}
    return index | {"text": text, "showarrow": False, "font": {"size": 11, "color": MUTED}}


def _end_label(x: Any, y: float, text: str, *, color: str, shift: int) -> Part:
    index = {"x": x, "y": y, "xanchor": "left", "yanchor": "middle", "xshift": 10, "yshift": shift}
    return index | {"text": text, "showarrow": False, "font": {"size": 12, "color": color}}


def _names_axis(names: Sequence[str]) -> Part:
    # Positions, not names, on the axis: two names cut to the same label must stay two rows.
    labels = {"tickvals": list(range(len(names))), "ticktext": [_plain(name) for name in names]}
    return plots.axis(has_grid=False) | labels | {"automargin": True, "range": [-0.6, len(names) - 0.4]}


def _plain(name: str) -> str:
    return html.escape(wording.shortened(name, LONGEST_LABEL))


def _figure(traces: Sequence[Part], layout: Part) -> Part:
    figure: Part = json_numbers(plots.figure(traces, layout))
    return figure
