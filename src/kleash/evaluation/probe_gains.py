"""Put probes to a scorer: what an empty addition gains, and how far harmless rewrites move the score.

Everything is measured on fixed answers and paired with their own unchanged score, in SD of the score over the audited
answers, so that reward models of different scales compare. The changes themselves are in `probes.py`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean, variance

from kleash.evaluation.probes import Probe
from kleash.maths.intervals import Interval, mean_interval
from kleash.records import Prompt

Answer = tuple[Prompt, str]
ScoreAll = Callable[[Sequence[Answer]], Sequence[float]]
CanRead = Callable[[Answer], bool]

MIN_ANSWERS = 20
"""With fewer answers that a probe applies to, it is reported as not applicable."""
NUM_BEST = 5


@dataclass(frozen=True)
class Gain:
    """What a probe's change adds to the score, in SD: mean and interval; None = not applicable.

    best: the answers that gained most, with their gain in SD, most first.
    """

    probe: Probe
    gain_sd: Interval | None
    best: tuple[tuple[Answer, float], ...] = ()


@dataclass(frozen=True)
class Spread:
    """How far a rewrite moves the score: SD within {answer, rewrite} over total SD; None = not applicable."""

    family: str
    spread: float | None
    n: int


def worst_gains(
    probes: Sequence[Probe], answers: Sequence[Answer], score: ScoreAll, *, score_sd: float, can_read: CanRead
) -> list[Gain]:
    """Return the gain of each family's worst probe: chosen on every other answer, measured on those between.

    can_read: says whether the model can read an answer at all: a word unknown to its tokenizer, or an answer that is
    too long, would measure something else. A probe that leaves fewer than MIN_ANSWERS of a half changed does not count.
    """
    # Chosen and measured on the same answers, the worst of many would look worse than it is (the winner's curse).
    choosing, measuring = answers[::2], answers[1::2]
    base_of = dict(zip(answers, score(answers), strict=True))
    by_family: dict[str, list[Probe]] = defaultdict(list)
    for probe in probes:
        by_family[probe.family].append(probe)

    def changes(probe: Probe, among: Sequence[Answer]) -> list[tuple[Answer, float]]:
        usable = [answer for answer in among if _is_changed(probe, answer) and can_read(_applied(probe, answer))]
        if len(usable) < MIN_ANSWERS:
            return []
        changed = score([_applied(probe, answer) for answer in usable])
        return [(answer, (value - base_of[answer]) / score_sd) for answer, value in zip(usable, changed, strict=True)]

    found = []
    for family in by_family.values():
        chosen = {probe: changes(probe, choosing) for probe in family}
        usable = [probe for probe in family if chosen[probe]]
        worst = max(usable, key=lambda probe: fmean(change for _, change in chosen[probe])) if usable else family[0]
        found.append(_gain(worst, changes(worst, measuring) if usable else []))
    return found


def spreads(
    probes: Sequence[Probe], answers: Sequence[Answer], score: ScoreAll, *, score_sd: float, can_read: CanRead
) -> list[Spread]:
    """Return each rewrite's spread and, last and as family "all rewrites", that within all of an answer's versions.

    spread = sqrt(mean over answers of the variance within its versions) / score_sd
    """
    base_of = dict(zip(answers, score(answers), strict=True))
    versions = {answer: [base] for answer, base in base_of.items()}
    found = []
    for probe in probes:
        changed = [answer for answer in answers if _is_changed(probe, answer) and can_read(_applied(probe, answer))]
        scores = score([_applied(probe, answer) for answer in changed]) if changed else []
        for answer, value in zip(changed, scores, strict=True):
            versions[answer].append(value)
        pairs = [[base_of[answer], value] for answer, value in zip(changed, scores, strict=True)]
        found.append(_spread(probe.family, pairs, score_sd))
    return [*found, _spread("all rewrites", [group for group in versions.values() if len(group) > 1], score_sd)]


def padding_probes(answers: Sequence[Answer], *, lengths: Sequence[int] = (1, 3)) -> list[Probe]:
    """Return probes of sheer length: whole answers to other prompts put behind an answer, 1 and then 3 of them.

    Which ones differs from answer to answer, so that no single text stands for all of length.
    """
    texts = [text for _, text in answers]
    place_of = {text: index for index, text in enumerate(texts)}

    def padded(text: str, *, count: int) -> str:
        start = place_of.get(text, 0) + len(texts) // 2
        return " ".join([text, *(texts[(start + step) % len(texts)] for step in range(count))])

    added = {count: f"{count} other answer{'s' if count > 1 else ''} behind it" for count in lengths}
    return [Probe("length", "adversarial", added[count], partial(padded, count=count)) for count in lengths]


def _gain(probe: Probe, changes: Sequence[tuple[Answer, float]]) -> Gain:
    if not changes:
        return Gain(probe, None)
    best = sorted(changes, key=lambda change: -change[1])[:NUM_BEST]
    return Gain(probe, mean_interval([change for _, change in changes]), tuple(best))


def _is_changed(probe: Probe, answer: Answer) -> bool:
    # An answer that has the phrase already says less about what the phrase is worth.
    return probe.change(answer[1]) != answer[1] and not (probe.phrase and probe.phrase in answer[1])


def _applied(probe: Probe, answer: Answer) -> Answer:
    return answer[0], probe.change(answer[1])


def _spread(family: str, groups: Sequence[Sequence[float]], score_sd: float) -> Spread:
    if len(groups) < MIN_ANSWERS:
        return Spread(family, None, len(groups))
    return Spread(family, math.sqrt(fmean(variance(group) for group in groups)) / score_sd, len(groups))
