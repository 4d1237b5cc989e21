"""Write `report.html`: one file that shows a whole run, works offline and can be sent to anyone.

What holds it together, and hostile text inert, is `single_page.py`. Sections are in `sections.py`, figures in
`charts.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kleash.estimates import finite
from kleash.monitor.figures import charts, hhh_chart, training_chart
from kleash.monitor.pages import sections, slice_tables
from kleash.monitor.pages.comparing import DISTANCE, curves_of, distance_part
from kleash.monitor.pages.single_page import single_page, write_page
from kleash.monitor.read.checks import checks
from kleash.monitor.read.findings import Findings, findings_of
from kleash.monitor.read.reader import RunFolder, newest_round, read_run
from kleash.monitor.read.samples import Sample
from kleash.monitor.read.verdict import verdict_of
from kleash.results import SuitesSummary
from kleash.web.plots import Part

REPORT_FILE = "report.html"


def write_report(run_folder: Path) -> Path:
    """Write the report of a run, finished or not, into its folder and return the page's path.

    The old page stays whole until the new one is. Raises RunError if there is no run or the disk refuses.
    """
    return write_page("report", Path(run_folder) / REPORT_FILE, render(read_run(Path(run_folder))))


def render(run: RunFolder) -> str:
    """Return the page as text."""
    round_folder = newest_round(run)
    findings = findings_of(run, round_folder)
    drawn, small = figures(findings)
    distance, distance_figure = distance_part(curves_of(run, run.name, round_folder=round_folder))
    if distance_figure is not None:
        drawn[DISTANCE] = distance_figure
    parts = (
        sections.verdict_section(verdict_of(findings)),
        sections.tiles(findings),
        sections.checks_section(checks(findings), run.problems),
        sections.training_section(findings, small, has_main_figure="training" in drawn),
        sections.alarms_section(findings),
        distance,
        slice_tables.slices_section(findings.slices, findings.judge),
        sections.aims_section(findings),
        slice_tables.suites_section(round_folder.summary("suites", SuitesSummary)) if round_folder else "",
        sections.reward_model_section(findings, drawn),
        sections.samples_section(findings),
        sections.rounds_section(run),
        sections.lineage_section(run, round_folder),
        sections.settings_section(run, round_folder),
    )
    return single_page(
        run.name,
        parts,
        kind="run report",
        figures=drawn,
        introduction=_round_note(run, findings) + sections.stages_line(run, round_folder),
        samples=[sample_json(sample) for sample in findings.samples],
    )


def figures(
    findings: Findings, *, slices: Sequence[str] | None = None
) -> tuple[dict[str, Part], list[tuple[str, str]]]:
    """Return every figure by the name of its place on the page, and the (title, unit) of each smaller one.

    slices: those drawn beside the average while training; None draws all, hidden until the page's menu shows one.
    """
    drawn = {"training": training_chart.training_figure(findings, slices=slices)}
    small = charts.small_figures(findings)
    drawn |= {f"small-{index}": figure for index, (_, _, figure) in enumerate(small)}
    if findings.reward_model:
        model = findings.reward_model
        margins = [margin for margin, _ in model.margins]
        drawn["margins"] = charts.margin_figure(margins, height=charts.pair_height(model))
        drawn["reward-slices"] = charts.slice_accuracy_figure(model)
    if findings.aims:
        drawn["hhh"] = hhh_chart.hhh_figure(findings.aims)
    return {name: figure for name, figure in drawn.items() if figure is not None}, [part[:2] for part in small]


def sample_json(sample: Sample) -> dict[str, Any]:
    """Return what the samples browser needs of one sample; the page shows each text as text."""
    return {
        "prompt": sample.prompt,
        "slices": sample.slices,
        "before": _side(sample.before),
        "after": _side(sample.after),
        "outcome": sample.outcome,
        "gain": sample.gain,
        "gap": sample.gap,
    }


# ----------------------------------------------------------------------------------------------------------- inside
def _side(answer: Mapping[str, Any]) -> dict[str, Any]:
    parts = answer.get("judge_parts")
    parts = {str(name): finite(part) for name, part in parts.items()} if isinstance(parts, Mapping) else {}
    is_correct = parts.pop("is_correct", None)
    return {
        "text": str(answer.get("text") or ""),
        "score": finite(answer.get("score")),
        "judge": finite(answer.get("judge")),
        "parts": {name: part for name, part in parts.items() if part},
        "correct": None if is_correct is None else is_correct > 0.5,
        "tokens": finite(answer.get("length_tokens")),
    }


def _round_note(run: RunFolder, findings: Findings) -> str:
    num = len(run.rounds)
    return f'<p class="about">round {findings.round_number}, the newest of {num}</p>' if num > 1 else ""
