"""Say in plain words whether the trained policy answers better than its reference, and how that is known.

A win by the verdict of the very reward model that was trained on is no win, and is not called one. The words are in
templates/words/verdict.md; what else may be wrong with a run is looked for in `read/checks.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kleash.monitor.pages.rendering import fragment
from kleash.monitor.read.alarms import by_symptom
from kleash.monitor.read.findings import Findings
from kleash.monitor.read.verdict import mood_of

Mood = Literal["better", "worse", "unclear", "pending"]


@dataclass(frozen=True)
class RunVerdict:
    """One headline, "claim: reason", and the sentences that bear it out."""

    mood: Mood
    headline: str
    evidence: tuple[str, ...]


def verdict_of(findings: Findings) -> RunVerdict:
    """Say whether the trained policy answers better than its reference, at what cost, and how that is known."""
    rate = findings.overall.win_rate
    is_independent = findings.judge != "proxy" and not findings.judge_trained
    mood: Mood = "pending" if rate is None else mood_of(rate) if is_independent else "unclear"
    seen = {symptom.replace("_", " "): group[0].state for symptom, group in by_symptom(findings.alarms).items()}
    text = fragment(
        "words/verdict.md",
        findings=findings,
        mood=mood,
        mood_of=mood_of,
        stops=[symptom for symptom, state in seen.items() if state == "stop"],
        warnings=list(seen),
    )
    headline, *evidence = [line for line in text.splitlines() if line]
    return RunVerdict(mood, headline, tuple(evidence))
