"""Find what did not train the reward model says of a run's checkpoints: the alarms' panel, people, AI judges, gold.

Each source is a curve over the updates at which it was asked, over all prompts and by slice, beside which the reward
is drawn. Read `findings.py` next.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kleash.estimates import Estimate, estimate, finite
from kleash.monitor.read.measures import column, metric_names
from kleash.monitor.read.reader import RoundFolder, Row
from kleash.records import by_slice, slice_metric

Points = tuple[tuple[int, Estimate], ...]

PANEL = "alarms' panel"
RATERS = {"person": "people", "ai": "AI judges"}


@dataclass(frozen=True)
class ExternalCurve:
    """A measure that did not train the reward model, at the updates where it was taken.

    proxy: {update: the reward model's mean score on the same prompts}; slices: {dimension=value: points}.
    """

    name: str
    points: Points
    proxy: Mapping[int, float] = field(default_factory=dict)
    slices: Mapping[str, Points] = field(default_factory=dict)


def external_scores(round_folder: RoundFolder, judge: str) -> ExternalCurve | None:
    """Return what a judge other than the proxy made of the checkpoints, else the external score training watched."""
    watched = round_folder.rows("policy", "evaluations")
    proxy = dict(zip(*column(watched, "score_mean"), strict=True))
    sources: list[tuple[Iterable[Row], str, str]] = [(watched, "external/score_mean", "external score")]
    if judge and judge != "proxy":
        sources.insert(0, (round_folder.rows("evaluation", "checkpoints"), "judge_mean", judge))
    for rows, key, name in sources:
        if points := _points(rows, key):
            return ExternalCurve(name, points, proxy, _points_by_slice(rows, key))
    return None


def win_rates(round_folder: RoundFolder, judge: str) -> tuple[ExternalCurve, ...]:
    """Return the win rates against the reference over the checkpoints: by panel, people and judge."""
    watched, people = round_folder.rows("policy", "evaluations"), round_folder.rows("people", "checkpoints")
    kinds = {str(row.get("rater_kind") or "person"): "" for row in people}
    curves = [_panel(watched)]
    for kind in kinds:
        rows = [row for row in people if str(row.get("rater_kind") or "person") == kind]
        curves.append(_curve(RATERS.get(kind, kind), rows))
    if judge and judge != "proxy":
        curves.append(_curve(judge, round_folder.rows("evaluation", "checkpoints")))
    return tuple(curve for curve in curves if curve.points)


def judge_label(name: str) -> str:
    """Return what a judge or an external measure is called in a sentence."""
    return {"gold": "gold", "proxy": "the reward model"}.get(name, name)


# ----------------------------------------------------------------------------------------------------------- inside
def _curve(name: str, rows: Iterable[Row]) -> ExternalCurve:
    rows = list(rows)
    return ExternalCurve(name, _points(rows, "win_rate"), slices=_points_by_slice(rows, "win_rate"))


def _points(rows: Iterable[Row], key: str) -> Points:
    points = []
    for row in rows:
        step, value = finite(row.get("step")), estimate(row.get(key))
        if step is not None and value is not None:
            points.append((int(step), value))
    return tuple(sorted(points, key=lambda point: point[0]))


def _points_by_slice(rows: Iterable[Row], key: str) -> dict[str, Points]:
    by_slice: dict[str, list[Row]] = {}
    for row in rows:
        slices = row.get("slices")
        for name, figures in slices.items() if isinstance(slices, Mapping) else ():
            if isinstance(figures, Mapping):
                by_slice.setdefault(str(name), []).append({"step": row.get("step"), **figures})
    return {name: points for name, rows in sorted(by_slice.items()) if (points := _points(rows, key))}


def _panel(watched: Iterable[Row]) -> ExternalCurve:
    """Read the panel's columns: win_rate with its interval's ends and n beside it, over all prompts and by slice."""
    watched = list(watched)
    names = sorted(by_slice(dict.fromkeys(metric_names(watched)), "external/win_rate"))
    slices = {name: _panel_points(watched, name) for name in names}
    return ExternalCurve(PANEL, _panel_points(watched, ""), slices=slices)


def _panel_points(watched: Iterable[Row], slice_name: str) -> Points:
    parts = {"value": "win_rate", "low": "win_rate_low", "high": "win_rate_high", "n": "n"}
    metrics = {part: slice_metric(slice_name, f"external/{name}") for part, name in parts.items()}
    rows = [
        {"step": row.get("step"), "rate": {part: row.get(metric) for part, metric in metrics.items()}}
        for row in watched
    ]
    return _points(rows, "rate")
