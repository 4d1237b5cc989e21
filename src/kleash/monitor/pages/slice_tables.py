"""The tables of slices, worst first, after training and during it, and the table of suites with the slices that fell.

Averages hide local harm, so these tables are the heart of a report. A row is made here, its cells in templates/parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kleash.estimates import Estimate
from kleash.evaluation.symptoms import Level
from kleash.monitor.pages.rendering import fragment
from kleash.monitor.read.alarms import standing
from kleash.monitor.read.checks import fell
from kleash.monitor.read.external_quality import PANEL
from kleash.monitor.read.findings import KL_METRIC, Contrast, Findings, slice_names
from kleash.monitor.read.measures import column, last
from kleash.records import slice_metric
from kleash.results import SuiteSides, SuitesSummary
from kleash.web.wording import number_range

FIRST_UPDATES = 5
_NUM_SLICES, _LONGEST_PROMPT = 10, 200


# ----------------------------------------------------------------------------------------------------- after training
@dataclass(frozen=True)
class Reach:
    """How far the bars of each column reach, so that one scale holds for all slices."""

    change: float
    judge_low: float
    judge_high: float
    length: float
    kl: float


def slices_section(slices: Sequence[Contrast], judge: str) -> str:
    """Return the table of slices in their order, without the columns that nothing was measured for."""
    if not slices:
        return ""
    titles = {
        "correct": ("Correct", "SFT → policy"),
        "change": ("Change", "95 % interval"),
        "win_rate": ("Win rate", "95 % interval"),
        "judge": ({"gold": "Gold", "proxy": "Reward"}.get(judge, "Judge"), "mean, SFT → policy"),
        "refused": ("Refused", "SFT → policy"),
        "length": ("Length", "mean tokens"),
        "kl": ("KL", "nats per answer"),
    }
    keys = [_sort_keys(contrast) for contrast in slices]
    shown = [name for name in titles if any(key[name] is not None for key in keys)]
    return fragment(
        "parts/slices.html",
        titles=[("Slice", "prompts"), *(titles[name] for name in shown)],
        rows=[(contrast, {name: key[name] for name in shown}) for contrast, key in zip(slices, keys, strict=True)],
        reach=_reach(slices),
        fell=fell,
        point_range=point_range,
    )


def point_range(difference: Estimate) -> str:
    """Return the interval of a difference of two shares in percentage points."""
    low, high = (None if bound is None else 100 * bound for bound in (difference.low, difference.high))
    return number_range(low, high, 0)


def _sort_keys(contrast: Contrast) -> dict[str, float | None]:
    """Return what each column is sorted by, None where it was not measured."""
    return {
        "correct": contrast.correct_after,
        "change": _value(contrast.change),
        "win_rate": _value(contrast.win_rate),
        "judge": _value(contrast.judge_difference),
        "refused": contrast.refusal_after,
        "length": contrast.length_after,
        "kl": _value(contrast.kl_nats_per_sequence),
    }


def _reach(slices: Sequence[Contrast]) -> Reach:
    scores = [score.value for one in slices for score in (one.judge_before, one.judge_after) if score]
    return Reach(
        change=max([0.1, *(abs(bound) for one in slices if one.change for bound in one.change.bounds)]),
        judge_low=min([0.0, *scores]),
        judge_high=max([0.0, *scores]),
        length=max([1.0, *(length for one in slices for length in (one.length_before, one.length_after) if length)]),
        kl=max([1e-9, *(one.kl_nats_per_sequence.value for one in slices if one.kl_nats_per_sequence)]),
    )


def _value(figure: Estimate | None) -> float | None:
    return None if figure is None else figure.value


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


def watched_section(findings: Findings) -> str:
    """Return the table; "" if no slice was recorded."""
    slices = watched_slices(findings)
    return fragment("parts/watched_slices.html", slices=slices, first_updates=FIRST_UPDATES) if slices else ""


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


def suites_section(summary: SuitesSummary) -> str:
    """Return the section for what suites came to; "" where none was asked."""
    measures = list(_measures(summary, summary.unwanted))
    if not measures and not summary.unchecked:
        return ""
    return fragment(
        "parts/suites.html",
        summary=summary,
        measures=measures,
        has_reference=any(measure.before for measure in measures),
        worse_slices=_worse_slices(summary)[:_NUM_SLICES],
        longest_prompt=_LONGEST_PROMPT,
        point_range=point_range,
    )


def _measures(sides: SuiteSides, unwanted: Sequence[str]) -> Iterator[Measure]:
    for bucket, rates in sides.buckets.items():
        for name, rate in rates.items():
            before = sides.reference.get(bucket, {}).get(name)
            gain = sides.differences.get(bucket, {}).get(name)
            yield Measure(bucket, name, rate, before, gain, name.rpartition("/")[2] in unwanted)


def _worse_slices(summary: SuitesSummary) -> list[tuple[str, Measure]]:
    """Return the slices that surely got worse, the worst first: an average may rise over one that falls."""
    worse = [
        (slice_name, measure)
        for slice_name, sides in summary.slices.items()
        for measure in _measures(sides, summary.unwanted)
        if measure.is_surely_worse
    ]
    return sorted(worse, key=lambda row: (abs(_value(row[1].gain) or 0.0), row[0], row[1].title), reverse=True)
