"""Find what did not train the reward model says of a run's checkpoints: the alarms' panel, people, AI judges, gold.

Each source is a curve over the updates at which it was asked, over all prompts and by slice, beside which the reward
is drawn. Read `findings.py` next.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from kleash.estimates import Estimate, estimate, finite
from kleash.monitor.read.measures import column, metric_names
from kleash.monitor.read.reader import RoundFolder, Row
from kleash.records import by_slice, slice_metric
from kleash.results import CheckpointQuality

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
    curves = [ExternalCurve("external score", _points(watched, "external/score_mean"))]
    if judge and judge != "proxy":
        curves.insert(0, _curve(judge, round_folder.checkpoints("evaluation"), "judge_mean"))
    return next((replace(curve, proxy=proxy) for curve in curves if curve.points), None)


def win_rates(round_folder: RoundFolder, judge: str) -> tuple[ExternalCurve, ...]:
    """Return the win rates against the reference over the checkpoints: by panel, people and judge."""
    people = round_folder.checkpoints("people")
    curves = [_panel(round_folder.rows("policy", "evaluations"))]
    for kind in dict.fromkeys(one.rater_kind for one in people):
        votes = [one for one in people if one.rater_kind == kind]
        curves.append(_curve(RATERS.get(kind or "person", kind), votes, "win_rate"))
    if judge and judge != "proxy":
        curves.append(_curve(judge, round_folder.checkpoints("evaluation"), "win_rate"))
    return tuple(curve for curve in curves if curve.points)


def panel_rate(row: Row, slice_name: str = "") -> dict[str, object]:
    """Return the panel's win rate in a row of evaluations.jsonl as `estimate` reads it."""
    parts = {"value": "win_rate", "low": "win_rate_low", "high": "win_rate_high", "n": "n"}
    return {part: row.get(slice_metric(slice_name, f"external/{name}")) for part, name in parts.items()}


def judge_label(name: str) -> str:
    """Return what a judge or an external measure is called in a sentence."""
    return {"gold": "gold", "proxy": "the reward model"}.get(name, name)


# ----------------------------------------------------------------------------------------------------------- inside
def _curve(name: str, checkpoints: Sequence[CheckpointQuality], figure: str) -> ExternalCurve:
    points: dict[str, list[tuple[int, Estimate]]] = defaultdict(list)
    for one in checkpoints:
        for slice_name, figures in {"": one, **one.slices}.items():
            if one.step is not None and (value := getattr(figures, figure)) is not None:
                points[slice_name].append((one.step, value))
    ordered = {part: tuple(sorted(found, key=lambda point: point[0])) for part, found in sorted(points.items())}
    return ExternalCurve(name, ordered.pop("", ()), slices=ordered)


def _points(rows: Iterable[Row], key: str) -> Points:
    points = []
    for row in rows:
        step, value = finite(row.get("step")), estimate(row.get(key))
        if step is not None and value is not None:
            points.append((int(step), value))
    return tuple(sorted(points, key=lambda point: point[0]))


def _panel(watched: Iterable[Row]) -> ExternalCurve:
    """Read the panel's columns: win_rate with its interval's ends and n beside it, over all prompts and by slice."""
    watched = list(watched)
    names = sorted(by_slice(dict.fromkeys(metric_names(watched)), "external/win_rate"))
    slices = {name: _panel_points(watched, name) for name in names}
    return ExternalCurve(PANEL, _panel_points(watched, ""), slices=slices)


def _panel_points(watched: Iterable[Row], slice_name: str) -> Points:
    return _points([{"step": row.get("step"), "rate": panel_rate(row, slice_name)} for row in watched], "rate")
