"""Say in plain words whether a run worked and what looks wrong. Pure: findings in, sentences out.

A verdict is about the answers (better, worse, not told apart), with its evidence. Checks are about the run: each names
what it looked at, so that a page without a warning still says which alarms were silent and which could not be heard.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from kleash.monitor.findings import Estimate, Findings, SliceFinding, column, finite, last
from kleash.monitor.wording import count, listing, number, number_range, percent, percent_range, points

Mood = Literal["better", "worse", "unclear", "pending"]

# An adaptive leash is there to end within a quarter of its target; 1.5 and 3 times are the watch's own thresholds.
KL_BAND = 0.25
LONGER_ANSWERS = 1.25
ENTROPY_LEFT = 0.6
TRUNCATED = 0.1
SLICES_NAMED = 3
# Two standard errors below the best checkpoint: a fall that noise would show once in forty times.
FALL_IN_STANDARD_ERRORS = 2.0


@dataclass(frozen=True)
class Verdict:
    """One headline and the sentences that bear it out."""

    mood: Mood
    headline: str
    evidence: tuple[str, ...]


@dataclass(frozen=True)
class Check:
    """One thing looked at. text: what was seen, with figures, or why it could not be looked at; remedy: what to do."""

    name: str
    status: Literal["fine", "warning", "not measured"]
    text: str
    remedy: str = ""


def verdict_of(findings: Findings) -> Verdict:
    """Say whether the trained policy answers better than the SFT model, at what cost, and how that is known."""
    if findings.win_rate is None:
        return Verdict("pending", _pending_headline(findings), tuple(_reward_model_evidence(findings)))
    rate = findings.win_rate
    low, high = (rate.value if bound is None else bound for bound in (rate.low, rate.high))
    mood: Mood = "better" if low > 0.5 else "worse" if high < 0.5 else "unclear"
    if rate.low is None:
        mood = "unclear"
    wins = f"the policy wins {percent(rate.value)} of {_cases(rate)} against its SFT model"
    headline = {
        "better": f"Better: {wins}{_cost(findings)}.",
        "worse": f"Worse: {wins}{_cost(findings)}.",
        "unclear": f"Not told apart: {wins}{_cost(findings)}.",
    }[mood]
    evidence = [_interval_evidence(rate), *_gold_evidence(findings), *_reward_model_evidence(findings)]
    return Verdict(mood, headline, tuple(sentence for sentence in evidence if sentence))


def checks(findings: Findings) -> tuple[Check, ...]:
    """Look for trouble, the most telling sign first."""
    looks: list[Callable[[Findings], Check | None]] = [
        check_proxy_against_external,
        check_gold_against_win_rate,
        check_slices,
        check_kl,
        check_reward_model,
        check_length,
        check_entropy,
        check_truncation,
        check_events,
    ]
    return tuple(found for look in looks if (found := look(findings)) is not None)


# ---------------------------------------------------------------------------------------------------------- verdict
def _pending_headline(findings: Findings) -> str:
    if findings.method and findings.updates:
        return f"Not evaluated yet: {count(len(findings.updates))} updates of training are recorded so far."
    if findings.reward_model:
        accuracy = findings.reward_model.accuracy
        return f"No policy yet: the reward model orders {percent(accuracy.value)} of {_pairs(accuracy)} rightly."
    return "Nothing is measured yet: this page fills as the stages finish."


def _cost(findings: Findings) -> str:
    if findings.kl_nats is None:
        return ""
    return f", at a cost of {number(findings.kl_nats)} nats of KL per answer"


def _cases(rate: Estimate) -> str:
    return "blind comparisons" if rate.n is None else f"{count(rate.n)} blind comparisons"


def _pairs(rate: Estimate) -> str:
    return "unseen pairs" if rate.n is None else f"{count(rate.n)} unseen pairs"


def _interval_evidence(rate: Estimate) -> str:
    shared = "Both models answered the same unseen prompts with the same sampling settings; a tie is half a win."
    span = percent_range(rate.low, rate.high)
    if not span:
        return f"No interval was recorded for the win rate, so chance is not ruled out. {shared}"
    if rate.low is not None and rate.high is not None and rate.low <= 0.5 <= rate.high:
        return f"The 95 % interval, {span}, includes an even 50 %: more prompts are needed to tell. {shared}"
    return f"The 95 % interval is {span} and excludes an even 50 %. {shared}"


def _gold_evidence(findings: Findings) -> list[str]:
    before, after = findings.gold_before, findings.gold_after
    if before is None or after is None:
        return []
    verb = "rose" if after.value > before.value else "fell"
    return [
        f"Gold, the sandbox's true quality that training never read, {verb} from {number(before.value)} "
        f"to {number(after.value)} points."
    ]


def _reward_model_evidence(findings: Findings) -> list[str]:
    model = findings.reward_model
    if model is None:
        return []
    text = f"The reward model that taught it orders {percent(model.accuracy.value)} of {_pairs(model.accuracy)} rightly"
    if model.length_baseline is None:
        return [text + "."]
    return [f"{text}; preferring the longer or the shorter answer would give {percent(model.length_baseline.value)}."]


# ----------------------------------------------------------------------------------------------------------- checks
def check_proxy_against_external(findings: Findings) -> Check | None:
    """Warn when the reward went on rising while an external measure fell: reward hacking's signature."""
    name = "Reward against external quality"
    if findings.method != "policy":
        return None
    if findings.external is None or len(findings.external.points) < 2:
        return Check(name, "not measured", "No external measure was taken at two checkpoints or more.")
    steps, proxy = column(findings.updates, "score_mean")
    best_step, best = max(findings.external.points, key=lambda point: point[1].value)
    last_step, end = findings.external.points[-1]
    rise = _near(steps, proxy, last_step) - _near(steps, proxy, best_step) if steps else 0.0
    fall = best.value - end.value
    errors = [found.standard_error for found in (best, end)]
    # Without intervals a fall counts only when it undoes all that was gained.
    noise = sum(error**2 for error in errors if error is not None) ** 0.5
    bound = FALL_IN_STANDARD_ERRORS * noise if None not in errors else best.value - findings.external.points[0][1].value
    label = external_label(findings.external.name)
    if fall > bound and rise > 0:
        text = (
            f"From update {best_step} to {last_step} the reward rose by {number(rise)} SD while {label} fell from "
            f"{number(best.value)} to {number(end.value)}: the policy is learning to please the reward model."
        )
        return Check(
            name,
            "warning",
            text,
            f"Use the checkpoint of update {best_step}, lower the KL target, or collect fresh pairs and retrain.",
        )
    return Check(name, "fine", f"{_capital(label)} did not fall while the reward rose ({len(errors)} ends compared).")


def check_gold_against_win_rate(findings: Findings) -> Check | None:
    """Warn when the comparisons and the true quality disagree about the direction."""
    rate, before, after = findings.win_rate, findings.gold_before, findings.gold_after
    if rate is None or before is None or after is None:
        return None
    if (rate.value - 0.5) * (after.value - before.value) >= 0:
        return Check("Win rate against gold", "fine", "Win rate and mean gold point the same way.")
    return Check(
        "Win rate against gold",
        "warning",
        f"The win rate is {percent(rate.value)}, yet gold went from {number(before.value)} to {number(after.value)}: "
        "a few answers changed by much more than the others.",
        "Sort the samples by loss and read the worst ones.",
    )


def check_slices(findings: Findings) -> Check | None:
    """Warn of slices that are worse than before beyond their interval, however good the average is."""
    name = "Every slice"
    if not findings.is_evaluated:
        return None
    told = [found for found in findings.slices if change_interval(found) is not None]
    if not told:
        return Check(name, "not measured", "No slice has a difference with an interval.")
    fallen = [found for found in told if fell(found)]
    if not fallen:
        return Check(name, "fine", f"None of {len(told)} slices fell beyond its 95 % interval.")
    parts = [f"{found.name} ({_change_text(found)})" for found in fallen[:SLICES_NAMED]]
    if len(fallen) > SLICES_NAMED:
        parts.append(f"{len(fallen) - SLICES_NAMED} more")
    return Check(
        name,
        "warning",
        f"{listing(parts)} {'is' if len(fallen) == 1 else 'are'} worse than before; the average hides it.",
        "Collect more pairs from "
        + ("this slice" if len(fallen) == 1 else "these slices")
        + " or keep their demonstrations in training (pretraining mix).",
    )


def check_kl(findings: Findings) -> Check | None:
    """Warn when the policy strayed from its KL target, or when KL is negative, which it cannot be."""
    kl, target = findings.kl_nats, findings.kl_target_nats
    if kl is None:
        return Check("KL", "not measured", "KL to the SFT model was not recorded.") if findings.method else None
    if kl < -0.05:
        text = f"Mean KL is {number(kl)} nats, and no KL is negative: the two models were not compared rightly."
        return Check("KL", "warning", text, "Check that policy and reference share tokenizer, template and precision.")
    if target is None:
        return Check("KL", "fine", f"{number(kl)} nats per answer; there was no target to hold it to.")
    text = f"{number(kl)} nats per answer against a target of {number(target)} ± {percent(KL_BAND)}"
    if abs(kl - target) <= KL_BAND * target:
        return Check("KL", "fine", text + ".")
    if kl < target and not findings.is_trained:
        return Check("KL", "fine", text + "; training is not over.")
    if kl > target:
        remedy = "Raise beta or the leash's gain, or train more slowly."
        return Check("KL", "warning", text + ": the leash did not hold.", remedy)
    return Check(
        "KL",
        "warning",
        text + ": the policy did not use what it was allowed.",
        "Train for more updates, or lower the first beta.",
    )


def check_reward_model(findings: Findings) -> Check | None:
    """Warn when the reward model is no better than chance or than a ruler."""
    model = findings.reward_model
    if model is None:
        return None
    low = model.accuracy.value if model.accuracy.low is None else model.accuracy.low
    if low <= 0.5:
        text = f"{percent(model.accuracy.value)} of {_pairs(model.accuracy)}: not told from a coin toss."
        return Check("Reward model", "warning", text, "Collect more pairs, or look at how far the raters agree.")
    if model.length_baseline is not None and low <= model.length_baseline.value:
        text = (
            f"{percent(model.accuracy.value)} of {_pairs(model.accuracy)}, while length alone gives "
            f"{percent(model.length_baseline.value)}: it may have learned little but length."
        )
        return Check("Reward model", "warning", text, "Collect pairs of like length, or train it longer.")
    return Check("Reward model", "fine", f"{percent(model.accuracy.value)} on unseen pairs, better than length alone.")


def check_length(findings: Findings) -> Check | None:
    """Warn of answers that became much longer: the commonest way to please without being better."""
    before, after = mean_tokens(findings, "before"), mean_tokens(findings, "after")
    if before is None or after is None or before <= 0:
        return None
    text = f"Answers went from {number(before, 1)} to {number(after, 1)} tokens on average"
    if after > LONGER_ANSWERS * before:
        return Check("Length", "warning", text + ".", "Compare at equal length, and read the longest answers.")
    return Check("Length", "fine", text + ".")


def check_entropy(findings: Findings) -> Check | None:
    """Warn when the policy has lost most of its variety."""
    _, entropy = column(findings.updates, "entropy_nats")
    if len(entropy) < 2 or entropy[0] <= 0:
        return None
    left = fmean(entropy[-5:]) / entropy[0]
    text = f"{percent(left)} of the first update's entropy is left"
    if left < ENTROPY_LEFT:
        return Check("Entropy", "warning", text + ": answers are becoming all alike.", "Stop earlier or raise beta.")
    return Check("Entropy", "fine", text + ".")


def check_truncation(findings: Findings) -> Check | None:
    """Warn when many answers are cut off by the length limit."""
    share = last(findings.updates, "truncation_share")
    if share is None:
        return None
    text = f"{percent(share, 1)} of the last updates' answers were cut off at the length limit"
    if share > TRUNCATED:
        remedy = "Raise policy.max_new_tokens, or penalise unfinished answers."
        return Check("Truncation", "warning", text + ".", remedy)
    return Check("Truncation", "fine", text + ".")


def check_events(findings: Findings) -> Check | None:
    """Repeat what the watch did while training."""
    told = [
        f"update {row.get('step', '?')}: {str(row['action']).replace('_', ' ')}{_reasons(row.get('reasons'))}"
        for row in findings.events
        if row.get("action") not in (None, "continue")
    ]
    if not told:
        return None
    return Check("The watch stepped in", "warning", "; ".join(told[:5]) + (" …" if len(told) > 5 else ""))


def fell(found: SliceFinding) -> bool:
    """Say whether a slice is worse than before beyond its interval."""
    interval = change_interval(found)
    return interval is not None and interval[1] < 0


def change_interval(found: SliceFinding) -> tuple[float, float] | None:
    """Return the interval of a slice's change: of its share correct, or of its win rate less an even half."""
    change = found.correct_difference
    if change is not None and change.low is not None and change.high is not None:
        return change.low, change.high
    rate = found.win_rate
    if change is None and rate is not None and rate.low is not None and rate.high is not None:
        return rate.low - 0.5, rate.high - 0.5
    return None


def mean_tokens(findings: Findings, side: Literal["before", "after"]) -> float | None:
    """Return the mean length of the evaluated answers, in tokens."""
    lengths = [finite(getattr(sample, side).get("length_tokens")) for sample in findings.samples]
    known = [length for length in lengths if length is not None]
    return fmean(known) if known else None


def external_label(name: str) -> str:
    """Return what an external metric is called in a sentence."""
    return {"gold_mean": "gold", "win_rate": "the win rate"}.get(name, name.replace("_", " "))


def _change_text(found: SliceFinding) -> str:
    change = found.correct_difference
    if change is not None:
        low, high = change_interval(found) or (None, None)
        span = number_range(None if low is None else 100 * low, None if high is None else 100 * high, 0)
        return f"{points(change.value)} correct, interval {span}, n = {count(found.n)}"
    rate = found.win_rate
    return f"win rate {percent(rate.value)}, n = {count(rate.n)}" if rate else ""


def _near(steps: list[int], values: list[float], step: int, *, reach: int = 2) -> float:
    """Return a noisy metric's mean over the few updates around a step, or over the nearest one."""
    near = [value for at, value in zip(steps, values, strict=True) if abs(at - step) <= reach]
    return fmean(near) if near else min(zip(steps, values, strict=True), key=lambda pair: abs(pair[0] - step))[1]


def _reasons(reasons: object) -> str:
    return f" ({', '.join(str(reason) for reason in reasons)})" if isinstance(reasons, list) and reasons else ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
