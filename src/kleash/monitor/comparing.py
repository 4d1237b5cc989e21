"""Lay runs beside each other: their curves over the updates, and their quality over d = sqrt(KL) with the fitted law.

A run in, figures out; nothing is drawn here (that is `comparing_charts.py`). What a run's quality is measured by, the
judge afterwards, people, or the external panel while it trained, is one row of `MEASURES`.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from kleash.maths.overoptimisation import LEAST_PPO_DISTANCE, Fit, fit_ppo
from kleash.monitor.external_quality import PANEL, RATERS, Points, external_scores, win_rates
from kleash.monitor.findings import KL_METRIC, kl_target, newest_round, slice_names
from kleash.monitor.measures import Estimate, column, finite, whole
from kleash.monitor.reader import RoundFolder, Run
from kleash.records import slice_metric
from kleash.web.wording import count, number, number_range

MOST_RUNS = 8
# Two coefficients go through any two points, and nearly through three.
LEAST_FITTED = 4
# An interval that ends beyond this multiple of the distance gone so far has no end worth telling.
MOST_REACH = 5.0
# A checkpoint's KL, where none was measured on its own answers, is the mean over so many updates on either side.
NEIGHBOURING_UPDATES = 2


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
        return [name for name in MEASURES if any(name in found.quality for found in self.checkpoints)]


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


def curves_of(run: Run, name: str, *, found: RoundFolder | None = None, slice_name: str = "") -> RunCurves:
    """Return the curves of one round of a run, the newest that trained online unless another is given.

    slice_name: a slice, such as "topic=sums", instead of all prompts.
    """
    if found is None:
        found = next((one for one in reversed(run.rounds) if "policy" in one.stages), newest_round(run))
    found = found or RoundFolder(0, {})
    updates = found.rows("policy", "metrics")
    kl = column(updates, slice_metric(slice_name, KL_METRIC))
    judge = str(found.summary("evaluation").get("judge") or "")
    return RunCurves(
        name=name,
        slices=tuple(slice_names(updates)),
        reward=column(updates, slice_metric(slice_name, "score_mean")),
        kl_nats=kl,
        kl_target_nats=None if slice_name else kl_target(run, found),
        judge=judge,
        checkpoints=_checkpoints(found, judge, slice_name, kl),
    )


def gains(curves: RunCurves, measure: str) -> tuple[list[float], list[float]]:
    """Return the KL and the gain over the start of every checkpoint that has this measure."""
    known = [(found.kl_nats, found.quality[measure].value) for found in curves.checkpoints if measure in found.quality]
    if not known:
        return [], []
    start = MEASURES[measure].at_start
    start = known[0][1] if start is None else start
    return [kl for kl, _ in known], [value - start for _, value in known]


def standing(curves: RunCurves) -> ComparedStanding:
    """Fit d (a - b log d) to a run's quality and say where on it the run stands.

    The measure is the one that tells most among those taken at enough checkpoints to fit.
    """
    now = curves.checkpoints[-1].distance if curves.checkpoints else 0.0
    if not curves.measures:
        return ComparedStanding("", None, now, "No external quality was measured, so nothing can be said of a peak.")
    far = {measure: _num_far(curves, measure) for measure in curves.measures}
    measure = next((name for name, num_far in far.items() if num_far >= LEAST_FITTED), curves.measures[0])
    if far[measure] < LEAST_FITTED:
        text = f"{count(far[measure])} checkpoints at 1 nat of KL or more; the law takes {LEAST_FITTED}."
        return ComparedStanding(measure, None, now, text)
    fit = fit_ppo(*gains(curves, measure))
    return ComparedStanding(measure, fit, now, _standing_text(fit, now))


# ----------------------------------------------------------------------------------------------------------- inside
def _num_far(curves: RunCurves, measure: str) -> int:
    """Return at how many distances, far enough out for the law, a measure was taken."""
    return len({kl for kl in gains(curves, measure)[0] if kl >= LEAST_PPO_DISTANCE**2})


def _standing_text(fit: Fit, now: float) -> str:
    if not fit.bends:
        return "No peak can be told from none yet: the checkpoints lie too close together, or on no bend."
    if fit.peak_high < LEAST_PPO_DISTANCE:
        return f"Past the peak: the law falls from √KL 1 on, and the newest checkpoint is at {number(now)}."
    has_end = fit.peak_high < MOST_REACH * max(now, LEAST_PPO_DISTANCE)
    span = number_range(fit.peak_low, fit.peak_high) if has_end else f"{number(fit.peak_low)} or more"
    where = f"the predicted peak at √KL {number(fit.peak_distance)} (95 % interval {span})"
    if now > fit.peak_high:
        return f"Past {where} by {number(now - fit.peak_distance)} √nats: the newest checkpoint is at {number(now)}."
    side = "Beyond" if now > fit.peak_distance else "Before"
    within = ", but within its interval" if now >= fit.peak_low else ""
    return f"{side} {where}{within}: the newest checkpoint is at {number(now)}."


def _checkpoints(
    found: RoundFolder, judge: str, slice_name: str, kl: tuple[Sequence[int], Sequence[float]]
) -> tuple[ComparedCheckpoint, ...]:
    kl_metric, reward_metric = slice_metric(slice_name, KL_METRIC), slice_metric(slice_name, "score_mean")
    watched = {step: row for row in found.rows("policy", "evaluations") if (step := whole(row.get("step"))) is not None}
    quality: dict[int, dict[str, Estimate]] = {}
    for measure, points in _quality(found, judge, slice_name):
        for step, value in points:
            quality.setdefault(step, {})[measure] = value
    made = []
    for step in sorted({*watched, *quality}):
        row = watched.get(step, {})
        own = finite(row.get(kl_metric))
        kl_nats = _kl_near(kl, step) if own is None else own
        if kl_nats is not None:
            made.append(ComparedCheckpoint(step, kl_nats, finite(row.get(reward_metric)), quality.get(step, {})))
    return tuple(made)


def _quality(found: RoundFolder, judge: str, slice_name: str) -> Iterator[tuple[str, Points]]:
    """Yield each measure's points, over all prompts or within a slice."""
    scores = external_scores(found, judge)
    curves = [("score", scores)] if scores else []
    curves += [(curve.name, curve) for curve in win_rates(found, judge) if curve.name in MEASURES]
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
