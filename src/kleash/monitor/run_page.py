"""Gather what one run's page shows, verdict, alarms, charts, slices, as parts that are sent again when they change.

The parts are the report's own sections and figures; only the table of slices while training is the monitor's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from kleash.monitor import sections, slice_table, watched_slices
from kleash.monitor.alarms_section import alarms_section
from kleash.monitor.checks import checks
from kleash.monitor.comparing import curves_of
from kleash.monitor.distance_section import PLACE as DISTANCE
from kleash.monitor.distance_section import distance_part
from kleash.monitor.findings import Findings, findings_of, newest_round, slice_names
from kleash.monitor.live import Shelf, files_state
from kleash.monitor.markup import escape, options
from kleash.monitor.pages import Live
from kleash.monitor.reader import RoundFolder, Run
from kleash.monitor.report import figures
from kleash.monitor.run_list import is_being_written, run_state_word, state_pill
from kleash.monitor.suites_section import suites_section
from kleash.monitor.verdict import verdict_of
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


def run_state(folder: Path) -> object:
    """Return what a run's pages depend on: its files' sizes and times, and whether it is being written."""
    return files_state(folder), is_being_written(folder)


def live_run(shelf: Shelf, folder: Path, *, round_number: int | None = None, slice_name: str = "") -> Live:
    """Return what a run's page shows now.

    round_number: None is the newest round that trained something.  slice_name: drawn beside the average, if recorded.
    """
    key = ("run", folder, round_number, slice_name)
    return shelf.made(key, run_state(folder), lambda: _live_run(shelf.run(folder), round_number, slice_name))


# ----------------------------------------------------------------------------------------------------------- inside
def _live_run(run: Run, round_number: int | None, slice_name: str) -> Live:
    found = next((found for found in run.rounds if found.number == round_number), newest_round(run))
    findings = findings_of(run, found)
    drawn, small = figures(findings, slices=[name for name in slice_names(findings.updates) if name == slice_name])
    html = _html(run, found, findings, drawn, small, slice_name)
    distance, distance_figure = distance_part(curves_of(run, run.name, found=found))
    html[f"{DISTANCE}-part"] = distance
    if distance_figure is not None:
        drawn[DISTANCE] = distance_figure
    changed = max((time_ns for _, _, time_ns in files_state(run.folder)), default=0) / 1e9
    state = run_state_word(run, found or RoundFolder(0, {}), changed=changed)
    seconds = LIVE_SECONDS if state == "running" else QUIET_SECONDS
    return Live({"state": state_pill(state), **html}, drawn, poll_seconds=seconds)


def _html(
    run: Run,
    found: RoundFolder | None,
    findings: Findings,
    drawn: Mapping[str, Part],
    small: Sequence[tuple[str, str]],
    slice_name: str,
) -> dict[str, str]:
    """Return each part's HTML by its element's id; the checks come last, when every file that is shown was read."""
    parts = {
        "stages": _round_menu(run, findings) + sections.stages_line(run, found),
        "verdict": sections.verdict_section(verdict_of(findings)),
        "tiles": sections.tiles(findings),
        "alarms": alarms_section(findings),
        "training": _training(findings, slice_name) if "training" in drawn else "",
        "small": _small(small),
        "watched": watched_slices.watched_section(findings),
        "slices": slice_table.slices_section(findings.slices, findings.judge),
        "suites": suites_section(found.summary("suites") if found else {}),
        "reward-model": sections.reward_model_section(findings, drawn),
    }
    parts["checks"] = sections.checks_section(checks(findings), run.problems)
    return {f"{name}-part": html for name, html in parts.items()}


def _round_menu(run: Run, findings: Findings) -> str:
    if len(run.rounds) < 2:
        return ""
    numbers = options((str(found.number) for found in run.rounds), chosen=str(findings.round_number))
    return (
        '<p class="controls"><label>Round <select id="round" data-parameter="round" autocomplete="off">'
        f"{numbers}</select></label></p>"
    )


def _training(findings: Findings, slice_name: str) -> str:
    names = options(slice_names(findings.updates), chosen=slice_name)
    menu = (
        '<p class="controls"><label>Compare with one slice '
        '<select id="slice" data-parameter="slice" autocomplete="off">'
        f'<option value="">none</option>{names}</select></label></p>'
        if names
        else ""
    )
    label = "Alarms, reward, external quality, KL and beta by update, on one axis"
    return (
        f'<section id="training-section"><h2>Training</h2><p class="about">{sections.ABOUT_ONLINE}</p>{menu}'
        f"{sections.chart_place('training', label)}</section>"
    )


def _small(small: Sequence[tuple[str, str]]) -> str:
    drawn = "".join(
        f"<figure><figcaption><b>{escape(title)}</b> {escape(unit)}</figcaption>"
        f"{sections.chart_place(f'small-{index}', f'{title} by update')}</figure>"
        for index, (title, unit) in enumerate(small)
    )
    return f'<div class="small-charts">{drawn}</div>' if drawn else ""
