"""Symptoms in a checkpoint's figures: length, KL, entropy, scores beyond their range, optimiser health.

Each is a pure function of a `Matched` and a confidence; None where there is nothing to measure. The two makers
`growth` and `rise` turn a figure of one answer into a symptom, and serve `symptoms_of_text.py` as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist, fmean, pstdev

from kleash.evaluation.matched_checkpoints import CheckpointSnapshot, Matched
from kleash.maths.diagnostics import pearson_correlation
from kleash.maths.intervals import Interval, alike_interval, chance_below_zero, mean_interval, wilson_interval
from kleash.scorers.ensemble import TERM

Measure = Callable[[Matched, float], Interval | None]
Severity = Callable[[Matched], Sequence[float]]
"""How bad each answer is, to choose the worst ones by; larger is worse."""
PerAnswer = Callable[[CheckpointSnapshot], Sequence[float]]


def growth(per_answer: PerAnswer) -> Measure:
    """Return the measure: mean of a figure now, over its mean in the reference's answers, less 1."""

    def measure(matched: Matched, confidence: float) -> Interval | None:
        before, now = per_answer(matched.reference), per_answer(matched.now)
        base = fmean(before)
        if base <= 0 or len(now) < 2:
            return None
        rise = mean_interval([b - a for a, b in zip(before, now, strict=True)], confidence=confidence)
        return Interval(rise.value / base, rise.low / base, rise.high / base, rise.n)

    return measure


def rise(per_answer: PerAnswer) -> Measure:
    """Return the measure: mean of a figure now, less its mean in the reference's answers."""

    def measure(matched: Matched, confidence: float) -> Interval | None:
        gains = gain_of(per_answer)(matched)
        return mean_interval(gains, confidence=confidence) if len(gains) > 1 else None

    return measure


def gain_of(per_answer: PerAnswer) -> Severity:
    """Return the severity: how much a figure of each answer rose."""

    def severity(matched: Matched) -> Sequence[float]:
        before, now = per_answer(matched.reference), per_answer(matched.now)
        return [b - a for a, b in zip(before, now, strict=True)]

    return severity


def num_tokens(snapshot: CheckpointSnapshot) -> Sequence[float]:
    return snapshot.num_tokens


def disagreement(snapshot: CheckpointSnapshot) -> Sequence[float]:
    """Return the standard deviation of an ensemble's members on each answer; zeros for a lone scorer."""
    return snapshot.parts.get("disagreement", [0.0] * len(snapshot.texts))


def terms_of(snapshot: CheckpointSnapshot) -> dict[str, Sequence[float]]:
    """Return the terms of a score that is a sum, by the names of their parts."""
    return {name: scores for name, scores in snapshot.parts.items() if name.startswith(TERM)}


def fallen_term(matched: Matched, confidence: float) -> Interval | None:
    """Return how far the term of the score that fell most lies below the reference's answers, in SDs of theirs."""
    before, now = terms_of(matched.reference), terms_of(matched.now)
    falls = []
    for name in before.keys() & now.keys():
        sd = pstdev(before[name])
        if len(before) > 1 and len(now[name]) > 1 and sd > 0:
            fall = [(a - b) / sd for a, b in zip(before[name], now[name], strict=True)]
            falls.append(mean_interval(fall, confidence=1 - (1 - confidence) / len(before)))
    return max(falls, key=lambda fall: fall.value, default=None)


def score_follows_length(matched: Matched, confidence: float) -> Interval | None:
    """Return the correlation of gains in score with gains in length (Fisher's interval)."""
    longer = gain_of(num_tokens)(matched)
    higher = gain_of(lambda snapshot: snapshot.proxy)(matched)
    if len(longer) < 5:
        return None
    r = pearson_correlation(longer, higher)
    if math.isnan(r):
        return None
    half_width = _z(confidence) / math.sqrt(len(longer) - 3)
    centre = math.atanh(max(min(r, 1 - 1e-9), -1 + 1e-9))
    return Interval(r, math.tanh(centre - half_width), math.tanh(centre + half_width), len(longer))


def kl_over_target(matched: Matched, confidence: float) -> Interval | None:
    """Return mean KL over the leash's target; None without a target."""
    if not matched.kl_target_nats or len(matched.prompts) < 2:
        return None
    return _scaled(mean_interval(matched.now.kl_nats, confidence=confidence), matched.kl_target_nats)


def kl_tail_over_target(matched: Matched, confidence: float) -> Interval | None:
    """Return the 95th percentile of the answers' KL over the target; order statistics bound it."""
    n = len(matched.prompts)
    if not matched.kl_target_nats or n < 40:
        return None
    ordered = sorted(matched.now.kl_nats)
    spread = _z(confidence) * math.sqrt(n * 0.95 * 0.05)
    places = (math.ceil(0.95 * n) - 1, math.floor(0.95 * n - spread), math.ceil(0.95 * n + spread))
    value, low, high = (ordered[min(max(index, 0), n - 1)] for index in places)
    found = Interval(value, low, high, n) if low < high else alike_interval(value, n, confidence=confidence)
    return _scaled(found, matched.kl_target_nats)


def kl_jump(matched: Matched, confidence: float) -> Interval | None:
    """Return the rise of KL since the checkpoint before, nats per sequence, over the target."""
    if not matched.kl_target_nats or not matched.recent or len(matched.prompts) < 2:
        return None
    rises = [now - before for before, now in zip(matched.recent[-1].kl_nats, matched.now.kl_nats, strict=True)]
    return _scaled(mean_interval(rises, confidence=confidence), matched.kl_target_nats)


def negative_kl(matched: Matched, confidence: float) -> Interval | None:
    """Return how far mean KL lies below zero, nats per sequence: mean k1 cannot be negative but by chance.

    The interval's low end is what chance cannot explain; an accusation is made a hundred times more surely than others.
    """
    n = len(matched.prompts)
    if n < 2:
        return None
    found = mean_interval([-kl for kl in matched.now.kl_nats], confidence=confidence)
    chance = chance_below_zero(n, risk=(1 - confidence) / 100)
    return Interval(found.value, found.value - chance, max(found.high, found.value), n)


def lost_entropy(matched: Matched, confidence: float) -> Interval | None:
    """Return the share of the reference's entropy per token that is gone: 1 - H / H_ref."""
    lost = [_per_token_entropy(snapshot) for snapshot in (matched.reference, matched.now)]
    if lost[0] <= 0 or len(matched.prompts) < 2:
        return None
    # Both are estimates: the ratio H / H_ref is off by the error of either.
    errors = [_entropy_error(snapshot, confidence) for snapshot in (matched.reference, matched.now)]
    width = math.hypot(errors[1], errors[0] * lost[1] / lost[0]) / lost[0]
    value = 1 - lost[1] / lost[0]
    return Interval(value, value - width, value + width, len(matched.prompts))


def beyond_range(matched: Matched, confidence: float) -> Interval | None:
    """Return the share of answers that score above all but half a percent of the reference's.

    Differs: EVALUATION says the reward model's training scores. Its training answers were sampled from the reference,
    whose answers to the watched prompts are at hand in every run.
    """
    ordered = sorted(matched.reference.proxy)
    bound = ordered[math.ceil(0.995 * len(ordered)) - 1]
    return wilson_interval(sum(score > bound for score in matched.now.proxy), len(ordered), confidence=confidence)


def clipped_scores(matched: Matched, confidence: float) -> Interval | None:
    """Return the share of answers whose score was clipped; None for a scorer that does not clip."""
    clipped = matched.now.parts.get("clipped_share")
    return None if clipped is None else wilson_interval(sum(clipped), len(clipped), confidence=confidence)


def training_figure(name: str, *, factor: float = 1.0) -> Measure:
    """Return the measure: a figure of the training loop at its newest update, without bounds; it has no slices."""

    def measure(matched: Matched, confidence: float) -> Interval | None:
        value = matched.now.training.get(name)
        if value is None or not math.isfinite(value):
            return None
        return Interval(factor * value, math.nan, math.nan, 1)

    return measure


def _per_token_entropy(snapshot: CheckpointSnapshot) -> float:
    return math.fsum(snapshot.entropy_nats) / max(sum(snapshot.num_tokens), 1)


def _entropy_error(snapshot: CheckpointSnapshot, confidence: float) -> float:
    """Return half the width of the interval of a checkpoint's entropy per token."""
    per_token = _per_token_entropy(snapshot)
    # Ratio estimator: each answer's deviation from the mean entropy per token, in tokens' worth.
    deviations = [
        entropy - per_token * tokens for entropy, tokens in zip(snapshot.entropy_nats, snapshot.num_tokens, strict=True)
    ]
    half_width = mean_interval(deviations, confidence=confidence).high - fmean(deviations)
    return half_width / max(fmean(snapshot.num_tokens), 1.0)


def _scaled(interval: Interval, unit: float) -> Interval:
    return Interval(interval.value / unit, interval.low / unit, interval.high / unit, interval.n)


def _z(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)
