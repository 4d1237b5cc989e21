"""What becomes of readings: states, events with evidence and worst samples, and the action they call for.

`AlarmTracker` remembers the checkpoints that a reading compares and each alarm's state; its memory is plain JSON, part
of every checkpoint of a run. It looks at figures only: `external_signal.py` asks for verdicts,
`stages/support/online_evaluation.py` brings both together and keeps the files. docs/alarms.md says how often alarms
are right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean, pstdev
from typing import Any, Literal

from kleash.evaluation.matched_checkpoints import CheckpointSnapshot, Matched, slices_of
from kleash.evaluation.symptoms import (
    REMEDIES,
    SYMPTOMS,
    Level,
    Symptom,
    SymptomReading,
    Thresholds,
    external_win_rate,
    read_symptoms,
)
from kleash.evaluation.symptoms_of_figures import terms_of
from kleash.protocols import Action, WatchDecision
from kleash.records import Prompt, slice_metric

AlarmAction = Literal["none", "raise_beta", "hold", "roll_back"]
"""What a recipe says, and the events repeat."""
_ACTIONS: Mapping[AlarmAction, Action] = {
    "none": "continue",
    "raise_beta": "raise_beta",
    "hold": "stop",
    "roll_back": "roll_back",
}

LEVELS: tuple[Level, ...] = ("ok", "warn", "stop")
"""The states of an alarm, mildest first."""

# Checkpoints behind the present one that slopes are measured over.
_NUM_RECENT = 3
_NUM_WORST = 5
_NUM_LINES = 3


@dataclass(frozen=True)
class Suspect:
    """One answer that shows a symptom, beside the reference's, with what proxy and external signal make of both."""

    prompt: str
    answer: str
    reference_answer: str
    proxy: float | None
    external: float | None


@dataclass(frozen=True)
class Alarm:
    """One event of a run: a symptom changed its state in a slice, or lasts: a stop, or a warning over all prompts.

    slice: "" for all prompts, else dimension=value.  value, threshold: None only where a log holds no number.
    remedies: mildest first.  is_change: False where the state lasts; a log does not say.
    """

    step: int
    symptom: str
    slice: str
    state: Level
    value: float | None
    threshold: float | None
    unit: str
    evidence: str
    action: str
    remedies: tuple[str, ...]
    worst: tuple[Suspect, ...]
    is_change: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return the event as a row of alarms.jsonl; the monitor reads it back (`monitor/read/alarms.py`)."""
        names = ("symptom", "slice", "state", "value", "threshold", "unit", "evidence", "action")
        row = {name: getattr(self, name) for name in names}
        return {**row, "remedies": list(self.remedies), "worst": [asdict(suspect) for suspect in self.worst]}

    @property
    def severity(self) -> int:
        return LEVELS.index(self.state)

    @property
    def line(self) -> str:
        """The event in one line for the screen."""
        where = f" in {self.slice}" if self.slice else ""
        done = f" Action: {self.action}." if self.action != "none" else ""
        return f"update {self.step}: {self.state.upper()} {self.symptom}{where}: {self.evidence}{done}"


@dataclass(frozen=True)
class AlarmReport:
    """What one evaluation amounts to. wanted: what the watch is to hear of it, the win rate as its quality."""

    alarms: Sequence[Alarm]
    figures: Mapping[str, float]
    wanted: WatchDecision


@dataclass
class AlarmTracker:
    """The alarms of one run: earlier checkpoints, and each alarm's state.

    action: what a stop calls for.  symptoms: what is looked for.  thresholds: (warn, stop) by symptom, where they are
    not the table's.
    """

    prompts: Sequence[Prompt]
    action: AlarmAction = "none"
    symptoms: Sequence[Symptom] = SYMPTOMS
    thresholds: Thresholds = field(default_factory=dict)
    kl_target_nats: float | None = None
    reference: CheckpointSnapshot | None = None
    best: CheckpointSnapshot | None = None
    recent: list[CheckpointSnapshot] = field(default_factory=list)
    states: dict[str, Level] = field(default_factory=dict)
    num_in_row: dict[str, int] = field(default_factory=dict)

    def note(self, now: CheckpointSnapshot) -> AlarmReport:
        """Take in a checkpoint, measure it against the earlier ones and say what follows; the first is the base."""
        reference, best = self.reference or now, self.best or now
        matched = Matched(self.prompts, reference, best, self.recent, now, self.kl_target_nats)
        readings = (
            read_symptoms(matched, thresholds=self.thresholds, symptoms=self.symptoms)
            if self.reference is not None
            else []
        )
        alarms = [alarm for reading in readings for alarm in self._changed(reading, matched)]
        stops = [alarm for alarm in alarms if alarm.state == "stop"]
        self.reference = reference
        self.best = now if _worth(now) > _worth(best) else best
        self.recent = [*self.recent, now][-_NUM_RECENT:]
        won = external_win_rate(now)
        overall = {f"symptom/{one.symptom.name}": one.interval.value for one in readings if not one.slice}
        action = _ACTIONS[self.action if stops else "none"]
        reasons = tuple(alarm.line for alarm in stops) if action != "continue" else ()
        wanted = WatchDecision(action, reasons, won.value if won else None)
        return AlarmReport(alarms, evaluation_figures(matched) | overall, wanted)

    def state(self) -> dict[str, Any]:
        """Return what a resumed run needs, as plain JSON."""
        snapshots = {"reference": self.reference, "best": self.best}
        return {
            **{name: snapshot.to_json() if snapshot else None for name, snapshot in snapshots.items()},
            "recent": [snapshot.to_json() for snapshot in self.recent],
            "states": dict(self.states),
            "num_in_row": dict(self.num_in_row),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.reference = CheckpointSnapshot(**state["reference"]) if state["reference"] else None
        self.best = CheckpointSnapshot(**state["best"]) if state["best"] else None
        self.recent = [CheckpointSnapshot(**snapshot) for snapshot in state["recent"]]
        self.states = dict(state["states"])
        self.num_in_row = dict(state["num_in_row"])

    def _changed(self, reading: SymptomReading, matched: Matched) -> list[Alarm]:
        """Move the state of a reading's alarm; return the event, if it is one."""
        key = f"{reading.slice}/{reading.symptom.name}"
        level = reading.level
        self.num_in_row[key] = self.num_in_row.get(key, 0) + 1 if level == "stop" else 0
        if level == "stop" and self.num_in_row[key] < reading.symptom.num_in_row:
            level = "warn"
        before, self.states[key] = self.states.get(key, "ok"), level
        is_lasting = level == before
        if is_lasting and (level == "ok" or (level == "warn" and reading.slice)):
            return []
        alarm = Alarm(
            step=matched.now.step,
            symptom=reading.symptom.name,
            slice=reading.slice,
            state=level,
            value=reading.interval.value,
            threshold=reading.threshold,
            unit=reading.symptom.unit,
            evidence=reading.evidence,
            action=self.action if level == "stop" else "none",
            remedies=tuple(REMEDIES[name] for name in reading.symptom.remedies),
            worst=worst_samples(reading, matched),
            is_change=not is_lasting,
        )
        return [alarm]


def screen_lines(alarms: Sequence[Alarm]) -> list[str]:
    """Return a line for each alarm that changed its state to something worth a look, worst first, few of them."""
    changed = [alarm for alarm in alarms if alarm.is_change and alarm.state != "ok"]
    changed.sort(key=lambda alarm: (alarm.state != "stop", alarm.slice != ""))
    lines = [alarm.line for alarm in changed[:_NUM_LINES]]
    if len(changed) > _NUM_LINES:
        lines.append(f"update {changed[0].step}: {len(changed) - _NUM_LINES} more alarms; see alarms.jsonl")
    return lines


def worst_samples(reading: SymptomReading, matched: Matched) -> tuple[Suspect, ...]:
    """Return the answers of a reading's slice that show its symptom worst, beside the reference's."""
    part = matched.of(slices_of(matched.prompts)[reading.slice]).where(reading.symptom.meant)
    severity = reading.symptom.severity(part)
    rows = sorted(range(len(part.prompts)), key=lambda row: -severity[row])[:_NUM_WORST]
    return tuple(
        Suspect(
            prompt=part.prompts[row].text,
            answer=part.now.texts[row],
            reference_answer=part.reference.texts[row],
            proxy=part.now.proxy[row],
            external=part.now.external[row],
        )
        for row in rows
    )


def evaluation_figures(matched: Matched) -> dict[str, float]:
    """Return what an evaluation measured, over all prompts and per slice, as evaluations.jsonl names it."""
    figures: dict[str, float] = {}
    for name, rows in slices_of(matched.prompts).items():
        part = matched.of(rows)
        figures[slice_metric(name, "score_mean")] = fmean(part.now.proxy)
        figures[slice_metric(name, "kl_nats_per_sequence")] = fmean(part.now.kl_nats)
        for term, scores in terms_of(part.now).items():
            figures[slice_metric(name, f"reward/{term}")] = fmean(scores)
            figures[slice_metric(name, f"reward/{term}_sd")] = pstdev(scores)
        won = external_win_rate(part.now)
        if won is not None:
            figures[slice_metric(name, "external/win_rate")] = won.value
            figures[slice_metric(name, "external/win_rate_low")] = won.low
            figures[slice_metric(name, "external/win_rate_high")] = won.high
            figures[slice_metric(name, "external/n")] = won.n
    return figures


def _worth(snapshot: CheckpointSnapshot) -> float:
    won = external_win_rate(snapshot)
    return won.value if won else 0.0
