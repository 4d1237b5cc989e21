"""Gather what one run's page shows, verdict, alarms, charts, slices, as parts that are sent again when they change.

The parts are the report's own sections and figures; only the table of slices while training is the monitor's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from kleash.monitor.figures.hhh_chart import hhh_figure
from kleash.monitor.pages import sections, slice_tables
from kleash.monitor.pages.comparing import DISTANCE, curves_of, distance_part
from kleash.monitor.pages.rendering import Live, fragment, piece
from kleash.monitor.pages.report import figures
from kleash.monitor.pages.run_list import run_state_word, state_pill
from kleash.monitor.read.catalogue import run_state
from kleash.monitor.read.checks import checks
from kleash.monitor.read.findings import Findings, findings_of, slice_names
from kleash.monitor.read.live import Shelf, files_state
from kleash.monitor.read.reader import RoundFolder, RunFolder, newest_round
from kleash.monitor.read.verdict import verdict_of
from kleash.results import SuitesSummary
from kleash.web.plots import Part

LIVE_SECONDS, QUIET_SECONDS = 2.0, 15.0

PARTS = (
    "stages",
    "verdict",
    "tiles",
    "training",
    "small",
    "alarms",
    "distance",
    "watched",
    "slices",
    "suites",
    "checks",
    "reward-model",
)
"""The page's parts from top to bottom; the element of each is called NAME-part."""


def live_run(shelf: Shelf, folder: Path, *, round_number: int | None = None, slice_name: str = "") -> Live:
    """Return what a run's page shows now.

    round_number: None is the newest round that trained something.  slice_name: drawn beside the average, if recorded.
    """
    key = ("run", folder, round_number, slice_name)
    return shelf.cached(key, run_state(folder), lambda: _live_run(shelf.run(folder), round_number, slice_name))


def live_aims(shelf: Shelf, folder: Path) -> Live:
    """Return helpful, honest and harmless over a run's checkpoints, on a page of their own."""

    def make() -> Live:
        findings = findings_of(shelf.run(folder))
        drawn = {"hhh": hhh_figure(findings.aims)} if findings.aims else {}
        return Live({"aims": fragment("parts/aims.html", path=findings.aims)}, drawn)

    return shelf.cached(("aims", folder), run_state(folder), make)


# ----------------------------------------------------------------------------------------------------------- inside
def _live_run(run: RunFolder, round_number: int | None, slice_name: str) -> Live:
    round_folder = next((folder for folder in run.rounds if folder.number == round_number), newest_round(run))
    findings = findings_of(run, round_folder)
    drawn, small = figures(findings, slices=[name for name in slice_names(findings.updates) if name == slice_name])
    html = _html(run, round_folder, findings, drawn, small, slice_name)
    distance, distance_figure = distance_part(curves_of(run, run.name, round_folder=round_folder))
    html[f"{DISTANCE}-part"] = distance
    if distance_figure is not None:
        drawn[DISTANCE] = distance_figure
    changed = max((time_ns for _, _, time_ns in files_state(run.folder)), default=0) / 1e9
    state = run_state_word(run, round_folder or RoundFolder(0, {}), changed=changed)
    seconds = LIVE_SECONDS if state == "running" else QUIET_SECONDS
    return Live({"state": state_pill(state), **html}, drawn, poll_seconds=seconds)


def _html(
    run: RunFolder,
    round_folder: RoundFolder | None,
    findings: Findings,
    drawn: Mapping[str, Part],
    small: Sequence[tuple[str, str]],
    slice_name: str,
) -> dict[str, str]:
    """Return each part's HTML by its element's id; the checks come last, when every file that is shown was read."""
    parts = {
        "stages": _round_menu(run, findings) + sections.stages_line(run, round_folder),
        "verdict": sections.verdict_section(verdict_of(findings)),
        "tiles": sections.tiles(findings),
        "alarms": sections.alarms_section(findings),
        "training": sections.live_training_section(findings, slice_name) if "training" in drawn else "",
        "small": piece("small_charts", small) if small else "",
        "watched": slice_tables.watched_section(findings),
        "slices": slice_tables.slices_section(findings.slices, findings.judge),
        "suites": slice_tables.suites_section(round_folder.summary("suites", SuitesSummary)) if round_folder else "",
        "reward-model": sections.reward_model_section(findings, drawn),
    }
    parts["checks"] = sections.checks_section(checks(findings), run.problems)
    return {f"{name}-part": html for name, html in parts.items()}


def _round_menu(run: RunFolder, findings: Findings) -> str:
    if len(run.rounds) < 2:
        return ""
    numbers = [str(folder.number) for folder in run.rounds]
    return piece("round_menu", numbers, str(findings.round_number))
