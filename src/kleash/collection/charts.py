"""Draw the admin pages' figures, as plain data for plotly: each with its intervals, and the bound it is held against.

Colours are names of style.css's variables; figures.js puts in their values for the light or the dark scheme. Texts that
people or models wrote are escaped, because plotly reads some HTML in them.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import accumulate, pairwise
from typing import Any

from kleash.collection import wording
from kleash.collection.gates import DEFAULT
from kleash.collection.leaderboard import Leaderboard
from kleash.collection.quality import Agreement, RaterRow
from kleash.collection.views import Pace
from kleash.durable import finite_numbers
from kleash.maths.intervals import Interval
from kleash.raters.monitoring import JudgeFigures
from kleash.web import plots
from kleash.web.plots import ACCENT, BAD, INK, MUTED, OLD, SOFT, Part

ROW_PIXELS = 26
LONGEST_LABEL = 26
NUM_BINS = 30
FEW_DAYS = 6
LEAST_SECONDS = 0.5

_DAYS = plots.axis(has_grid=False) | {"type": "date", "tickformat": "%-d %b"}


# ------------------------------------------------------------------------------------------------------------ progress
def progress_figure(votes: Mapping[str, int], pace: Pace, *, now: datetime) -> Part | None:
    """Draw votes so far, the number wanted, and where the present pace leads, with its interval as a fan."""
    if not votes:
        return None
    sums = list(accumulate(votes.values()))
    total, days = sums[-1], [*votes, now.isoformat()]
    layout = _layout(230, _DAYS, plots.axis() | {"rangemode": "tozero"})
    layout["shapes"] = [plots.level(pace.num_wanted)]
    place = {"xref": "paper", "x": 0, "y": pace.num_wanted, "xanchor": "left", "yanchor": "bottom", "xshift": 4}
    layout["annotations"] = [_label(f"{wording.count(pace.num_wanted)} wanted", place, size=11)]
    traces = [_line(days, [*sums, total], hover="%{y} votes by %{x|%-d %b}", fill=SOFT)]
    if pace.num_left and pace.finish is not None:
        traces += _projection(total, pace, now=now)
    else:
        traces.append(plots.unseen(days[-1], pace.num_wanted))
    return _figure(traces, layout)


def _projection(total: int, pace: Pace, *, now: datetime) -> list[Part]:
    start, top = now.isoformat(), total + pace.num_left
    ends = [end.isoformat() for end in (pace.earliest, pace.latest) if end is not None]
    fan = [_area([start, *ends, start], [total, top, top, total])] if len(ends) == 2 else []
    assert pace.finish is not None
    middle = _line([start, pace.finish.isoformat()], [total, top], color=ACCENT, hover="%{x|%-d %b}")
    middle["line"]["dash"] = "dot"
    return [*fan, middle]


def daily_figure(votes: Mapping[str, int]) -> Part | None:
    """Draw the votes of each day."""
    if not votes:
        return None
    # A tick for each of few, lest a date stand there twice.
    days = _DAYS | ({"dtick": 24 * 3600 * 1000} if len(votes) <= FEW_DAYS else {})
    layout = _layout(150, days, plots.axis(ticks=4))
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
    ticks = [value for value in (1, 3, 10, 30, 60, 180, 600, 1800, 7200) if low <= math.log10(value) <= high]
    scale = _places([math.log10(value) for value in ticks], [wording.duration(value) for value in ticks])
    layout = _layout(190, scale, plots.axis(ticks=4))
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
    other_texts = [f"{name}: AC1 {_number_text(figure)}" for name, figure in zip(names, others, strict=True)]
    periods = plots.axis(has_grid=False, ticks=4) | {"type": "category", "tickangle": 0}
    layout = _layout(230, periods, plots.axis(is_percent=True), right=86)
    layout["shapes"] = [plots.level(100 * DEFAULT.min_agreement)]
    edges = [100 * figure.high for figure in figures] + [100 * figure.low for figure in figures[::-1]]
    band = _area(names + names[::-1], edges)
    second = _line(names, [100 * figure.value for figure in others], color=OLD, texts=other_texts)
    main = _line(names, [100 * figure.value for figure in figures], texts=texts) | {"mode": "lines+markers"}
    end = {"x": names[-1], "xanchor": "left", "yanchor": "middle", "xshift": 10}
    layout["annotations"] = [
        _label("agreement", end | {"y": 100 * figures[-1].value, "yshift": 7}, color=ACCENT),
        _label("AC1", end | {"y": 100 * others[-1].value, "yshift": -7}),
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


_HABITS = {
    "gold_accuracy": DEFAULT.min_gold_accuracy,
    "self_consistency": DEFAULT.min_self_consistency,
    "with_others": None,
    "first_position": 0.5,
    "longer": DEFAULT.max_longer,
}
"""The figures of a rater that are drawn, and what each is held against."""


def rater_figures(rows: Sequence[RaterRow]) -> dict[str, Part]:
    """Draw each habit over all raters with intervals, worst first: {name: figure}, habits nobody has shown left out."""
    drawn = {}
    for name, mark in _HABITS.items():
        is_worst_far_from_half = name in ("first_position", "longer")
        known = [(row.rater, figure) for row in rows if (figure := getattr(row, name)).n]
        known.sort(key=lambda row: -abs(row[1].value - 0.5) if is_worst_far_from_half else row[1].value)
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
    strengths, names = plots.axis(title="strength, logits above the mean"), _names_axis([s.source for s in order])
    layout = _layout(2 * ROW_PIXELS * len(order) + 50, strengths, names, left=10, bottom=44, top=4)
    layout["shapes"] = [_mark(0)]
    traces = []
    for shift, color, label, figures in (
        (0.13, OLD, "raw", [standing.strength for standing in order]),
        (-0.13, ACCENT, "length held equal", [standing.length_controlled for standing in order]),
    ):
        texts = [
            f"{_plain(standing.source)}, {label}: {_number_text(figure)}"
            for standing, figure in zip(order, figures, strict=True)
        ]
        places = [number + shift for number in range(len(order))]
        traces.append(plots.dots([figure.value for figure in figures], places, texts, color=color))
        traces[-1]["error_x"] = _errors(figures)
    return _figure(traces, layout)


# -------------------------------------------------------------------------------------------------------------- judges
_OF_JUDGES = {
    "with_people": "agreement_without_ties",
    "flips": "flip_rate",
    "judge_longer": "length_preference",
    "unparsed": "parse_failure",
}
"""The charts of AI judges, each of one of `JudgeFigures`."""


def judge_charts(weeks: Sequence[JudgeFigures]) -> dict[str, Part]:
    """Draw each figure of the AI judges week by week, one line per judge version, with intervals."""
    known = {
        name: [(week, figure) for week in weeks if week.week and (figure := getattr(week, attribute)).n]
        for name, attribute in _OF_JUDGES.items()
    }
    return {name: _judge_chart(rows) for name, rows in known.items() if rows}


def _judge_chart(known: Sequence[tuple[JudgeFigures, Interval]]) -> Part:
    names = sorted({week.week for week, _ in known})
    judges = sorted({week.judge for week, _ in known})
    weeks = _places(range(len(names)), names) | {"range": [-0.4, len(names) - 0.6]}
    layout = _layout(210, weeks, plots.axis(is_percent=True) | {"rangemode": "tozero"}, top=30)
    layout |= {"showlegend": True, "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"}}
    traces = []
    for number, judge in enumerate(judges):
        own = {week.week: figure for week, figure in known if week.judge == judge}
        # A little apart, so that one judge's interval does not hide another's.
        x = [names.index(week) + 0.08 * (number - (len(judges) - 1) / 2) for week in own]
        texts = [_rate_text(f"{judge}, {week}", figure) for week, figure in own.items()]
        color = (ACCENT, OLD, BAD, INK)[number % 4]
        line = _line(x, [100 * figure.value for figure in own.values()], color=color, texts=texts)
        errors = _errors(list(own.values()), scale=100)
        traces.append(line | {"mode": "lines+markers", "error_y": errors, "name": _plain(judge)})
    return _figure(traces, layout)


# --------------------------------------------------------------------------------------------------------------- parts
def _rate_rows(rows: Sequence[tuple[str, Interval]], *, mark: float | None) -> Part | None:
    """Draw one share per row with its interval, the first row on top; None without rows."""
    known = [(name, figure) for name, figure in rows if wording.is_known(figure.value)][::-1]
    if not known:
        return None
    figures = [figure for _, figure in known]
    height, names = ROW_PIXELS * len(known) + 40, _names_axis([name for name, _ in known])
    layout = _layout(height, plots.axis(is_percent=True), names, left=10, top=4, right=14)
    layout["shapes"] = [] if mark is None or math.isnan(mark) else [_mark(100 * mark)]
    texts = [_rate_text(name, figure) for name, figure in known]
    points = plots.dots([100 * figure.value for figure in figures], list(range(len(known))), texts, color=ACCENT)
    return _figure([points | {"error_x": _errors(figures, scale=100)}], layout)


def _rate_text(name: str, figure: Interval) -> str:
    return f"{_plain(name)}: {wording.percent(figure.value)} ({wording.percent_range(figure)}, n = {figure.n})"


def _number_text(figure: Interval) -> str:
    return f"{wording.number(figure.value)} ({wording.number_range(figure)})"


def _line(
    x: Sequence[Any],
    y: Sequence[float],
    *,
    color: str = ACCENT,
    hover: str = "",
    texts: Sequence[str] = (),
    fill: str = "",
) -> Part:
    look: Part = {"type": "scatter", "mode": "lines", "line": {"color": color, "width": 1.8}}
    look |= {"fill": "tozeroy", "fillcolor": fill} if fill else {}
    if texts:
        hover, look["text"] = "%{text}", list(texts)
    said = {"hovertemplate": f"{hover}<extra></extra>"} if hover else {"hoverinfo": "skip"}
    return look | said | {"x": list(x), "y": list(y)}


def _area(x: Sequence[Any], y: Sequence[float]) -> Part:
    return _line(x, y, fill=SOFT) | {"line": {"color": SOFT, "width": 0}, "fill": "toself"}


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


def _label(text: str, place: Part, *, color: str = MUTED, size: int = 12) -> Part:
    return place | {"text": text, "showarrow": False, "font": {"size": size, "color": color}}


def _places(values: Sequence[float], labels: Sequence[str]) -> Part:
    return plots.axis(has_grid=False) | {"tickvals": list(values), "ticktext": list(labels)}


def _names_axis(names: Sequence[str]) -> Part:
    # Positions, not names, on the axis: two names cut to the same label must stay two rows.
    labels = _places(range(len(names)), [_plain(name) for name in names])
    return labels | {"automargin": True, "range": [-0.6, len(names) - 0.4]}


def _layout(height: int, x: Part, y: Part, *, left: int = 44, right: int = 8, top: int = 10, bottom: int = 30) -> Part:
    return plots.layout(height=height, left=left, right=right, top=top, bottom=bottom) | {"xaxis": x, "yaxis": y}


def _plain(name: str) -> str:
    return html.escape(wording.shortened(name, LONGEST_LABEL))


def _figure(traces: Sequence[Part], layout: Part) -> Part:
    figure: Part = finite_numbers(plots.figure(traces, layout))
    return figure
