"""List the runs: of each its state, its stage, and the few figures that say whether to look closer.

A row is made from manifests, the recipe and the last line of each log, so that a long list costs little.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from kleash.errors import damaged
from kleash.estimates import Estimate, estimate, finite
from kleash.monitor.pages.rendering import fragment
from kleash.monitor.read.alarms import by_symptom, ending, read_alarms
from kleash.monitor.read.catalogue import Catalogue, is_being_written
from kleash.monitor.read.external_quality import PANEL, judge_label, panel_rate
from kleash.monitor.read.findings import KL_METRIC, kl_target
from kleash.monitor.read.live import Shelf, files_state, last_row
from kleash.monitor.read.measures import whole
from kleash.monitor.read.reader import RoundFolder, RunFolder, newest_round
from kleash.results import AuditSummary, EvaluationSummary, PolicySummary

RunState = Literal[
    "running", "finished", "stopped by alarm", "stopped by audit", "stopped early", "unfinished", "damaged"
]
# Where the system does not tell who holds a lock, a log that grew this lately tells that a run is alive.
FRESH_SECONDS = 120.0


@dataclass(frozen=True)
class RunRow:
    """One run on the list. stage: of a damaged one, what is wrong; steps: how many updates are wanted; win_rate_by: who
    measured it; num_warnings, num_stops: symptoms that stand, each counted once; changed: seconds, Unix."""

    name: str
    state: RunState
    stage: str
    changed: float
    step: int | None = None
    steps: int | None = None
    reward: float | None = None
    kl_nats: float | None = None
    kl_target_nats: float | None = None
    win_rate: Estimate | None = None
    win_rate_by: str = ""
    num_warnings: int = 0
    num_stops: int = 0

    @property
    def moment(self) -> datetime:
        return datetime.fromtimestamp(self.changed, UTC)


def run_rows(catalogue: Catalogue, shelf: Shelf) -> tuple[RunRow, ...]:
    """Return a row per run: the running ones first, then the one that changed last."""
    rows = []
    for name, folder in catalogue.runs().items():
        try:
            rows.append(run_row(name, folder, shelf))
        except Exception as error:  # of any kind, by what is damaged: the other runs are shown all the same
            rows.append(RunRow(name, "damaged", str(damaged(name, error)), last_change(folder)))
    return tuple(sorted(rows, key=lambda row: (row.state != "running", -row.changed, row.name)))


def list_state(catalogue: Catalogue) -> object:
    """Return what the list depends on: every run's files, and whether it is being written."""
    return [(name, files_state(path), is_being_written(path)) for name, path in sorted(catalogue.runs().items())]


def run_row(name: str, folder: Path, shelf: Shelf) -> RunRow:
    """Read the few figures of one run."""
    run = shelf.run(folder)
    round_folder = newest_round(run) or RoundFolder(0, {})
    trained = next((round_folder.stages[stage] for stage in ("policy", "direct") if stage in round_folder.stages), None)
    metrics = last_row(trained.folder / "metrics.jsonl") if trained else {}
    alarms = read_alarms(round_folder.rows("policy", "alarms"))
    stand = [group[0].state for group in by_symptom(alarms).values()]
    step, changed = whole(metrics.get("step")), last_change(folder)
    win_rate, win_rate_by = _win_rate(round_folder)
    return RunRow(
        name=name,
        state="damaged" if run.problems else run_state_word(run, round_folder, changed=changed),
        stage=run.problems[0] if run.problems else _stage(run, round_folder),
        step=None if step is None else step + 1,
        steps=_steps_wanted(run, round_folder),
        reward=finite(metrics.get("score_mean")),
        kl_nats=finite(metrics.get(KL_METRIC)),
        kl_target_nats=kl_target(run, round_folder),
        win_rate=win_rate,
        win_rate_by=win_rate_by,
        num_warnings=stand.count("warn"),
        num_stops=stand.count("stop"),
        changed=changed,
    )


def run_state_word(run: RunFolder, round_folder: RoundFolder, *, changed: float) -> RunState:
    """Say how a run stands. changed: when one of its files was last written, Unix seconds."""
    is_written = is_being_written(run.folder)
    is_complete = bool(run.summary) or set(run.wanted_stages(round_folder)) <= _complete(round_folder)
    if is_written or (is_written is None and not is_complete and time.time() - changed < FRESH_SECONDS):
        return "running"
    if ending(read_alarms(round_folder.rows("policy", "alarms"))) is not None:
        return "stopped by alarm"
    if round_folder.summary("policy", PolicySummary).outcome in ("stop", "roll_back", "hold"):
        return "stopped early"
    if round_folder.summary("audit", AuditSummary).verdict == "fail" and "policy" not in round_folder.stages:
        return "stopped by audit"
    return "finished" if is_complete else "unfinished"


def last_change(folder: Path) -> float:
    """Return when one of a run's files was last written, Unix seconds."""
    return max((time_ns for _, _, time_ns in files_state(folder)), default=0) / 1e9


def runs_table(rows: Iterable[RunRow]) -> str:
    """Return the list as HTML; a sentence where there is no run."""
    return fragment("parts/runs.html", rows=tuple(rows))


# ----------------------------------------------------------------------------------------------------------- inside
def _complete(round_folder: RoundFolder) -> set[str]:
    return {name for name, stage in round_folder.stages.items() if stage.is_complete}


def _stage(run: RunFolder, round_folder: RoundFolder) -> str:
    """Return the stage at work, else the last one that is finished."""
    stages = round_folder.stages
    begun = [name for name in run.wanted_stages(round_folder) if name in stages]
    at_work = next((name for name in begun if not stages[name].is_complete), None)
    stage = at_work or (begun[-1] if begun else "")
    return f"round {round_folder.number}: {stage}" if len(run.rounds) > 1 else stage


def _steps_wanted(run: RunFolder, round_folder: RoundFolder) -> int | None:
    for method in ("policy", "direct"):
        if method in round_folder.stages:
            settings: Any = round_folder.settings(method) or run.recipe.get(method)
            return whole(settings.get("steps")) if isinstance(settings, dict) else None
    return None


def _win_rate(round_folder: RoundFolder) -> tuple[Estimate | None, str]:
    """Return the newest win rate that the proxy did not give itself, and by whom: people, the judge, the panel."""
    people = [one.win_rate for one in round_folder.checkpoints("people") if one.win_rate]
    if people:
        return people[-1], "people"
    evaluation = round_folder.summary("evaluation", EvaluationSummary)
    if evaluation.judge not in ("", "proxy") and evaluation.win_rate:
        return evaluation.win_rate, judge_label(evaluation.judge)
    policy = round_folder.stages.get("policy")
    watched = last_row(policy.folder / "evaluations.jsonl") if policy else {}
    return estimate(panel_rate(watched)), PANEL
