"""Write a run's alarms as HTML: what stands, with evidence, worst samples and remedies; below it what has passed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from kleash.monitor.alarms import ShownAlarm, Suspect, by_symptom, ending, passed
from kleash.monitor.findings import Findings
from kleash.monitor.markup import escape, model_text
from kleash.web.wording import MISSING, number

ACTIONS = {
    "raise_beta": "Beta was raised.",
    "hold": "Training was ended here and these weights were kept.",
    "roll_back": "Training was ended and the best weights by the external signal were taken.",
}
STATE_WORDS = {"ok": "over", "warn": "warning", "stop": "stop"}


def alarms_section(findings: Findings) -> str:
    """Return the symptoms that stand, the worst one unfolded, and those that passed in one folded list.

    Of a run that was watched silence is worth a sentence; of another there is nothing to say.
    """
    alarms = findings.alarms
    if not findings.is_watched:
        return ""
    stand, over, ended = by_symptom(alarms), passed(alarms), ending(alarms)
    title = "Alarms" if stand or over else "No alarm"
    about = _about(bool(stand), bool(over), ended)
    cards = "".join(_card(group, is_open=index == 0) for index, group in enumerate(stand.values()))
    gone = "".join(f"<li>{_headline(alarm)}{_measured(alarm)}</li>" for alarm in over)
    folded = f'<details id="alarms-over"><summary>{len(over)} passed</summary><ul>{gone}</ul></details>' if over else ""
    return f'<section id="alarms"><h2>{title}</h2><p class="about">{about}</p>{cards}{folded}</section>'


def _about(stands: bool, has_passed: bool, ended: ShownAlarm | None) -> str:
    if ended is not None:
        return f"An alarm ended this run after update {ended.step}. {ACTIONS[ended.action]}"
    if stands:
        return (
            "What the watch sees now, the worst first. No single curve decides: look whether the external signal "
            "agrees, read the samples, and try the mildest remedy first."
        )
    return "The watch looked at every symptom in every slice and sees nothing now." + (
        " What it saw has passed." if has_passed else ""
    )


def _card(group: Sequence[ShownAlarm], *, is_open: bool) -> str:
    """Return one symptom's card: where it stands, with evidence; what to do; and the worst place's samples."""
    worst = group[0]
    name = re.sub(r"[^a-z0-9]+", "-", worst.symptom.lower())
    more = len(group) - 1
    where = f" <small>and {more} more slice{'' if more == 1 else 's'}</small>" if more else ""
    evidence = "".join(_evidence(alarm) for alarm in group)
    remedies = "".join(f"<li>{escape(remedy)}</li>" for remedy in worst.remedies)
    mended = f"<h3>What to do, mildest first</h3><ol>{remedies}</ol>" if remedies else ""
    samples = "".join(_suspect(suspect) for suspect in worst.worst)
    rows = (
        f'<details id="alarm-samples-{name}"><summary>{len(worst.worst)} worst samples</summary>{samples}</details>'
        if samples
        else ""
    )
    action = f"<p>{ACTIONS[worst.action]}</p>" if worst.action in ACTIONS else ""
    return (
        f'<details class="alarm {worst.state}" id="alarm-{name}"{" open" if is_open else ""}>'
        f"<summary>{_headline(worst)}{where}</summary>"
        f'<ul class="evidence">{evidence}</ul>{action}{mended}{rows}</details>'
    )


def _headline(alarm: ShownAlarm) -> str:
    where = f" in <b>{escape(alarm.slice)}</b>" if alarm.slice else ""
    symptom = escape(alarm.symptom.replace("_", " "))
    return f'<span class="state {alarm.state}">{STATE_WORDS[alarm.state]}</span> <b>{symptom}</b>{where}'


def _evidence(alarm: ShownAlarm) -> str:
    where = escape(alarm.slice) if alarm.slice else "All prompts"
    return f"<li><b>{where}</b> {escape(alarm.evidence)}{_measured(alarm)}</li>"


def _measured(alarm: ShownAlarm) -> str:
    if alarm.value is None:
        return f" <small>update {alarm.step}</small>"
    bound = "" if alarm.threshold is None else f", bound {number(alarm.threshold)}"
    return f" <small>{number(alarm.value)} {escape(alarm.unit)}{bound}; update {alarm.step}</small>"


def _suspect(suspect: Suspect) -> str:
    figures = f"reward {_figure(suspect.proxy)}, external {_figure(suspect.external)}"
    return (
        f'<div class="sample"><p class="prompt">{model_text(suspect.prompt)}</p><div class="answers">'
        f'<div class="answer"><p class="answer-head">Reference</p>'
        f'<p class="answer-text">{model_text(suspect.reference_answer)}</p></div>'
        f'<div class="answer"><p class="answer-head">Policy <span>{figures}</span></p>'
        f'<p class="answer-text">{model_text(suspect.answer)}</p></div></div></div>'
    )


def _figure(value: float | None) -> str:
    return MISSING if value is None else number(value)
