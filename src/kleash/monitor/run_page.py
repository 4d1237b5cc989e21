"""One run's page as parts and figures."""

from __future__ import annotations

from pathlib import Path

from kleash.monitor import sections, slice_table
from kleash.monitor.checks import checks
from kleash.monitor.findings import findings_of, newest_round
from kleash.monitor.pages import Live
from kleash.monitor.reader import read_run
from kleash.monitor.report import figures
from kleash.monitor.verdict import verdict_of


def run_state(folder: Path) -> object:
    """Return the sizes and times of the run's files: what its page depends on."""
    files = [*folder.glob("*.*"), *folder.glob("round-*/*/*.json*")]
    return sorted((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files)


def live_run(folder: Path, *, round_number: int | None = None, slice_name: str = "") -> Live:
    """Return what a run's page shows now."""
    run = read_run(folder)
    found = next((found for found in run.rounds if found.number == round_number), newest_round(run))
    findings = findings_of(run, found)
    drawn, small = figures(findings)
    html = {
        "state": "",
        "verdict-part": sections.verdict_section(verdict_of(findings)),
        "tiles-part": sections.tiles(findings),
        "alarms-part": "",
        "checks-part": sections.checks_section(checks(findings), run.problems),
        "training-part": sections.training_section(findings, small, has_main_figure="training" in drawn),
        "slices-part": slice_table.slices_section(findings.slices, findings.judge),
        "reward-model-part": sections.reward_model_section(findings, drawn),
    }
    return Live(html=html, figures=drawn, poll_seconds=2.0)
