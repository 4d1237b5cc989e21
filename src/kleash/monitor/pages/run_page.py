"""Gather what one run's page shows, verdict, alarms, charts, slices, as parts that are sent again when they change.

The parts are the report's own sections and figures; only the table of slices while training is the monitor's.
"""

from __future__ import annotations

from pathlib import Path

from kleash.monitor.figures.hhh_chart import hhh_figure
from kleash.monitor.pages.rendering import Live, fragment, piece
from kleash.monitor.pages.run_list import last_change, run_state_word
from kleash.monitor.pages.sections import shown_of
from kleash.monitor.read.catalogue import run_state
from kleash.monitor.read.findings import findings_of
from kleash.monitor.read.live import Shelf
from kleash.monitor.read.reader import RunFolder, newest_round

LIVE_SECONDS, QUIET_SECONDS = 2.0, 15.0

PARTS = (
    *("stages", "verdict", "tiles", "training", "small", "alarms", "distance", "watched", "slices", "terms", "suites"),
    *("checks", "reward-model", "times"),
)
"""The page's parts from top to bottom, each a template; the element of each is called NAME-part."""


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
        return Live({"aims": fragment("parts/aims.html", findings=findings, is_live=True)}, drawn)

    return shelf.cached(("aims", folder), run_state(folder), make)


def _live_run(run: RunFolder, round_number: int | None, slice_name: str) -> Live:
    round_folder = next((folder for folder in run.rounds if folder.number == round_number), newest_round(run))
    shown = shown_of(run, round_folder, slice_name=slice_name)
    state = run_state_word(run, shown["round"], changed=last_change(run.folder))
    html = {f"{name}-part": fragment(f"parts/{name}.html", **shown) for name in PARTS}
    html["state"] = piece("state_pill", state)
    return Live(html, shown["drawn"], poll_seconds=LIVE_SECONDS if state == "running" else QUIET_SECONDS)
