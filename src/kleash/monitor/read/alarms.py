"""Read the alarms of a training run: which symptom was seen when, in which slice, how bad, and what was done.

The rows of `alarms.jsonl` become the records that wrote them; each tells how one symptom stands in one slice. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kleash.estimates import finite
from kleash.evaluation.alarms import LEVELS, Alarm, Suspect
from kleash.evaluation.symptoms import Level
from kleash.monitor.read.measures import whole
from kleash.monitor.read.reader import Row

ENDING_ACTIONS = ("hold", "roll_back")


def read_alarms(rows: Iterable[Row]) -> tuple[Alarm, ...]:
    """Return the alarms of a log, oldest first; rows without an update, a symptom or a known state are no alarms."""
    alarms = []
    for row in rows:
        step, symptom = whole(row.get("step")), row.get("symptom")
        state = next((level for level in LEVELS if level == row.get("state")), None)
        if step is not None and symptom and state is not None:
            alarms.append(_alarm(row, step, str(symptom), state))
    return tuple(alarms)


def standing(alarms: Iterable[Alarm]) -> tuple[Alarm, ...]:
    """Return the newest word on each symptom in each slice that is not "ok": the worst first, then the newest."""
    newest = {(alarm.symptom, alarm.slice): alarm for alarm in alarms}
    return tuple(
        sorted((alarm for alarm in newest.values() if alarm.severity), key=lambda alarm: (-alarm.severity, -alarm.step))
    )


def by_symptom(alarms: Iterable[Alarm]) -> dict[str, tuple[Alarm, ...]]:
    """Group what stands by its symptom: the worst symptom first, in each the worst first, all prompts before slices.

    A symptom seldom comes in one slice alone, and what helps against it is the same in all.
    """
    groups: dict[str, list[Alarm]] = {}
    for alarm in sorted(standing(alarms), key=lambda alarm: (-alarm.severity, alarm.slice != "", -alarm.step)):
        groups.setdefault(alarm.symptom, []).append(alarm)
    return {symptom: tuple(group) for symptom, group in groups.items()}


@dataclass(frozen=True)
class Mark:
    """How a symptom stood after one evaluation. slices: where it was seen; "" is all prompts."""

    step: int
    state: Level
    slices: tuple[str, ...]


def history(alarms: Iterable[Alarm]) -> dict[str, tuple[Mark, ...]]:
    """Return each symptom's marks over the updates; the ones that came to a stop first, then those seen first."""
    states: dict[str, dict[str, Level]] = {}
    marks: dict[str, dict[int, Mark]] = {}
    for alarm in alarms:
        own = states.setdefault(alarm.symptom, {})
        own[alarm.slice] = alarm.state
        seen = tuple(sorted(name for name, state in own.items() if state != "ok"))
        worst = max(own.values(), key=LEVELS.index)
        marks.setdefault(alarm.symptom, {})[alarm.step] = Mark(alarm.step, worst, seen)
    past = {symptom: tuple(own.values()) for symptom, own in marks.items()}
    order = sorted(past, key=lambda symptom: all(mark.state != "stop" for mark in past[symptom]))
    return {symptom: past[symptom] for symptom in order if any(mark.state != "ok" for mark in past[symptom])}


def passed(alarms: Iterable[Alarm]) -> tuple[Alarm, ...]:
    """Return of each symptom that was seen, and is seen nowhere any more, its worst row, the newest of them."""
    alarms = tuple(alarms)
    stand = {alarm.symptom for alarm in standing(alarms)}
    worst: dict[str, Alarm] = {}
    for alarm in alarms:
        is_over = alarm.severity and alarm.symptom not in stand
        if is_over and alarm.severity >= worst.get(alarm.symptom, alarm).severity:
            worst[alarm.symptom] = alarm
    return tuple(worst.values())


def ending(alarms: Iterable[Alarm]) -> Alarm | None:
    """Return the alarm whose action ended the run, None if none did."""
    return next((alarm for alarm in alarms if alarm.action in ENDING_ACTIONS), None)


# ----------------------------------------------------------------------------------------------------------- inside
def _alarm(row: Row, step: int, symptom: str, state: Level) -> Alarm:
    remedies, worst = row.get("remedies"), row.get("worst")
    return Alarm(
        step=step,
        symptom=symptom,
        state=state,
        **_read(row, texts=("slice", "unit", "evidence"), figures=("value", "threshold")),
        action=str(row.get("action") or "none"),
        remedies=tuple(str(remedy) for remedy in remedies) if isinstance(remedies, list) else (),
        worst=tuple(_suspect(one) for one in worst if isinstance(one, Mapping)) if isinstance(worst, list) else (),
    )


def _suspect(row: Row) -> Suspect:
    return Suspect(**_read(row, texts=("prompt", "answer", "reference_answer"), figures=("proxy", "external")))


def _read(row: Row, *, texts: Sequence[str], figures: Sequence[str]) -> dict[str, Any]:
    return {name: str(row.get(name) or "") for name in texts} | {name: finite(row.get(name)) for name in figures}
