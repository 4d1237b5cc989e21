"""Write a run's alarms as HTML: what stands, with evidence, worst samples and remedies; below it what has passed."""

from __future__ import annotations

from collections.abc import Sequence

from kleash.monitor.alarms import Alarm, Suspect, ending, passed, standing
from kleash.monitor.findings import Findings
from kleash.monitor.markup import escape, model_text
from kleash.monitor.wording import MISSING, number

ACTIONS = {
    "raise_beta": "Beta was raised.",
    "hold": "Training was ended here and these weights were kept.",
    "roll_back": "Training was ended and the best weights by the external signal were taken.",
}
STATE_WORDS = {"ok": "over", "warn": "warning", "stop": "stop"}


def alarms_section(findings: Findings) -> str:
    """Return the alarms that stand, worst first and opened up, and those that passed in one folded list.

    Of a run that was watched silence is worth a sentence; of another there is nothing to say.
    """
    alarms = findings.alarms
    if not findings.is_watched:
        return ""
    stand, over, ended = standing(alarms), passed(alarms), ending(alarms)
    title = "Alarms" if stand or over else "No alarm"
    about = _about(stand, over, ended)
    cards = "".join(_card(alarm, place) for place, alarm in enumerate(stand))
    gone = "".join(f"<li>{_headline(alarm)}</li>" for alarm in over)
    folded = f'<details id="alarms-over"><summary>{len(over)} passed</summary><ul>{gone}</ul></details>' if over else ""
    return f'<section id="alarms"><h2>{title}</h2><p class="about">{about}</p>{cards}{folded}</section>'


def _about(stand: Sequence[Alarm], over: Sequence[Alarm], ended: Alarm | None) -> str:
    if ended is not None:
        return f"An alarm ended this run after update {ended.step}. {ACTIONS[ended.action]}"
    if stand:
        return (
            "What the watch sees now, the worst first. No single curve decides: look whether the external signal "
            "agrees, read the samples, and try the mildest remedy first."
        )
    return "The watch looked at every symptom in every slice and sees nothing now." + (
        " What it saw has passed." if over else ""
    )


def _card(alarm: Alarm, place: int) -> str:
    remedies = "".join(f"<li>{escape(remedy)}</li>" for remedy in alarm.remedies)
    is_open = " open" if place == 0 else ""
    mended = (
        f'<details id="alarm-remedies-{place}"{is_open}><summary>What to do, mildest first</summary>'
        f"<ol>{remedies}</ol></details>"
        if remedies
        else ""
    )
    samples = "".join(_suspect(suspect) for suspect in alarm.worst)
    rows = (
        f'<details id="alarm-samples-{place}"><summary>{len(alarm.worst)} worst samples</summary>'
        f'<div class="suspects">{samples}</div></details>'
        if samples
        else ""
    )
    action = f" {ACTIONS[alarm.action]}" if alarm.action in ACTIONS else ""
    return (
        f'<article class="alarm {alarm.state}"><h3>{_headline(alarm)}</h3>'
        f"<p>{escape(alarm.evidence)}{action}</p>{mended}{rows}</article>"
    )


def _headline(alarm: Alarm) -> str:
    where = f" in <b>{escape(alarm.slice)}</b>" if alarm.slice else ""
    measured = ""
    if alarm.value is not None:
        bound = "" if alarm.threshold is None else f", bound {number(alarm.threshold)}"
        measured = f" <small>{number(alarm.value)} {escape(alarm.unit)}{bound}; update {alarm.step}</small>"
    symptom = escape(alarm.symptom.replace("_", " "))
    return f'<span class="state {alarm.state}">{STATE_WORDS[alarm.state]}</span> {symptom}{where}{measured}'


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
