"""List the runs: of each its state, its stage, and the few figures that say whether to look closer.

A row is made from manifests, the recipe and the last line of each log, so that a long list costs little.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from kleash.monitor.alarms import by_symptom, ending, read_alarms
from kleash.monitor.catalogue import Catalogue, is_being_written
from kleash.monitor.external_quality import PANEL
from kleash.monitor.findings import KL_METRIC, kl_target, newest_round
from kleash.monitor.live import Shelf, files_state, last_row
from kleash.monitor.markup import escape
from kleash.monitor.measures import Estimate, estimate, finite, whole
from kleash.monitor.reader import RoundFolder, Run
from kleash.monitor.verdict import judge_label
from kleash.web.wording import MISSING, count, number, percent, percent_range

RunState = Literal["running", "finished", "stopped by alarm", "stopped by audit", "stopped early", "unfinished"]
PILLS: dict[RunState, str] = {
    "running": "good",
    "finished": "off",
    "stopped by alarm": "bad",
    "stopped by audit": "bad",
    "stopped early": "warn",
    "unfinished": "warn",
}
# Where the system does not tell who holds a lock, a log that grew this lately tells that a run is alive.
FRESH_SECONDS = 120.0


@dataclass(frozen=True)
class RunRow:
    """One run on the list. steps: how many updates are wanted; win_rate_by: who measured it;
    num_warnings, num_stops: symptoms that stand, each counted once; changed: seconds, Unix."""

    name: str
    state: RunState
    stage: str
    step: int | None
    steps: int | None
    reward: float | None
    kl_nats: float | None
    kl_target_nats: float | None
    win_rate: Estimate | None
    win_rate_by: str
    num_warnings: int
    num_stops: int
    changed: float


def run_rows(catalogue: Catalogue, shelf: Shelf) -> tuple[RunRow, ...]:
    """Return a row per run: the running ones first, then the one that changed last."""
    rows = [run_row(name, folder, shelf) for name, folder in catalogue.runs().items()]
    return tuple(sorted(rows, key=lambda row: (row.state != "running", -row.changed, row.name)))


def list_state(catalogue: Catalogue) -> object:
    """Return what the list depends on: every run's files, and whether it is being written."""
    return [(name, files_state(path), is_being_written(path)) for name, path in sorted(catalogue.runs().items())]


def run_row(name: str, folder: Path, shelf: Shelf) -> RunRow:
    """Read the few figures of one run."""
    run = shelf.run(folder)
    found = newest_round(run) or RoundFolder(0, {})
    trained = next((found.stages[stage] for stage in ("policy", "direct") if stage in found.stages), None)
    metrics = last_row(trained.folder / "metrics.jsonl") if trained else {}
    alarms = read_alarms(found.rows("policy", "alarms"))
    stand = [group[0].state for group in by_symptom(alarms).values()]
    step, changed = whole(metrics.get("step")), max((time_ns for _, _, time_ns in files_state(folder)), default=0) / 1e9
    win_rate, win_rate_by = _win_rate(found)
    return RunRow(
        name=name,
        state=run_state_word(run, found, changed=changed),
        stage=_stage(run, found),
        step=None if step is None else step + 1,
        steps=_steps_wanted(run, found),
        reward=finite(metrics.get("score_mean")),
        kl_nats=finite(metrics.get(KL_METRIC)),
        kl_target_nats=kl_target(run, found),
        win_rate=win_rate,
        win_rate_by=win_rate_by,
        num_warnings=stand.count("warn"),
        num_stops=stand.count("stop"),
        changed=changed,
    )


def run_state_word(run: Run, found: RoundFolder, *, changed: float) -> RunState:
    """Say how a run stands. changed: when one of its files was last written, Unix seconds."""
    is_written = is_being_written(run.folder)
    is_complete = bool(run.summary) or _wanted(run, found) <= _complete(found)
    if is_written or (is_written is None and not is_complete and time.time() - changed < FRESH_SECONDS):
        return "running"
    if ending(read_alarms(found.rows("policy", "alarms"))) is not None:
        return "stopped by alarm"
    if found.summary("policy").get("outcome") in ("stop", "roll_back", "hold"):
        return "stopped early"
    if found.summary("audit").get("verdict") == "fail" and "policy" not in found.stages:
        return "stopped by audit"
    return "finished" if is_complete else "unfinished"


def state_pill(state: RunState) -> str:
    return f'<span class="pill {PILLS[state]}">{state}</span>'


def runs_table(rows: Iterable[RunRow]) -> str:
    """Return the list as HTML; a sentence where there is no run."""
    rows = tuple(rows)
    if not rows:
        return '<p class="about">There is no run in this folder yet. <code>kleash run quickstart</code> starts one.</p>'
    heads = (
        ("Run", ""),
        ("State", ""),
        ("Stage", "update"),
        ("Reward", "the proxy, SD"),
        ("KL", "nats per answer, of its target"),
        ("External win rate", "against SFT, 95 % interval"),
        ("Alarms", "that stand"),
        ("Changed", ""),
    )
    head = "".join(
        f'<th scope="col"><button type="button">{title}<span>{unit}</span></button></th>' for title, unit in heads
    )
    body = "".join(_row_html(row) for row in rows)
    return (
        '<div class="scroll" tabindex="0" role="group" aria-label="Runs"><table class="runs">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


# ----------------------------------------------------------------------------------------------------------- inside
def _wanted(run: Run, found: RoundFolder) -> set[str]:
    """Return the stages that the recipe asks for; without a recipe those that were begun."""
    asked = run.recipe.get("stages")
    return set(map(str, asked)) if isinstance(asked, list) else set(found.stages)


def _complete(found: RoundFolder) -> set[str]:
    return {name for name, stage in found.stages.items() if stage.is_complete}


def _stage(run: Run, found: RoundFolder) -> str:
    """Return the stage at work, else the last one that is finished."""
    asked = run.recipe.get("stages")
    order = [str(name) for name in asked] if isinstance(asked, list) else list(found.stages)
    begun = [name for name in order if name in found.stages]
    at_work = next((name for name in begun if not found.stages[name].is_complete), None)
    stage = at_work or (begun[-1] if begun else "")
    return f"round {found.number}: {stage}" if len(run.rounds) > 1 else stage


def _steps_wanted(run: Run, found: RoundFolder) -> int | None:
    for method in ("policy", "direct"):
        if method in found.stages:
            given: Any = found.settings(method) or run.recipe.get(method)
            return whole(given.get("steps")) if isinstance(given, dict) else None
    return None


def _win_rate(found: RoundFolder) -> tuple[Estimate | None, str]:
    """Return the newest win rate that the proxy did not give itself, and by whom: people, the judge, the panel."""
    people = [row for row in found.rows("people", "checkpoints") if estimate(row.get("win_rate"))]
    if people:
        return estimate(people[-1].get("win_rate")), "people"
    evaluation = found.summary("evaluation")
    judge = str(evaluation.get("judge") or "")
    if judge and judge != "proxy" and estimate(evaluation.get("win_rate")):
        return estimate(evaluation.get("win_rate")), judge_label(judge)
    watched = last_row(found.stages["policy"].folder / "evaluations.jsonl") if "policy" in found.stages else {}
    parts = {"value": "win_rate", "low": "win_rate_low", "high": "win_rate_high", "n": "n"}
    return estimate({part: watched.get(f"external/{name}") for part, name in parts.items()}), PANEL


def _row_html(row: RunRow) -> str:
    update = "" if row.step is None else count(row.step) + (f" of {count(row.steps)}" if row.steps else "")
    kl = number(row.kl_nats) + (f" <small>of {number(row.kl_target_nats)}</small>" if row.kl_target_nats else "")
    win = MISSING
    if row.win_rate is not None:
        by = f"{percent_range(row.win_rate.low, row.win_rate.high)}, {row.win_rate_by}"
        win = f"{percent(row.win_rate.value)} <small>{escape(by)}</small>"
    told = []
    if row.num_stops:
        told.append(f'<span class="state stop">{row.num_stops} stop</span>')
    if row.num_warnings:
        told.append(f'<span class="state warn">{row.num_warnings} warning{"" if row.num_warnings == 1 else "s"}</span>')
    moment = datetime.fromtimestamp(row.changed, UTC)
    cells: Sequence[tuple[object, str]] = (
        (row.state, state_pill(row.state)),
        (row.stage, f"{escape(row.stage) or MISSING} <small>{update}</small>"),
        (row.reward, number(row.reward)),
        (row.kl_nats, kl),
        (row.win_rate.value if row.win_rate else None, win),
        (10 * row.num_stops + row.num_warnings, " ".join(told) or "none"),
        (row.changed, f'<time datetime="{moment.isoformat()}">{moment:%Y-%m-%d %H:%M} UTC</time>'),
    )
    told_cells = "".join(f'<td data-key="{"" if key is None else escape(key)}">{cell}</td>' for key, cell in cells)
    link = f'<a href="/run/{quote(row.name)}">{escape(row.name)}</a>'
    return f'<tr><th scope="row" data-key="{escape(row.name)}">{link}</th>{told_cells}</tr>'
