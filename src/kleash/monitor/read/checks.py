"""Look for trouble in a run: each check says what it looked at, what it saw, and what to do about it.

A page without a warning still says which alarms were silent and which could not be heard. Pure: findings in, sentences
out, which checks.toml words. Thresholds are the watch's own where a symptom of `evaluation/symptoms.py` looks at the
same thing. No check stops anything, that is the watch's part.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from kleash.beside import table_beside
from kleash.estimates import Estimate
from kleash.evaluation.first_update import Remark, remarks_on
from kleash.evaluation.symptoms import SYMPTOMS
from kleash.maths.intervals import chance_below_zero
from kleash.monitor.read.external_quality import judge_label
from kleash.monitor.read.findings import Contrast, Findings
from kleash.monitor.read.measures import LAST_UPDATES, column, last
from kleash.monitor.read.verdict import mood_of
from kleash.web.wording import count, length_accuracy, listing, number, number_range, percent, points, points_range

# An adaptive leash is there to end within a quarter of its target.
KL_BAND = 0.25
# Further below zero than this and than chance goes with so few answers, mean KL cannot be: k1 is unbiased but noisy.
LOWEST_KL_NATS = -0.05
_WARNS_AT = {symptom.name: symptom.warn for symptom in SYMPTOMS}
LONGER_ANSWERS = 1 + _WARNS_AT["length"]
ENTROPY_LEFT = 1 - _WARNS_AT["lost_entropy"]
TRUNCATED = 0.1
# Two standard errors below the best checkpoint: a fall that noise alone would seldom show.
FALL_IN_STANDARD_ERRORS = 2.0
SLICES_NAMED = 3
_WORDS: dict[str, Any] = table_beside(__file__)


@dataclass(frozen=True)
class RunCheck:
    """One thing looked at. text: what was seen, with figures, or why it could not be looked at; remedy: what to do."""

    name: str
    status: Literal["fine", "warning", "not measured"]
    text: str
    remedy: str = ""


def checks(findings: Findings) -> tuple[RunCheck, ...]:
    """Look for trouble, the most telling sign first."""
    looks: list[Callable[[Findings], RunCheck | None]] = [
        check_outcome,
        check_first_update,
        check_independence,
        check_reward_against_external,
        check_win_rate_against_mean,
        check_slices,
        check_kl,
        check_reward_model,
        check_length,
        check_entropy,
        check_truncation,
    ]
    return tuple(check for look in looks if (check := look(findings)) is not None)


def check_outcome(findings: Findings) -> RunCheck | None:
    """Tell when the watch ended the training, or other weights than the last were kept."""
    kept = "" if findings.kept_step is None else f" The weights of update {findings.kept_step} were kept."
    if findings.outcome in ("stop", "roll_back"):
        return _said("outcome", "stopped", updates=count(findings.num_updates), kept=kept)
    return _said("outcome", "kept", kept=kept) if kept else None


def check_first_update(findings: Findings) -> RunCheck | None:
    """Warn of what was wrong from the start: a scale, a constant reward, answers all cut off, an end of the reward."""
    if findings.method != "policy" or not findings.updates:
        return None
    found = _at_first(findings)
    remarks, remedies = " ".join(f"{one.text}." for one in found), " ".join(one.remedy for one in found)
    return _said("first_update", "odd" if found else "fine", remarks=remarks, remedies=remedies)


def check_independence(findings: Findings) -> RunCheck | None:
    """Warn of a source of win rates that decided part of the training itself."""
    named = [f"{name}, which {trained}" for name, trained in findings.signals_trained.items()]
    return _said("independence", "trained", named=listing(named)) if named else None


def check_reward_against_external(findings: Findings) -> RunCheck | None:
    """Warn when the reward went on rising while an external measure fell: reward hacking's signature."""
    curve = findings.external
    if findings.method != "policy":
        return None
    if curve is None or len(curve.points) < 2:
        return _said("external", "unknown")
    best_step, best = max(curve.points, key=lambda point: point[1].value)
    last_step, end = curve.points[-1]
    rise, fall = _proxy_at(findings, last_step) - _proxy_at(findings, best_step), best.value - end.value
    errors = [error for error in (best.standard_error, end.standard_error) if error is not None]
    # Without intervals a fall counts only when it undoes all that was gained.
    bound = best.value - curve.points[0][1].value
    if len(errors) == 2:
        bound = FALL_IN_STANDARD_ERRORS * (errors[0] ** 2 + errors[1] ** 2) ** 0.5
    return _said(
        "external",
        "fell" if fall > bound and rise > 0 else "fine",
        label=judge_label(curve.name),
        best_step=best_step,
        last_step=last_step,
        rise=number(rise),
        best=number(best.value),
        end=number(end.value),
    )


def check_win_rate_against_mean(findings: Findings) -> RunCheck | None:
    """Warn when more answers won than lost and yet the mean fell, or the other way round."""
    rate, difference = findings.overall.win_rate, findings.overall.judge_difference
    if rate is None or difference is None or findings.judge == "proxy":
        return None
    case = "fine" if (rate.value - 0.5) * difference.value >= 0 else "apart"
    moved = number(difference.value, signed=True)
    return _said("mean", case, label=judge_label(findings.judge), rate=percent(rate.value), difference=moved)


def check_slices(findings: Findings) -> RunCheck | None:
    """Warn of slices that are worse than before beyond their interval, however good the average is."""
    if not findings.is_evaluated:
        return None
    measured = [contrast for contrast in findings.slices if contrast.change and contrast.change.high is not None]
    if not measured:
        return _said("slices", "unknown")
    fallen = [contrast for contrast in measured if fell(contrast)]
    if not fallen:
        return _said("slices", "fine", number=len(measured))
    parts = [_fall_text(contrast) for contrast in fallen[:SLICES_NAMED]]
    if len(fallen) > SLICES_NAMED:
        parts.append(f"{len(fallen) - SLICES_NAMED} more")
    rate = findings.overall.win_rate
    hidden = "; the average hides it" if rate is not None and mood_of(rate) == "better" else ""
    are, which = ("is", "this slice") if len(fallen) == 1 else ("are", "these slices")
    return _said("slices", "fell", fallen=listing(parts), are=are, which=which, hidden=hidden)


def check_kl(findings: Findings) -> RunCheck | None:
    """Warn when the policy strayed from its KL target, or when KL is negative, which it cannot be."""
    target = findings.kl_target_nats
    if findings.kl_nats is None:
        return _said("kl", "unknown", reference=findings.reference_name) if findings.method else None
    kl = findings.kl_nats.value
    num_answers = findings.kl_nats.n or sum(column(findings.updates, "answers")[1][-LAST_UPDATES:]) or math.inf
    if kl < LOWEST_KL_NATS - chance_below_zero(num_answers):
        return _said("kl", "negative", kl=number(kl))
    if target is None or findings.method != "policy":
        return _said("kl", "untied", kl=number(kl))
    if abs(kl - target) <= KL_BAND * target:
        case = "fine"
    elif kl > target:
        case = "above"
    elif not findings.is_trained:
        case = "under_way"
    else:
        case = "constant" if "constant" in [remark.name for remark in _at_first(findings)] else "below"
    held = f"{number(kl)} nats per answer against a target of {number(target)} ± {percent(KL_BAND)}"
    return _said("kl", case, held=held)


def check_reward_model(findings: Findings) -> RunCheck | None:
    """Warn when the reward model is no better than chance or than a ruler."""
    model = findings.reward_model
    if model is None:
        return None
    low, _ = model.accuracy.bounds
    num_pairs = "" if model.accuracy.n is None else f"{count(model.accuracy.n)} "
    rightly = f"{percent(model.accuracy.value)} of {num_pairs}unseen pairs ordered rightly"
    if low <= 0.5:
        return _said("reward_model", "chance", rightly=rightly)
    if model.longer_wins is None:
        return _said("reward_model", "better_than_chance", rightly=rightly)
    share, which = length_accuracy(model.longer_wins)
    case = "length" if low <= share else "fine"
    return _said("reward_model", case, rightly=rightly, share=percent(share), which=which)


def check_length(findings: Findings) -> RunCheck | None:
    """Warn of answers that became much longer: the commonest way to please without being better."""
    before, after = findings.overall.length_before, findings.overall.length_after
    if before is None or after is None or before <= 0:
        return None
    case = "longer" if after > LONGER_ANSWERS * before else "fine"
    return _said("length", case, before=number(before, 1), after=number(after, 1))


def check_entropy(findings: Findings) -> RunCheck | None:
    """Warn when the policy has lost most of its variety."""
    _, entropy = column(findings.updates, "entropy_nats")
    left = last(findings.updates, "entropy_nats")
    if left is None or len(entropy) < 2 or entropy[0] <= 0:
        return None
    return _said("entropy", "lost" if left < ENTROPY_LEFT * entropy[0] else "fine", left=percent(left / entropy[0]))


def check_truncation(findings: Findings) -> RunCheck | None:
    """Warn when many answers are cut off by the length limit."""
    share = last(findings.updates, "truncation_share")
    if share is None:
        return None
    return _said("truncation", "many" if share > TRUNCATED else "fine", share=percent(share, 1))


def _said(look: str, case: str, **figures: object) -> RunCheck:
    """Return what checks.toml says of a case, with its figures put in."""
    words = {**_WORDS[look], **_WORDS[look][case]}
    name, text, remedy = (str(words.get(part, "")).format(**figures) for part in ("name", "text", "remedy"))
    return RunCheck(name, words.get("status", "fine"), text, remedy)


def _at_first(findings: Findings) -> list[Remark]:
    first = {name: value for name, value in findings.updates[0].items() if isinstance(value, int | float)}
    return remarks_on(first, is_z_score=findings.is_z_score) if first.get("step") == 0 else []


def fell(contrast: Contrast) -> bool:
    """Say whether a slice is worse than before beyond its interval."""
    return contrast.change is not None and contrast.change.high is not None and contrast.change.high < 0


def _fall_text(contrast: Contrast) -> str:
    change = contrast.change or Estimate(0.0)
    if contrast.correct_difference is not None:
        moved = f"{points(change.value)} correct, {points_range(change.low, change.high)}"
    else:
        moved = f"{number(change.value, signed=True)}, {number_range(change.low, change.high)}"
    return f"{contrast.name} ({moved}, n = {count(contrast.n)})"


def _proxy_at(findings: Findings, step: int, *, reach: int = 2) -> float:
    """Return the reward after `step` updates: on the judged prompts themselves, else of the training batches nearby."""
    if findings.external is not None and step in findings.external.proxy:
        return findings.external.proxy[step]
    steps, values = column(findings.updates, "score_mean")
    near = [value for at, value in zip(steps, values, strict=True) if abs(at - step) <= reach]
    return fmean(near) if near else 0.0
