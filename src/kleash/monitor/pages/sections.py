"""What the sections of a run's report and of its page are given: one round's findings, and its figures by their place.

Each section is a template of templates/parts, and is empty where it has nothing to say; `report.py` and `run_page.py`
name those that they show. Looks are in static/sections.css, behaviour in report.js and live.js.
"""

from __future__ import annotations

from typing import Any

from kleash.monitor.figures import charts, hhh_chart, training_chart
from kleash.monitor.pages.comparing import DISTANCE, curves_of, distance_part
from kleash.monitor.pages.verdict import verdict_of
from kleash.monitor.read.checks import checks
from kleash.monitor.read.findings import Findings, findings_of, slice_names
from kleash.monitor.read.measures import seconds_by_part
from kleash.monitor.read.reader import RoundFolder, RunFolder, StageFolder
from kleash.results import AuditSummary, PreferencesSummary, SuitesSummary, Summary
from kleash.web.plots import Part


def shown_of(run: RunFolder, round_folder: RoundFolder | None, *, slice_name: str | None = None) -> dict[str, Any]:
    """Return what the sections of one round are rendered with; `drawn` are its figures by the name of their place.

    slice_name: the one drawn beside the average while training, "" for none. None, of a report, draws every slice,
    hidden until the page's menu shows it.
    """
    round_folder = round_folder or RoundFolder(0, {})
    findings = findings_of(run, round_folder)
    recorded_slices = slice_names(findings.updates)
    chosen = None if slice_name is None else [name for name in recorded_slices if name == slice_name]
    small = charts.small_figures(findings)
    distance = distance_part(curves_of(run, run.name, round_folder=round_folder))
    figures = {
        "training": training_chart.training_figure(findings, slices=chosen),
        **{f"small-{index}": figure for index, (_, _, figure) in enumerate(small)},
        **_of_reward_model(findings),
        "hhh": hhh_chart.hhh_figure(findings.aims) if findings.aims else None,
        DISTANCE: distance.figure if distance else None,
    }
    return {
        "run": run,
        "round": round_folder,
        "is_live": slice_name is not None,
        "findings": findings,
        "verdict": verdict_of(findings),
        "checks": checks(findings),
        "recorded_slices": recorded_slices,
        "slice_name": slice_name,
        "drawn": {name: figure for name, figure in figures.items() if figure is not None},
        "small": [(title, unit) for title, unit, _ in small],
        "distance": distance,
        "suites": round_folder.summary("suites", SuitesSummary),
        "audit": round_folder.summary("audit", AuditSummary),
        "times": [(name, len(rows), seconds_by_part(rows)) for name, rows in findings.training.items()],
        "beside_people": round_folder.summary("preferences", PreferencesSummary).beside_people,
        "seconds_of": seconds_of,
    }


def seconds_of(run: RunFolder, stage: StageFolder) -> float | None:
    """Return how long a stage took, from the run's summary or its own."""
    of_run = run.summary.seconds.get(stage.name) if run.summary else None
    return of_run if of_run is not None else Summary.from_json(stage.summary).seconds


def _of_reward_model(findings: Findings) -> dict[str, Part | None]:
    model = findings.reward_model
    if model is None:
        return {}
    margins = [margin for margin, _ in model.margins]
    return {
        "margins": charts.margin_figure(margins, height=charts.pair_height(model)),
        "reward-slices": charts.slice_accuracy_figure(model),
    }
