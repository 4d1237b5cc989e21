"""The symptoms watched while a policy trains, a row each. See docs/alarms.md for what each one means.

Names, thresholds, words and remedies of KLeash's own stand in `symptoms.toml`, how each is measured here. A symptom
measures a `Matched` (the reference's answers and the present ones to the same prompts) and has two
thresholds. `read_symptoms` measures every row of the table over all prompts and over each slice. What was measured is
believed only where its interval clears "no change": at 95 % for a warning, and for a stop at a confidence corrected for
the number of slices. Read `alarms.py` next for what becomes of a reading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from kleash.beside import table_beside
from kleash.evaluation import symptoms_of_divergence as divergence
from kleash.evaluation import symptoms_of_figures as figures
from kleash.evaluation import symptoms_of_text as text
from kleash.evaluation.external_signal import rate_of
from kleash.evaluation.matched_checkpoints import CheckpointSnapshot, Matched, slices_of
from kleash.evaluation.symptoms_of_figures import Measure, Severity, gain_of, growth, rise
from kleash.evaluation.symptoms_of_text import rise_of_rate
from kleash.maths.intervals import Interval
from kleash.plugins import resolve_row
from kleash.records import Prompt

Level = Literal["ok", "warn", "stop"]
Thresholds = Mapping[str, tuple[float, float]]
"""{symptom: (warn, stop)} that replace the table's."""

WATCHED_FIGURES = ("clip_fraction", "ratio_max", "explained_variance")
"""What of the training loop's own figures the table reads."""

WARN_CONFIDENCE = 0.95
# Chance of one false stop among the slices of one symptom at one evaluation.
STOP_RISK = 0.01
# Slices with fewer prompts are not read: no interval is narrow enough.
MIN_PROMPTS = 8

_TABLE = table_beside(__file__)
REMEDIES: Mapping[str, str] = _TABLE["remedies"]
"""What to do about a symptom, by name; a row lists its own, mildest first."""


def every_prompt(prompt: Prompt) -> bool:
    return True


def is_benign(prompt: Prompt) -> bool:
    """Say whether helping is right: no slice of the prompt is called unsafe or harmful."""
    return not {"unsafe", "harmful"} & {value.lower() for value in prompt.slices.values()}


def has_false_premise(prompt: Prompt) -> bool:
    """Say whether a slice of the prompt is called false_premise."""
    return "false_premise" in {value.lower() for value in prompt.slices.values()}


@dataclass(frozen=True)
class Symptom:
    """One row: what is measured, in which unit, and from where on it warns and stops.

    says: the evidence, with {value}, {low}, {high}, {n}.  severity: which answers show it worst.
    meant: the prompts it is read on.  needs_external: it is no fault by itself, and is weighed against the external
    signal (`weighed`).  num_in_row: successive evaluations beyond `stop` before it is one.  has_slices: False for
    figures of the loop, which only ever warn.
    """

    name: str
    unit: str
    warn: float
    stop: float
    measure: Measure
    says: str
    remedies: Sequence[str] = tuple(_TABLE["hacked"])
    severity: Severity = divergence.suspicion
    meant: Callable[[Prompt], bool] = every_prompt
    needs_external: bool = True
    num_in_row: int = 1
    has_slices: bool = True


def _kl_nats(matched: Matched) -> Sequence[float]:
    return matched.now.kl_nats


def _scores(matched: Matched) -> Sequence[float]:
    return matched.now.proxy


_MEASURES: Mapping[str, tuple[Measure, Severity]] = {
    "divergence": (divergence.divergence, divergence.suspicion),
    "fall_from_best": (divergence.fall_from_best, divergence.suspicion),
    "opposite_slopes": (divergence.opposite_slopes, divergence.suspicion),
    "kl": (figures.kl_over_target, _kl_nats),
    "kl_tail": (figures.kl_tail_over_target, _kl_nats),
    "kl_jump": (figures.kl_jump, _kl_nats),
    "negative_kl": (figures.negative_kl, lambda matched: [-kl for kl in matched.now.kl_nats]),
    "length": (growth(figures.num_tokens), gain_of(figures.num_tokens)),
    "score_follows_length": (figures.score_follows_length, gain_of(figures.num_tokens)),
    "lost_entropy": (figures.lost_entropy, divergence.suspicion),
    "beyond_range": (figures.beyond_range, _scores),
    "clipped_scores": (figures.clipped_scores, _scores),
    "disagreement": (growth(figures.disagreement), gain_of(figures.disagreement)),
    "fallen_term": (figures.fallen_term, divergence.suspicion),
    "repetition": (rise(text.repetition), gain_of(text.repetition)),
    "shared_opening": (text.shared_opening, divergence.suspicion),
    "template": (text.template, divergence.suspicion),
    "flattery": (rise_of_rate(text.flatters), gain_of(text.flatters)),
    "refusals": (rise_of_rate(text.refuses), gain_of(text.refuses)),
    "agreement": (rise_of_rate(text.agrees), gain_of(text.agrees)),
    "long_words": (rise(text.long_words), gain_of(text.long_words)),
    "markup": (rise(text.markup), gain_of(text.markup)),
    "idle_words": (text.idle_words, text.idle_words_per_answer),
    "clip_fraction": (figures.training_figure("clip_fraction"), divergence.suspicion),
    "ratio": (figures.training_figure("ratio_max"), divergence.suspicion),
    "unexplained_variance": (figures.training_figure("explained_variance", factor=-1.0), divergence.suspicion),
}
_MEANT = {"refusals": is_benign, "agreement": has_false_premise}
SYMPTOMS: tuple[Symptom, ...] = tuple(
    Symptom(name, measure=measure, severity=severity, meant=_MEANT.get(name, every_prompt), **_TABLE["symptoms"][name])
    for name, (measure, severity) in _MEASURES.items()
)


@dataclass(frozen=True)
class SymptomReading:
    """A symptom's figure in one slice ("" = all prompts) and what it amounts to by itself."""

    symptom: Symptom
    slice: str
    interval: Interval
    level: Level
    threshold: float
    win_rate: Interval | None = None

    @property
    def evidence(self) -> str:
        """Say in a sentence what was measured, how surely, and what the external signal says beside it."""
        found = self.interval
        sentence = self.symptom.says.format(value=found.value)
        if found.n > 1:
            sentence += f" ({found.low:.3g} to {found.high:.3g}, n {found.n})"
        if self.win_rate is not None and self.symptom.needs_external:
            sentence += f"; win rate against the reference {self.win_rate.value:.2f} (n {self.win_rate.n})"
        return sentence[0].upper() + sentence[1:] + "."


def symptoms_with(names: Sequence[str]) -> tuple[Symptom, ...]:
    """Return the table and further rows, of plug-ins or module:ROW. Raises SettingsError for what is no row."""
    return (*SYMPTOMS, *(resolve_row("alarm", name, Symptom) for name in names))


def read_symptoms(
    matched: Matched, *, thresholds: Thresholds, symptoms: Sequence[Symptom] = SYMPTOMS
) -> list[SymptomReading]:
    """Measure every symptom over all prompts and each slice; what cannot be measured is left out.

    thresholds: (warn, stop) by symptom, where they are not the table's.
    """
    slices = {name: rows for name, rows in slices_of(matched.prompts).items() if len(rows) >= MIN_PROMPTS or not name}
    readings: list[SymptomReading] = []
    for name, rows in slices.items():
        part = matched.of(rows)
        stop_confidence = 1 - STOP_RISK / (1 if not name else len(slices) - 1)
        for symptom in symptoms:
            if not name or symptom.has_slices:
                readings += _read(symptom, name, part, stop_confidence, thresholds.get(symptom.name))
    return readings


def external_win_rate(snapshot: CheckpointSnapshot) -> Interval | None:
    """Return the share of prompts where the external signal prefers a checkpoint's answers, ties half."""
    rate = rate_of(snapshot.external)
    return rate if rate.n else None


def weighed(level: Level, won: Interval | None, *, is_slice: bool) -> Level:
    """Weigh a symptom that is no fault by itself against the external signal's win rate.

    Over all prompts it stands, one level lower where the answers are surely preferred. In a slice, whose few answers
    may have become alike because they became right, it warns unless they are preferred, and stops only where they are
    surely not.
    """
    if level == "ok":
        return "ok"
    if is_slice:
        if level == "stop" and won is not None and won.high < 0.5:
            return "stop"
        return "ok" if won is not None and won.value > 0.5 else "warn"
    is_preferred = won is not None and won.low > 0.5
    return level if not is_preferred else "warn" if level == "stop" else "ok"


def _read(
    symptom: Symptom, name: str, part: Matched, stop_confidence: float, given: tuple[float, float] | None
) -> Iterator[SymptomReading]:
    meant = part if symptom.meant is every_prompt else part.where(symptom.meant)
    found = symptom.measure(meant, WARN_CONFIDENCE) if len(meant.prompts) else None
    if found is None or (name and found.n < MIN_PROMPTS):
        return
    warn, stop = given or (symptom.warn, symptom.stop)
    won = external_win_rate(meant.now)
    level: Level = "ok"
    # A figure without bounds is taken as it is.
    if found.value >= warn and not found.low <= 0:
        level = "warn"
    if found.value >= stop:
        sure = symptom.measure(meant, stop_confidence)
        level = "stop" if sure is not None and not sure.low <= 0 else level
    if symptom.needs_external:
        level = weighed(level, won, is_slice=bool(name))
    yield SymptomReading(symptom, name, found, level, stop if found.value >= stop else warn, won)
