"""Which slices fare worst: while a policy trains, and on suites. Averages hide local harm.

Pure: findings in, rows out, the most urgent first. The tables are templates/parts/watched.html and suites.html.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from kleash.estimates import Estimate
from kleash.evaluation.symptoms import Level
from kleash.monitor.read.alarms import standing
from kleash.monitor.read.external_quality import PANEL
from kleash.monitor.read.findings import KL_METRIC, Findings, slice_names
from kleash.monitor.read.measures import column, last
from kleash.records import slice_metric
from kleash.results import SuiteSides, SuitesSummary

FIRST_UPDATES = 5
"""What a figure was at first is its mean over so many updates."""


# ----------------------------------------------------------------------------------------------------- while training
@dataclass(frozen=True)
class WatchedSlice:
    """One slice while training, before and now. state: the worst alarm that stands in it; win_rate: the panel's."""

    name: str
    state: Level
    win_rate: Estimate | None
    reward_before: float | None
    reward_now: float | None
    kl_nats: float | None
    tokens_before: float | None
    tokens_now: float | None


def watched_slices(findings: Findings) -> tuple[WatchedSlice, ...]:
    """Return the slices of a training run: those with alarms first, then the lowest win rate first."""
    states: dict[str, Level] = {}
    for alarm in standing(findings.alarms):
        states.setdefault(alarm.slice, alarm.state)
    panel = next((curve for curve in findings.win_rates if curve.name == PANEL), None)
    rates = {} if panel is None else {name: points[-1][1] for name, points in panel.slices.items()}
    names = sorted({*slice_names(findings.updates), *rates, *(name for name in states if name)})
    slices = [_watched(findings, name, states.get(name, "ok"), rates.get(name)) for name in names]
    return tuple(sorted(slices, key=_urgency))


def _watched(findings: Findings, name: str, state: Level, win_rate: Estimate | None) -> WatchedSlice:
    def before_and_now(metric: str) -> tuple[float | None, float | None]:
        _, values = column(findings.updates, slice_metric(name, metric))
        first = values[:FIRST_UPDATES]
        return (sum(first) / len(first) if first else None), last(findings.updates, slice_metric(name, metric))

    reward, tokens = before_and_now("score_mean"), before_and_now("response_tokens_mean")
    kl_nats = last(findings.updates, slice_metric(name, KL_METRIC))
    return WatchedSlice(name, state, win_rate, *reward, kl_nats, *tokens)


def _urgency(watched: WatchedSlice) -> tuple[int, float, str]:
    severity = {"stop": 0, "warn": 1}.get(watched.state, 2)
    return severity, watched.win_rate.value if watched.win_rate else 1.0, watched.name


# ------------------------------------------------------------------------------------------------------------- suites
@dataclass(frozen=True)
class Measure:
    """One measure of one bucket. before: the reference's rate; gain: policy less reference, paired by item."""

    bucket: str
    name: str
    rate: Estimate
    before: Estimate | None
    gain: Estimate | None
    less_is_better: bool

    @property
    def title(self) -> str:
        return self.name.replace("_", " ")

    @property
    def is_surely_worse(self) -> bool:
        if self.gain is None or self.gain.low is None or self.gain.high is None:
            return False
        return self.gain.low > 0 if self.less_is_better else self.gain.high < 0


def suite_measures(sides: SuiteSides, unwanted: Collection[str]) -> list[Measure]:
    """Return what was measured of all items, or of a slice of them. unwanted: the measures of which less is better."""
    measures = []
    for bucket, rates in sides.buckets.items():
        before, gains = sides.reference.get(bucket, {}), sides.differences.get(bucket, {})
        for name, rate in rates.items():
            is_unwanted = name.rpartition("/")[2] in unwanted
            measures.append(Measure(bucket, name, rate, before.get(name), gains.get(name), is_unwanted))
    return measures


def slices_that_got_worse(summary: SuitesSummary) -> list[tuple[str, Measure]]:
    """Return the slices that surely got worse, the worst first: an average may rise over one that falls."""
    worse = [
        (slice_name, measure)
        for slice_name, sides in summary.slices.items()
        for measure in suite_measures(sides, summary.unwanted)
        if measure.is_surely_worse
    ]
    return sorted(
        worse, key=lambda row: (abs(row[1].gain.value if row[1].gain else 0.0), row[0], row[1].title), reverse=True
    )
