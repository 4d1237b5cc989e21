"""Turn a run as read from disk into the figures that people ask for, typed and with their n and interval.

A figure may be recorded in an artifact's summary, in the run's summary or only in the rows of the training metrics;
here, and only here, is decided which one counts. None means that it was not measured. Read `verdict.py` next.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from kleash.monitor.reader import Round, Row, Run

# One update's KL and length are noisy; what they came to is read off the last few.
LAST_UPDATES = 5


@dataclass(frozen=True)
class Estimate:
    """A measured figure with its 95 % interval and the number of cases behind it, as far as they were recorded."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None

    @property
    def standard_error(self) -> float | None:
        return None if self.low is None or self.high is None else (self.high - self.low) / (2 * 1.96)


@dataclass(frozen=True)
class SliceFinding:
    """One slice of the prompts, the SFT model (before) against the trained policy (after). correct_*: shares."""

    name: str
    n: int | None = None
    correct_before: float | None = None
    correct_after: float | None = None
    correct_difference: Estimate | None = None
    gold_before: float | None = None
    gold_after: float | None = None
    kl_nats_per_sequence: float | None = None
    tokens_before: float | None = None
    tokens_after: float | None = None
    win_rate: Estimate | None = None


@dataclass(frozen=True)
class ExternalCurve:
    """A measure that did not train the reward model, at the updates where it was taken. name: its metric's name."""

    name: str
    points: tuple[tuple[int, Estimate], ...]


@dataclass(frozen=True)
class RewardModelFindings:
    """How well the reward model orders pairs it has not seen, and how well length alone would."""

    accuracy: Estimate
    length_baseline: Estimate | None = None
    slices: Mapping[str, Estimate] = field(default_factory=dict)
    margins: tuple[tuple[float, bool], ...] = ()


@dataclass(frozen=True)
class Sample:
    """One prompt with the answers of both models. gain: after minus before, in gold or else in score.

    gap: rank of the answer's score minus rank of its gold among all samples, in [-1, 1]; high where the reward model
    likes what gold does not.
    """

    prompt: str
    slices: tuple[str, ...]
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    outcome: str
    gain: float | None
    gap: float | None = None


@dataclass(frozen=True)
class Findings:
    """All figures of one round. method: "policy" (online), "direct" (DPO and its kin) or "" if neither was trained."""

    round_number: int
    method: str
    is_trained: bool
    is_evaluated: bool
    win_rate: Estimate | None
    length_controlled_win_rate: Estimate | None
    gold_before: Estimate | None
    gold_after: Estimate | None
    kl_nats: float | None
    kl_target_nats: float | None
    beta_final: float | None
    reward_model: RewardModelFindings | None
    num_pairs: int | None
    agreement: Estimate | None
    slices: tuple[SliceFinding, ...]
    updates: tuple[Row, ...]
    external: ExternalCurve | None
    events: tuple[Row, ...]
    samples: tuple[Sample, ...]


def newest_round(run: Run) -> Round | None:
    """Return the newest round that trained something, or simply the newest one."""
    trained = tuple(found for found in run.rounds if {"policy", "direct"} & set(found.stages))
    return (trained or run.rounds)[-1] if run.rounds else None


def findings_of(run: Run, found: Round | None = None) -> Findings:
    """Gather the figures of one round of a run, the newest that trained something unless another is given."""
    found = found or newest_round(run) or Round(0, {})
    # The run's summary speaks of its last round only.
    summary = run.summary if not run.rounds or found is newest_round(run) else {}
    evaluation = found.summary("evaluation")
    method = next((stage for stage in ("policy", "direct") if stage in found.stages), "")
    updates = found.rows(method, "metrics") if method else ()
    return Findings(
        round_number=found.number,
        method=method,
        is_trained=bool(method) and found.stages[method].is_complete,
        is_evaluated=bool(evaluation) or "win_rate" in summary,
        win_rate=estimate(evaluation.get("win_rate", summary.get("win_rate"))),
        length_controlled_win_rate=estimate(evaluation.get("length_controlled_win_rate")),
        gold_before=estimate(_deep(evaluation, "gold", "sft") or _deep(summary, "sft", "gold_mean")),
        gold_after=estimate(_deep(evaluation, "gold", "policy") or _deep(summary, "policy", "gold_mean")),
        kl_nats=_first(
            evaluation.get("kl_nats_per_sequence"), summary.get("kl_nats_per_sequence"), last(updates, KL_METRIC)
        ),
        kl_target_nats=_first(last(updates, "kl_target_nats"), summary.get("kl_target_nats")),
        beta_final=_first(last(updates, "beta", num_rows=1), summary.get("beta_final")),
        reward_model=_reward_model(found, summary),
        num_pairs=_whole(_first(_deep(found.summary("preferences"), "pairs"), _deep(summary, "preferences", "pairs"))),
        agreement=estimate(_deep(found.summary("preferences"), "agreement"))
        or estimate(_deep(summary, "preferences", "agreement")),
        slices=worst_first(_slices(evaluation.get("slices") or summary.get("slices") or {})),
        updates=updates,
        external=_external(found),
        events=found.rows("policy", "events"),
        samples=_samples(found.rows("evaluation", "samples")),
    )


KL_METRIC = "kl_nats_per_sequence"


def estimate(value: Any) -> Estimate | None:
    """Read {"value" or "mean", "low", "high", "n"} or a bare number; None if there is no finite number in it."""
    if not isinstance(value, Mapping):
        value = {"value": value}
    middle = finite(value.get("value", value.get("mean")))
    if middle is None:
        return None
    return Estimate(middle, finite(value.get("low")), finite(value.get("high")), _whole(finite(value.get("n"))))


def finite(value: Any) -> float | None:
    """Return a finite number as such and anything else (null, NaN, text, true) as None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def column(rows: Iterable[Row], name: str) -> tuple[list[int], list[float]]:
    """Return the steps and values of one metric, of those rows that have it."""
    pairs = [(finite(row.get("step")), finite(row.get(name))) for row in rows]
    known = [(int(step), value) for step, value in pairs if step is not None and value is not None]
    return [step for step, _ in known], [value for _, value in known]


def steps_of(findings: Findings) -> list[int]:
    """Return the updates that were trained or evaluated, in order."""
    steps, _ = column(findings.updates, "step")
    evaluated = [step for step, _ in findings.external.points] if findings.external else []
    return sorted({*steps, *evaluated})


def slice_names(updates: Iterable[Row]) -> list[str]:
    """Return the slices whose reward was recorded while training."""
    start, end = "slice/", "/score_mean"
    metrics = {name for row in updates for name in row if name.startswith(start) and name.endswith(end)}
    return sorted(name.removeprefix(start).removesuffix(end) for name in metrics)


def last(rows: Iterable[Row], name: str, *, num_rows: int = LAST_UPDATES) -> float | None:
    """Return a metric's mean over its last rows."""
    _, values = column(rows, name)
    return fmean(values[-num_rows:]) if values else None


def worst_first(slices: Iterable[SliceFinding]) -> tuple[SliceFinding, ...]:
    """Order slices by how they changed, the worst change first, those that cannot be told last.

    One measure orders all: the share correct if any slice has it, else gold, else the win rate.
    """
    slices = tuple(slices)
    for change in (_correct_change, _gold_change, _win_change):
        if any(change(found) is not None for found in slices):
            return tuple(sorted(slices, key=lambda found: _none_last(change(found))))
    return slices


# ----------------------------------------------------------------------------------------------------------- inside
def _correct_change(found: SliceFinding) -> float | None:
    return found.correct_difference.value if found.correct_difference else None


def _gold_change(found: SliceFinding) -> float | None:
    if found.gold_before is None or found.gold_after is None:
        return None
    return found.gold_after - found.gold_before


def _win_change(found: SliceFinding) -> float | None:
    return found.win_rate.value if found.win_rate else None


def _none_last(value: float | None) -> tuple[bool, float]:
    return (value is None, value or 0.0)


def _slices(content: Mapping[str, Any]) -> list[SliceFinding]:
    return [_slice(name, figures) for name, figures in content.items() if isinstance(figures, Mapping)]


def _slice(name: str, figures: Mapping[str, Any]) -> SliceFinding:
    before, after = finite(figures.get("correct_sft")), finite(figures.get("correct_policy"))
    difference = estimate(figures.get("correct_difference"))
    if difference is None and before is not None and after is not None:
        difference = Estimate(after - before)
    return SliceFinding(
        name=name,
        n=_whole(finite(figures.get("n"))),
        correct_before=before,
        correct_after=after,
        correct_difference=difference,
        gold_before=finite(figures.get("gold_sft")),
        gold_after=finite(figures.get("gold_policy")),
        kl_nats_per_sequence=finite(figures.get(KL_METRIC)),
        tokens_before=finite(figures.get("length_sft")),
        tokens_after=finite(figures.get("length_policy")),
        win_rate=estimate(figures.get("win_rate")),
    )


def _reward_model(found: Round, summary: Mapping[str, Any]) -> RewardModelFindings | None:
    own = found.summary("reward")
    accuracy = estimate(own.get("heldout_accuracy"))
    if accuracy is None:
        accuracy = estimate(
            {
                "value": _deep(summary, "reward_model", "heldout_accuracy"),
                "n": _deep(summary, "reward_model", "n"),
            }
        )
    margins = tuple(
        (margin, bool(row["correct"]))
        for row in found.rows("reward", "heldout")
        if (margin := finite(row.get("margin"))) is not None and row.get("correct") is not None
    )
    if accuracy is None and margins:
        accuracy = Estimate(fmean(is_correct for _, is_correct in margins), n=len(margins))
    if accuracy is None:
        return None
    slices = own.get("slices")
    by_slice = {name: estimate(value) for name, value in (slices if isinstance(slices, Mapping) else {}).items()}
    return RewardModelFindings(
        accuracy=accuracy,
        length_baseline=estimate(own.get("length_baseline_accuracy")),
        slices={name: value for name, value in by_slice.items() if value is not None},
        margins=margins,
    )


def _external(found: Round) -> ExternalCurve | None:
    """Return gold if it was measured at checkpoints, else the win rate, else whatever external metric there is."""
    evaluations, updates = found.rows("policy", "checkpoint_evaluation"), found.rows("policy", "metrics")
    others = sorted({name for row in updates for name in row if name.startswith("external/")})
    for name in dict.fromkeys(["gold_mean", "win_rate", *(name.removeprefix("external/") for name in others)]):
        for rows, key in ((evaluations, name), (updates, f"external/{name}")):
            points = tuple(
                (int(step), value)
                for row in rows
                if (step := finite(row.get("step"))) is not None and (value := estimate(row.get(key))) is not None
            )
            if points:
                return ExternalCurve(name, points)
    return None


def _samples(rows: Sequence[Row]) -> tuple[Sample, ...]:
    score_ranks = _ranks([_side(row, "after").get("score") for row in rows])
    gold_ranks = _ranks([_side(row, "after").get("gold") for row in rows])
    return tuple(
        _sample(row, None if score is None or gold is None else score - gold)
        for row, score, gold in zip(rows, score_ranks, gold_ranks, strict=True)
    )


def _sample(row: Row, gap: float | None) -> Sample:
    before, after = _side(row, "before"), _side(row, "after")
    gain = _difference(after, before, "gold")
    if gain is None:
        gain = _difference(after, before, "score")
    slices = row.get("slices")
    return Sample(
        prompt=_prompt_text(row.get("prompt")),
        slices=tuple(f"{name}={value}" for name, value in (slices if isinstance(slices, Mapping) else {}).items()),
        before=before,
        after=after,
        outcome=str(row.get("outcome") or ""),
        gain=gain,
        gap=gap,
    )


def _prompt_text(content: Any) -> str:
    if isinstance(content, list):
        turns = [turn for turn in content if isinstance(turn, Mapping)]
        return "\n\n".join(f"{turn.get('role', '')}: {turn.get('content', '')}" for turn in turns)
    return "" if content is None else str(content)


def _side(row: Row, side: str) -> Mapping[str, Any]:
    content = row.get(side)
    return content if isinstance(content, Mapping) else {}


def _difference(after: Mapping[str, Any], before: Mapping[str, Any], name: str) -> float | None:
    new, old = finite(after.get(name)), finite(before.get(name))
    return None if new is None or old is None else new - old


def _ranks(values: Sequence[Any]) -> list[float | None]:
    """Return each value's mid-rank as a share of all values that are numbers."""
    known = sorted(value for value in map(finite, values) if value is not None)

    def rank(value: float | None) -> float | None:
        if value is None:
            return None
        return (bisect_left(known, value) + bisect_right(known, value)) / (2 * len(known))

    return [rank(finite(value)) for value in values]


def _deep(content: Any, *names: str) -> Any:
    for name in names:
        content = content.get(name) if isinstance(content, Mapping) else None
    return content


def _first(*values: Any) -> float | None:
    return next((number for number in map(finite, values) if number is not None), None)


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
