"""Lay runs beside each other: their curves over the updates, and their quality over d = sqrt(KL) with the fitted law.

One run alone has the same picture on its page and in its report (`distance_part`). What a run's quality is measured by,
the judge afterwards, people, or the external panel while it trained, is one row of `MEASURES`.
"""

from __future__ import annotations

import html
import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kleash.estimates import Estimate, finite
from kleash.maths.overoptimisation import LEAST_PPO_DISTANCE, Fit, fit_ppo
from kleash.monitor.figures import marks
from kleash.monitor.figures.distance_chart import COLORS, SYMBOLS, DrawnCurve, distance_figure
from kleash.monitor.pages.rendering import Live, fragment
from kleash.monitor.read.external_quality import PANEL, RATERS, Points, external_scores, judge_label, win_rates
from kleash.monitor.read.findings import KL_METRIC, kl_target, slice_names
from kleash.monitor.read.measures import LAST_UPDATES, column, whole
from kleash.monitor.read.reader import RoundFolder, RunFolder, newest_round
from kleash.records import slice_metric
from kleash.results import EvaluationSummary
from kleash.web import plots
from kleash.web.plots import ACCENT, INK, Part
from kleash.web.wording import percent, percent_range

MOST_RUNS = 8
# Two coefficients go through any two points, and nearly through three.
LEAST_FITTED = 4
# A checkpoint's KL, where none was measured on its own answers, is the mean over so many updates on either side.
NEIGHBOURING_UPDATES = 2
DISTANCE = "distance"
"""The place of the one run's picture."""
# With fewer there is no curve to see.
FEWEST_CHECKPOINTS = 3


@dataclass(frozen=True)
class ComparedMeasure:
    """One way to measure quality at checkpoints. at_start: its value at KL 0; None: what it was at the first one."""

    title: str
    unit: str
    at_start: float | None


MEASURES: Mapping[str, ComparedMeasure] = {
    "score": ComparedMeasure("Judged quality", "mean points of the judge", None),
    RATERS["person"]: ComparedMeasure("People", "win rate against the start", 0.5),
    RATERS["ai"]: ComparedMeasure("AI judges", "win rate against the start", 0.5),
    PANEL: ComparedMeasure("The alarms' panel", "win rate against the start, while training", 0.5),
}
"""{measure: what it is}, the one that tells most first."""


@dataclass(frozen=True)
class ComparedCheckpoint:
    """One checkpoint: how far it went, what the proxy says of it and what each measure does, as far as measured."""

    step: int
    kl_nats: float
    proxy: float | None = None
    quality: Mapping[str, Estimate] = field(default_factory=dict)

    @property
    def distance(self) -> float:
        """The distance from the start, sqrt(KL), in sqrt(nats)."""
        return math.sqrt(max(self.kl_nats, 0.0))


@dataclass(frozen=True)
class RunCurves:
    """One run's newest training, over all prompts or within one slice.

    reward, kl_nats: (updates, values). judge: who judged afterwards, "" if nobody did.
    """

    name: str
    slices: tuple[str, ...] = ()
    reward: tuple[Sequence[int], Sequence[float]] = ((), ())
    kl_nats: tuple[Sequence[int], Sequence[float]] = ((), ())
    kl_target_nats: float | None = None
    judge: str = ""
    checkpoints: tuple[ComparedCheckpoint, ...] = ()

    @property
    def measures(self) -> list[str]:
        """The measures that some checkpoint has, the one that tells most first."""
        return [name for name in MEASURES if self.having(name)]

    @property
    def proxy(self) -> list[tuple[float, float]]:
        """The (distance, score by the proxy) of each checkpoint that has one."""
        return [(one.distance, one.proxy) for one in self.checkpoints if one.proxy is not None]

    def having(self, measure: str) -> list[ComparedCheckpoint]:
        """Return the checkpoints that were measured so."""
        return [checkpoint for checkpoint in self.checkpoints if measure in checkpoint.quality]

    def start(self, measure: str) -> float:
        """Return what a measure is at KL 0: what it cannot but be there, else what it was at the first checkpoint."""
        known, at_start = self.having(measure), MEASURES[measure].at_start
        return at_start if at_start is not None else known[0].quality[measure].value if known else 0.0


@dataclass(frozen=True)
class ComparedStanding:
    """Where a run stands on the law fitted to its own checkpoints.

    measure: what was fitted, "" if nothing could be. now: the newest checkpoint's distance. text: said in words.
    """

    measure: str
    fit: Fit | None
    now: float
    text: str

    @property
    def is_past_peak(self) -> bool:
        """Whether the run went on beyond the predicted peak, and beyond its whole interval."""
        return self.fit is not None and self.fit.bends and self.now > self.fit.peak_high


def curves_of(run: RunFolder, name: str, *, round_folder: RoundFolder | None = None, slice_name: str = "") -> RunCurves:
    """Return the curves of one round of a run, the newest that trained online unless another is given.

    slice_name: a slice, such as "topic=sums", instead of all prompts.
    """
    if round_folder is None:
        round_folder = next((one for one in reversed(run.rounds) if "policy" in one.stages), newest_round(run))
    round_folder = round_folder or RoundFolder(0, {})
    updates = round_folder.rows("policy", "metrics")
    kl = column(updates, slice_metric(slice_name, KL_METRIC))
    judge = round_folder.summary("evaluation", EvaluationSummary).judge
    return RunCurves(
        name=name,
        slices=tuple(slice_names(updates)),
        reward=column(updates, slice_metric(slice_name, "score_mean")),
        kl_nats=kl,
        kl_target_nats=None if slice_name else kl_target(run, round_folder),
        judge=judge,
        checkpoints=_checkpoints(round_folder, judge, slice_name, kl),
    )


def gains(curves: RunCurves, measure: str) -> tuple[list[float], list[float]]:
    """Return the KL and the gain over the start of every checkpoint that has this measure."""
    known, start = curves.having(measure), curves.start(measure)
    return [one.kl_nats for one in known], [one.quality[measure].value - start for one in known]


def standing(curves: RunCurves) -> ComparedStanding:
    """Fit d (a - b log d) to a run's quality and say where on it the run stands.

    The measure is the one that tells most among those taken at enough checkpoints to fit.
    """
    now = curves.checkpoints[-1].distance if curves.checkpoints else 0.0
    far = {measure: _num_far(curves, measure) for measure in curves.measures}
    measure = next((name for name, num_far in far.items() if num_far >= LEAST_FITTED), next(iter(far), ""))
    num_far = far.get(measure, 0)
    fit = fit_ppo(*gains(curves, measure)) if num_far >= LEAST_FITTED else None
    known = {"measure": measure, "num_far": num_far, "needed": LEAST_FITTED, "fit": fit, "now": now}
    text = fragment("words/standing.md", **known, least_distance=LEAST_PPO_DISTANCE).strip()
    return ComparedStanding(measure, fit, now, text)


def _num_far(curves: RunCurves, measure: str) -> int:
    """Return at how many distances, far enough out for the law, a measure was taken."""
    return len({kl for kl in gains(curves, measure)[0] if kl >= LEAST_PPO_DISTANCE**2})


def _checkpoints(
    round_folder: RoundFolder, judge: str, slice_name: str, kl: tuple[Sequence[int], Sequence[float]]
) -> tuple[ComparedCheckpoint, ...]:
    kl_metric, reward_metric = slice_metric(slice_name, KL_METRIC), slice_metric(slice_name, "score_mean")
    watched = {
        step: row for row in round_folder.rows("policy", "evaluations") if (step := whole(row.get("step"))) is not None
    }
    quality: dict[int, dict[str, Estimate]] = {}
    for measure, points in _quality(round_folder, judge, slice_name):
        for step, value in points:
            quality.setdefault(step, {})[measure] = value
    checkpoints = []
    for step in sorted({*watched, *quality}):
        row = watched.get(step, {})
        own = finite(row.get(kl_metric))
        kl_nats = _kl_near(kl, step) if own is None else own
        if kl_nats is not None:
            checkpoints.append(ComparedCheckpoint(step, kl_nats, finite(row.get(reward_metric)), quality.get(step, {})))
    return tuple(checkpoints)


def _quality(round_folder: RoundFolder, judge: str, slice_name: str) -> Iterator[tuple[str, Points]]:
    """Yield each measure's points, over all prompts or within a slice."""
    scores = external_scores(round_folder, judge)
    curves = [("score", scores)] if scores else []
    curves += [(curve.name, curve) for curve in win_rates(round_folder, judge) if curve.name in MEASURES]
    for measure, curve in curves:
        yield measure, curve.slices.get(slice_name, ()) if slice_name else curve.points


def _kl_near(kl: tuple[Sequence[int], Sequence[float]], step: int) -> float | None:
    """Return the mean KL of the updates around a step; none before the first update, and the last ones at the end."""
    steps, values = kl
    if step == 0:
        return 0.0
    if not steps:
        return None
    low = bisect_left(steps, min(step, steps[-1]) - NEIGHBOURING_UPDATES)
    high = bisect_right(steps, step + NEIGHBOURING_UPDATES)
    near = values[low:high]
    return sum(near) / len(near) if near else None


# -------------------------------------------------------------------------------------------------------------- page
HEIGHT_PIXELS = 240
POLL_SECONDS = 2.0
PLACES: Mapping[str, tuple[str, str]] = {
    "reward": ("Reward (the proxy) over the updates", "z-score: in SD of each run's own SFT answers"),
    "kl": ("KL to the SFT model over the updates", "nats per answer (k1)"),
    "panel": ("External quality over the updates", "the alarms' panel: win rate against the start"),
    "proxy": ("The proxy over √KL", "mean score on the watched prompts"),
    **{f"measure-{at}": (f"{measure.title} over √KL", measure.unit) for at, measure in enumerate(MEASURES.values())},
}
"""{a chart's place: (title, unit)}, in the order of the page."""


def compared(runs: Sequence[RunCurves]) -> Live:
    """Return what the comparison of these runs shows."""
    figures = {
        "reward": _over_updates(runs, [run.reward for run in runs]),
        "kl": _over_updates(runs, [run.kl_nats for run in runs]),
        "panel": _panel_over_updates(runs),
        "proxy": distance_figure([_curve(run, index) for index, run in enumerate(runs)]),
        **{
            f"measure-{at}": distance_figure([_curve(run, index, measure) for index, run in enumerate(runs)])
            for at, measure in enumerate(MEASURES)
        },
    }
    drawn = {name: figure for name, figure in figures.items() if figure is not None}
    return Live({"compared": comparison_table(runs)} if runs else {}, drawn, poll_seconds=POLL_SECONDS)


def comparison_table(runs: Sequence[RunCurves]) -> str:
    """Return one row per run: what it came to, and where it stands on its own over-optimisation law."""
    return fragment(
        "parts/compared.html",
        runs=runs,
        standing=standing,
        measures=MEASURES,
        judge_label=judge_label,
        last_updates=LAST_UPDATES,
    )


@dataclass(frozen=True)
class DistancePart:
    """What templates/parts/distance.html shows. judge: who measured the quality, in words."""

    judge: str
    standing: ComparedStanding
    figure: Part | None


def distance_part(curves: RunCurves) -> DistancePart | None:
    """Return one run's own picture, proxy and quality over d = sqrt(KL).

    None where too few checkpoints were measured by anything external.
    """
    stands = standing(curves)
    if not stands.measure or len(gains(curves, stands.measure)[0]) < FEWEST_CHECKPOINTS:
        return None
    judge = judge_label(curves.judge) if stands.measure == "score" else MEASURES[stands.measure].title.lower()
    proxy, quality = _curve(curves, 0), _curve(curves, 0, stands.measure)
    proxy_start = proxy.points[0][1].value if proxy.points else 0.0
    figure = distance_figure(
        [
            _gain("reward", proxy, proxy_start, color=ACCENT, symbol="circle", is_dashed=True),
            _gain("quality", quality, quality.start, color=INK, symbol="square"),
        ]
    )
    return DistancePart(judge, stands, figure)


# ----------------------------------------------------------------------------------------------------------- figures
def _over_updates(runs: Sequence[RunCurves], curves: Sequence[tuple[Sequence[int], Sequence[float]]]) -> Part | None:
    traces = [
        marks.line(*curve, html.escape(run.name), color=COLORS[index % len(COLORS)])
        for index, (run, curve) in enumerate(zip(runs, curves, strict=True))
        if curve[1]
    ]
    return _figure(traces) if traces else None


def _panel_over_updates(runs: Sequence[RunCurves]) -> Part | None:
    traces = []
    for index, run in enumerate(runs):
        points = run.having(PANEL)
        if not points:
            continue
        rates = [checkpoint.quality[PANEL] for checkpoint in points]
        texts = [f"{percent(rate.value)} ({percent_range(rate.low, rate.high)})" for rate in rates]
        name, color = html.escape(run.name), COLORS[index % len(COLORS)]
        trace = plots.dots(
            [checkpoint.step for checkpoint in points], [100 * rate.value for rate in rates], texts, color=color
        )
        trace |= {"mode": "lines+markers", "line": {"color": color, "width": 1.4}, "name": name}
        trace["marker"] |= {"symbol": SYMBOLS[index % len(SYMBOLS)]}
        trace |= {"hovertemplate": f"%{{text}}<extra>{name}</extra>"}
        traces.append(trace | {"error_y": marks.intervals(rates, scale=100) | {"color": color}})
    if not traces:
        return None
    return _figure(traces, is_percent=True, shapes=[plots.level(50) | {"yref": "y"}])


def _figure(traces: Sequence[Part], *, is_percent: bool = False, **looks: Any) -> Part:
    x, y = plots.axis(title="update", has_grid=False), plots.axis(is_percent=is_percent)
    looks |= {"hovermode": "closest", "left": 48, "right": 14}
    return plots.chart(traces, x=x, y=y, height=HEIGHT_PIXELS, bottom=40, **looks)


def _curve(run: RunCurves, index: int, measure: str = "") -> DrawnCurve:
    """Return a run's proxy, or a measure of its quality with the law fitted to that; index: of its looks."""
    color, symbol = COLORS[index % len(COLORS)], SYMBOLS[index % len(SYMBOLS)]
    if not measure:
        points = [(distance, Estimate(value)) for distance, value in run.proxy]
        return DrawnCurve(run.name, color, symbol, points)
    points, stands = [(one.distance, one.quality[measure]) for one in run.having(measure)], standing(run)
    fit = stands.fit if stands.measure == measure else None
    return DrawnCurve(run.name, color, symbol, points, fit, run.start(measure))


def _gain(name: str, curve: DrawnCurve, start: float, **looks: Any) -> DrawnCurve:
    """Return a curve as gain over the start, under a name and in looks of its own."""
    points = [(distance, _less(value, start)) for distance, value in curve.points]
    return replace(curve, name=name, points=points, start=0.0, **looks)


def _less(figure: Estimate, start: float) -> Estimate:
    low, high = (None if bound is None else bound - start for bound in (figure.low, figure.high))
    return replace(figure, value=figure.value - start, low=low, high=high)
