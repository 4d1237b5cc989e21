"""Write `report.html`: one file that shows a whole run, works offline and can be sent to anyone.

What holds it together, and hostile text inert, is `single_page.py`. Sections are in `sections.py`, figures in
`charts.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kleash.monitor import charts, hhh_chart, provenance, sections, slice_table, training_chart
from kleash.monitor.alarms_section import alarms_section
from kleash.monitor.checks import checks
from kleash.monitor.comparing import curves_of
from kleash.monitor.distance_section import PLACE as DISTANCE
from kleash.monitor.distance_section import distance_part
from kleash.monitor.findings import Findings, findings_of, newest_round
from kleash.monitor.measures import finite
from kleash.monitor.reader import Run, read_run
from kleash.monitor.samples import Sample
from kleash.monitor.single_page import single_page, write_page
from kleash.monitor.suites_section import suites_section
from kleash.monitor.verdict import verdict_of
from kleash.web.plots import Part

REPORT_FILE = "report.html"


def write_report(run_folder: Path) -> Path:
    """Write the report of a run, finished or not, into its folder and return the page's path.

    The old page stays whole until the new one is. Raises RunError if there is no run or the disk refuses.
    """
    return write_page("report", Path(run_folder) / REPORT_FILE, render(read_run(Path(run_folder))))


def render(run: Run) -> str:
    """Return the page as text."""
    found = newest_round(run)
    findings = findings_of(run, found)
    drawn, small = figures(findings)
    distance, distance_figure = distance_part(curves_of(run, run.name, found=found))
    if distance_figure is not None:
        drawn[DISTANCE] = distance_figure
    parts = (
        sections.verdict_section(verdict_of(findings)),
        sections.tiles(findings),
        sections.checks_section(checks(findings), run.problems),
        sections.training_section(findings, small, has_main_figure="training" in drawn),
        alarms_section(findings),
        distance,
        slice_table.slices_section(findings.slices, findings.judge),
        sections.hhh_section(findings),
        suites_section(found.summary("suites") if found else {}),
        sections.reward_model_section(findings, drawn),
        sections.samples_section(findings),
        provenance.rounds_section(run),
        provenance.lineage_section(run, found),
        provenance.settings_section(run, found),
    )
    return single_page(
        run.name,
        parts,
        kind="run report",
        figures=drawn,
        introduction=_round_note(run, findings) + sections.stages_line(run, found),
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


def _round_note(run: Run, findings: Findings) -> str:
    num = len(run.rounds)
    return f'<p class="about">round {findings.round_number}, the newest of {num}</p>' if num > 1 else ""
