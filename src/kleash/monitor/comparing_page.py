"""The comparison of several runs as parts of a page: a table of where each stands, and their curves overlaid."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

from kleash.monitor import marks
from kleash.monitor.comparing import MEASURES, ComparedCheckpoint, RunCurves, standing
from kleash.monitor.downsampling import thinned
from kleash.monitor.external_quality import PANEL
from kleash.monitor.markup import escape, num_cases
from kleash.monitor.measures import LAST_UPDATES, Estimate
from kleash.monitor.overoptimisation_chart import COLORS, SYMBOLS, DrawnCurve, distance_figure
from kleash.monitor.pages import Live
from kleash.monitor.run_page import LIVE_SECONDS
from kleash.monitor.verdict import judge_label
from kleash.web import plots
from kleash.web.plots import Part
from kleash.web.wording import MISSING, count, number, number_range, percent, percent_range

HEIGHT_PIXELS = 240
GLYPHS = "●■◆▲✚★⬢▼"
"""The symbols of the charts, as characters."""
PLACES: Mapping[str, tuple[str, str]] = {
    "reward": ("Reward (the proxy) over the updates", "z-score: in SD of each run's own SFT answers"),
    "kl": ("KL to the SFT model over the updates", "nats per answer (k1)"),
    "panel": ("External quality over the updates", "the alarms' panel: win rate against the start"),
    "proxy": ("The proxy over √KL", "mean score on the watched prompts"),
    **{f"measure-{at}": (f"{found.title} over √KL", found.unit) for at, found in enumerate(MEASURES.values())},
}
"""{a chart's place: (title, unit)}, in the order of the page."""


def compared(runs: Sequence[RunCurves]) -> Live:
    """Return what the comparison of these runs shows."""
    figures = {
        "reward": _over_updates([(run.name, run.reward) for run in runs]),
        "kl": _over_updates([(run.name, run.kl_nats) for run in runs]),
        "panel": _panel_over_updates(runs),
        "proxy": distance_figure([_proxy_curve(run, index) for index, run in enumerate(runs)]),
        **{
            f"measure-{at}": distance_figure([_quality_curve(run, index, measure) for index, run in enumerate(runs)])
            for at, measure in enumerate(MEASURES)
        },
    }
    drawn = {name: figure for name, figure in figures.items() if figure is not None}
    return Live({"compared": comparison_table(runs)} if runs else {}, drawn, poll_seconds=LIVE_SECONDS)


def comparison_table(runs: Sequence[RunCurves]) -> str:
    """Return one row per run: what it came to, and where it stands on its own over-optimisation law."""
    if not runs:
        return ""
    titles = (
        ("Run", "drawn as"),
        ("Where it stands", "on the law fitted to its checkpoints"),
        ("Reward", f"last {LAST_UPDATES} updates"),
        ("KL", "nats per answer, target"),
        ("Judged quality", "best and newest checkpoint"),
        ("Win rate", "newest checkpoint"),
        ("Fitted law", "d (a − b log d), d = √KL"),
    )
    head = "".join(f'<th scope="col">{title}<span>{unit}</span></th>' for title, unit in titles)
    rows = "".join(_row(run, index) for index, run in enumerate(runs))
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Runs compared"><table class="compared">'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def color_letter(index: int) -> str:
    """Return the letter that names the colour of the run in this place."""
    return "abcdefgh"[index % len(COLORS)]


# ------------------------------------------------------------------------------------------------------------- table
def _row(run: RunCurves, index: int) -> str:
    found = standing(run)
    law = MISSING
    if found.fit is not None:
        fit = found.fit
        law = (
            f"a {number(fit.a)}, b {number(fit.b)}<small>R² {number(fit.r_squared)}, "
            f"n\u00a0=\u00a0{count(fit.num_points)}, {escape(MEASURES[found.measure].title.lower())}</small>"
        )
    kind = "stands past-peak" if found.is_past_peak else "stands"
    mark = f'<i class="run-mark run-{color_letter(index)}" aria-hidden="true">{GLYPHS[index % len(GLYPHS)]}</i>'
    return (
        f'<tr><th scope="row">{mark} {escape(run.name)}</th><td class="{kind}">{escape(found.text)}</td>'
        f"<td>{_last(run.reward)}</td><td>{_kl_cell(run)}</td><td>{_judge_cell(run)}</td>"
        f"<td>{_rate_cell(run)}</td><td>{law}</td></tr>"
    )


def _last(curve: tuple[Sequence[int], Sequence[float]]) -> str:
    recent = curve[1][-LAST_UPDATES:]
    return number(sum(recent) / len(recent)) if recent else MISSING


def _kl_cell(run: RunCurves) -> str:
    target = "" if run.kl_target_nats is None else f"<small>target {number(run.kl_target_nats)}</small>"
    return _last(run.kl_nats) + target


def _judge_cell(run: RunCurves) -> str:
    points = _having(run, "score")
    if not points:
        return MISSING
    best, newest = max(points, key=lambda found: found.quality["score"].value), points[-1]
    return (
        f"{number(best.quality['score'].value)} <i>→</i> {_with_interval(newest.quality['score'])}"
        f"<small>best after {count(best.step)} updates, by {escape(judge_label(run.judge) or 'a judge')}</small>"
    )


def _rate_cell(run: RunCurves) -> str:
    for measure in [name for name, found in MEASURES.items() if found.at_start is not None]:
        if points := _having(run, measure):
            rate = points[-1].quality[measure]
            span = percent_range(rate.low, rate.high)
            return f"{percent(rate.value)}<small>{span}{num_cases(rate)}, {MEASURES[measure].title.lower()}</small>"
    return MISSING


def _with_interval(found: Estimate) -> str:
    span = number_range(found.low, found.high)
    return number(found.value) + (f"<small>{span}{num_cases(found)}</small>" if span else "")


def _having(run: RunCurves, measure: str) -> list[ComparedCheckpoint]:
    return [found for found in run.checkpoints if measure in found.quality]


# ----------------------------------------------------------------------------------------------------------- figures
def _over_updates(curves: Sequence[tuple[str, tuple[Sequence[int], Sequence[float]]]]) -> Part | None:
    traces = [
        marks.line(*thinned(steps, values), html.escape(name), color=COLORS[index % len(COLORS)])
        for index, (name, (steps, values)) in enumerate(curves)
        if values
    ]
    return _figure(traces) if traces else None


def _panel_over_updates(runs: Sequence[RunCurves]) -> Part | None:
    traces = []
    for index, run in enumerate(runs):
        points = _having(run, PANEL)
        if not points:
            continue
        rates = [found.quality[PANEL] for found in points]
        texts = [f"{percent(rate.value)} ({percent_range(rate.low, rate.high)})" for rate in rates]
        name, color = html.escape(run.name), COLORS[index % len(COLORS)]
        trace = plots.dots([found.step for found in points], [100 * rate.value for rate in rates], texts, color=color)
        trace |= {"mode": "lines+markers", "line": {"color": color, "width": 1.4}, "name": name}
        trace["marker"] |= {"symbol": SYMBOLS[index % len(SYMBOLS)]}
        trace |= {"hovertemplate": f"%{{text}}<extra>{name}</extra>"}
        traces.append(trace | {"error_y": marks.intervals(rates, scale=100) | {"color": color}})
    if not traces:
        return None
    figure = _figure(traces, is_percent=True)
    figure["layout"]["shapes"] = [plots.level(50) | {"yref": "y"}]
    return figure


def _figure(traces: Sequence[Part], *, is_percent: bool = False) -> Part:
    layout = plots.layout(height=HEIGHT_PIXELS, left=48, bottom=40, top=10, right=14) | {"hovermode": "closest"}
    layout["xaxis"] = plots.axis(title="update", has_grid=False)
    layout["yaxis"] = plots.axis(is_percent=is_percent)
    return plots.figure(traces, layout)


def _proxy_curve(run: RunCurves, index: int) -> DrawnCurve:
    points = [(found.distance, Estimate(found.proxy)) for found in run.checkpoints if found.proxy is not None]
    return DrawnCurve(run.name, COLORS[index % len(COLORS)], SYMBOLS[index % len(SYMBOLS)], points)


def _quality_curve(run: RunCurves, index: int, measure: str) -> DrawnCurve:
    points = [(found.distance, found.quality[measure]) for found in _having(run, measure)]
    found, start = standing(run), MEASURES[measure].at_start
    if start is None:
        start = points[0][1].value if points else 0.0
    fit = found.fit if found.measure == measure else None
    return DrawnCurve(run.name, COLORS[index % len(COLORS)], SYMBOLS[index % len(SYMBOLS)], points, fit, start)
