"""Write `report.html`: one file that shows a whole run, works offline and can be sent to anyone.

Style, script, plotly and data are all inside. Model text is hostile until proven otherwise: it reaches the page as
escaped HTML or as JSON that the script shows as text only, and a content security policy lets no script run but the
two whose hashes it names, and nothing be fetched from anywhere. Sections are in `sections.py`, figures in `charts.py`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from kleash import __version__
from kleash.durable import clear_write_errors, write_text
from kleash.monitor import charts, hhh_chart, markup, provenance, sections, slice_table, training_chart
from kleash.monitor.alarms_section import alarms_section
from kleash.monitor.checks import checks
from kleash.monitor.comparing import curves_of
from kleash.monitor.distance_section import PLACE as DISTANCE
from kleash.monitor.distance_section import distance_part
from kleash.monitor.findings import Findings, findings_of, newest_round
from kleash.monitor.measures import finite, json_numbers
from kleash.monitor.plots import Part
from kleash.monitor.reader import Run, read_run
from kleash.monitor.samples import Sample
from kleash.monitor.verdict import verdict_of

REPORT_FILE = "report.html"


def write_report(run_folder: Path) -> Path:
    """Write the report of a run, finished or not, into its folder and return the page's path.

    The old page stays whole until the new one is. Raises RunError if there is no run or the disk refuses.
    """
    run = read_run(Path(run_folder))
    page = render(run)
    path = Path(run_folder) / REPORT_FILE
    with clear_write_errors("report", path):
        write_text(path, page)
    return path


def render(run: Run) -> str:
    """Return the page as text."""
    from plotly.offline import get_plotlyjs

    found = newest_round(run)
    findings = findings_of(run, found)
    drawn, small = figures(findings)
    distance, distance_figure = distance_part(curves_of(run, run.name, found=found))
    if distance_figure is not None:
        drawn[DISTANCE] = distance_figure
    plotly_script, page_script = get_plotlyjs(), _resource("report.js")
    samples = [sample_json(sample) for sample in findings.samples]
    page = Template(_resource("report.html")).substitute(
        policy=content_policy(plotly_script, page_script),
        title=markup.escape(run.name),
        round=_round_note(run, findings),
        version=markup.escape(__version__),
        css=_resource("report.css") + _resource("static/sections.css"),
        stages=sections.stages_line(run, found),
        verdict=sections.verdict_section(verdict_of(findings)),
        tiles=sections.tiles(findings),
        alarms=alarms_section(findings),
        checks=sections.checks_section(checks(findings), run.problems),
        training=sections.training_section(findings, small, has_main_figure="training" in drawn),
        distance=distance,
        slices=slice_table.slices_section(findings.slices, findings.judge),
        hhh=sections.hhh_section(findings),
        reward_model=sections.reward_model_section(findings, drawn),
        samples=sections.samples_section(findings),
        rounds=provenance.rounds_section(run),
        lineage=provenance.lineage_section(run, found),
        settings=provenance.settings_section(run, found),
        data=script_json({"figures": drawn, "samples": samples}),
        plotly=plotly_script,
        script=page_script,
    )
    # Models can emit half of a surrogate pair; no encoding can write it, so it is shown as a question mark.
    return page.encode("utf-8", "replace").decode("utf-8")


def script_json(content: Any) -> str:
    """Return JSON that cannot end the script element it stands in, nor mean anything else to an HTML parser."""
    text = json.dumps(json_numbers(content), allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def content_policy(*scripts: str) -> str:
    """Return a content security policy under which only these scripts run and nothing is loaded from anywhere."""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    return f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:"


def figures(
    findings: Findings, *, slices: Sequence[str] | None = None
) -> tuple[dict[str, Part], list[tuple[str, str]]]:
    """Return every figure by the name of its place on the page, and the (title, unit) of each smaller one.

    slices: those drawn beside the average while training; None draws all, hidden until the page's menu shows one.
    """
    drawn = {"training": training_chart.training_figure(findings, slices=slices)}
    small = charts.small_figures(findings)
    drawn |= {f"small-{place}": figure for place, (_, _, figure) in enumerate(small)}
    if findings.reward_model:
        drawn["margins"] = charts.margin_figure(findings.reward_model)
        drawn["reward-slices"] = charts.slice_accuracy_figure(findings.reward_model)
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
    return f"round {findings.round_number}, the newest of {len(run.rounds)}" if len(run.rounds) > 1 else ""


def _resource(name: str) -> str:
    return (resources.files("kleash.monitor") / name).read_text(encoding="utf-8")
