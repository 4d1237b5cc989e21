"""Look for trouble in a run: each check says what it looked at, what it saw, and what to do about it.

A page without a warning still says which alarms were silent and which could not be heard. Pure: findings in, sentences
out. Thresholds are the watch's own where a symptom of `evaluation/symptoms.py` looks at the same thing. No check stops
anything, that is the watch's part.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

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
        text = f"The watch ended training after {count(findings.num_updates)} updates.{kept}"
        return RunCheck("Stopped early", "warning", text, "See the KL and the external quality before that update.")
    if kept:
        return RunCheck("Best weights", "fine", f"The external score was best before the end.{kept}")
    return None


def check_first_update(findings: Findings) -> RunCheck | None:
    """Warn of what was wrong from the start: a scale, a constant reward, answers all cut off, an end of the reward."""
    if findings.method != "policy" or not findings.updates:
        return None
    found = _at_first(findings)
    if not found:
        return RunCheck("First update", "fine", "Its scores and answers were as a policy's are at its reference.")
    text, remedies = (" ".join(parts) for parts in ([f"{one.text}." for one in found], [one.remedy for one in found]))
    return RunCheck("First update", "warning", text, remedies)


def check_independence(findings: Findings) -> RunCheck | None:
    """Warn of a source of win rates that decided part of the training itself."""
    named = [f"{name}, which {trained}" for name, trained in findings.signals_trained.items()]
    if not named:
        return None
    text = f"Win rates by {listing(named)}, are unproven: they say how well it was obeyed, not that answers are better."
    return RunCheck("Independence", "warning", text, "Have somebody compare answers whom training did not ask.")


def check_reward_against_external(findings: Findings) -> RunCheck | None:
    """Warn when the reward went on rising while an external measure fell: reward hacking's signature."""
    name, curve = "Reward against external quality", findings.external
    if findings.method != "policy":
        return None
    if curve is None or len(curve.points) < 2:
        return RunCheck(name, "not measured", "Nothing but the reward itself was measured at two checkpoints or more.")
    best_step, best = max(curve.points, key=lambda point: point[1].value)
    last_step, end = curve.points[-1]
    rise, fall = _proxy_at(findings, last_step) - _proxy_at(findings, best_step), best.value - end.value
    errors = [error for error in (best.standard_error, end.standard_error) if error is not None]
    # Without intervals a fall counts only when it undoes all that was gained.
    bound = best.value - curve.points[0][1].value
    if len(errors) == 2:
        bound = FALL_IN_STANDARD_ERRORS * (errors[0] ** 2 + errors[1] ** 2) ** 0.5
    label = judge_label(curve.name)
    if fall > bound and rise > 0:
        text = (
            f"From update {best_step} to {last_step} the reward rose by {number(rise)} SD while {label} fell from "
            f"{number(best.value)} to {number(end.value)}: the policy is learning to please the reward model."
        )
        remedy = f"Use the weights of update {best_step}, lower the KL target, or collect fresh pairs and retrain."
        return RunCheck(name, "warning", text, remedy)
    return RunCheck(name, "fine", f"While the reward rose, {label} did not fall below its best beyond noise.")


def check_win_rate_against_mean(findings: Findings) -> RunCheck | None:
    """Warn when more answers won than lost and yet the mean fell, or the other way round."""
    rate, difference = findings.overall.win_rate, findings.overall.judge_difference
    if rate is None or difference is None or findings.judge == "proxy":
        return None
    name, label = f"Win rate against mean {judge_label(findings.judge)}", judge_label(findings.judge)
    if (rate.value - 0.5) * difference.value >= 0:
        return RunCheck(name, "fine", "Both point the same way.")
    text = (
        f"The win rate is {percent(rate.value)}, yet {label} moved by {number(difference.value, signed=True)} points "
        "on average: a few answers changed by much more than the others."
    )
    return RunCheck(name, "warning", text, "Sort the samples by loss and read the worst ones.")


def check_slices(findings: Findings) -> RunCheck | None:
    """Warn of slices that are worse than before beyond their interval, however good the average is."""
    if not findings.is_evaluated:
        return None
    measured = [contrast for contrast in findings.slices if contrast.change and contrast.change.high is not None]
    if not measured:
        return RunCheck("Slices", "not measured", "No slice has a difference with an interval.")
    fallen = [contrast for contrast in measured if fell(contrast)]
    if not fallen:
        return RunCheck("Slices", "fine", f"None of {len(measured)} slices fell beyond its 95 % interval.")
    parts = [_fall_text(contrast) for contrast in fallen[:SLICES_NAMED]]
    if len(fallen) > SLICES_NAMED:
        parts.append(f"{len(fallen) - SLICES_NAMED} more")
    rate = findings.overall.win_rate
    hidden = "; the average hides it" if rate is not None and mood_of(rate) == "better" else ""
    which = "this slice" if len(fallen) == 1 else "these slices"
    text = f"{listing(parts)} {'is' if len(fallen) == 1 else 'are'} worse than before{hidden}."
    remedy = f"Collect more pairs from {which}, or keep their demonstrations in training (the pretraining mix)."
    return RunCheck("Slices", "warning", text, remedy)


def check_kl(findings: Findings) -> RunCheck | None:
    """Warn when the policy strayed from its KL target, or when KL is negative, which it cannot be."""
    target = findings.kl_target_nats
    if findings.kl_nats is None:
        return (
            RunCheck("KL", "not measured", f"KL to the {findings.reference_name} was not recorded.")
            if findings.method
            else None
        )
    kl = findings.kl_nats.value
    num_answers = findings.kl_nats.n or sum(column(findings.updates, "answers")[1][-LAST_UPDATES:]) or math.inf
    if kl < LOWEST_KL_NATS - chance_below_zero(num_answers):
        text = f"Mean KL is {number(kl)} nats, and no KL is negative: the two models were not compared rightly."
        return RunCheck(
            "KL", "warning", text, "Check that policy and reference share tokenizer, template and precision."
        )
    if target is None or findings.method != "policy":
        return RunCheck("KL", "fine", f"{number(kl)} nats per answer; there was no target to hold it to.")
    text = f"{number(kl)} nats per answer against a target of {number(target)} ± {percent(KL_BAND)}"
    if abs(kl - target) <= KL_BAND * target:
        return RunCheck("KL", "fine", text + ".")
    if kl > target:
        remedy = "Raise beta or the leash's gain, or train more slowly."
        return RunCheck("KL", "warning", text + ": the leash did not hold.", remedy)
    if not findings.is_trained:
        return RunCheck("KL", "fine", text + "; training is not over.")
    if "constant" in [remark.name for remark in _at_first(findings)]:
        return RunCheck("KL", "fine", text + ": a constant reward moves no policy.")
    remedy = "Train for more updates, or lower the first beta."
    return RunCheck("KL", "warning", text + ": the policy did not use what it was allowed.", remedy)


def check_reward_model(findings: Findings) -> RunCheck | None:
    """Warn when the reward model is no better than chance or than a ruler."""
    model = findings.reward_model
    if model is None:
        return None
    low = model.accuracy.value if model.accuracy.low is None else model.accuracy.low
    num_pairs = "" if model.accuracy.n is None else f"{count(model.accuracy.n)} "
    text = f"{percent(model.accuracy.value)} of {num_pairs}unseen pairs ordered rightly"
    if low <= 0.5:
        remedy = "Collect more pairs, or look at how far the raters agree."
        return RunCheck("Reward model", "warning", text + ": not told from a coin toss.", remedy)
    if model.longer_wins is None:
        return RunCheck("Reward model", "fine", text + ", better than a coin toss.")
    share, which = length_accuracy(model.longer_wins)
    if low <= share:
        text += f", not clearly more than the {percent(share)} of always preferring the {which} answer."
        return RunCheck("Reward model", "warning", text, "Collect pairs of like length, or train it longer.")
    return RunCheck("Reward model", "fine", f"{text}, better than length alone ({percent(share)}).")


def check_length(findings: Findings) -> RunCheck | None:
    """Warn of answers that became much longer: the commonest way to please without being better."""
    before, after = findings.overall.length_before, findings.overall.length_after
    if before is None or after is None or before <= 0:
        return None
    text = f"Answers went from {number(before, 1)} to {number(after, 1)} tokens on average."
    if after > LONGER_ANSWERS * before:
        return RunCheck("Length", "warning", text, "Compare at equal length, and read the longest answers.")
    return RunCheck("Length", "fine", text)


def check_entropy(findings: Findings) -> RunCheck | None:
    """Warn when the policy has lost most of its variety."""
    _, entropy = column(findings.updates, "entropy_nats")
    left = last(findings.updates, "entropy_nats")
    if left is None or len(entropy) < 2 or entropy[0] <= 0:
        return None
    text = f"{percent(left / entropy[0])} of the first update's entropy is left"
    if left < ENTROPY_LEFT * entropy[0]:
        return RunCheck("Entropy", "warning", text + ": answers are becoming all alike.", "Stop earlier or raise beta.")
    return RunCheck("Entropy", "fine", text + ".")


def check_truncation(findings: Findings) -> RunCheck | None:
    """Warn when many answers are cut off by the length limit."""
    share = last(findings.updates, "truncation_share")
    if share is None:
        return None
    text = f"{percent(share, 1)} of the last updates' answers were cut off at the length limit."
    if share > TRUNCATED:
        remedy = "Raise policy.max_new_tokens, or penalise unfinished answers."
        return RunCheck("Truncation", "warning", text, remedy)
    return RunCheck("Truncation", "fine", text)


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
