"""Compare a policy's answers with its reference's, prompt by prompt: win rate, gains and their intervals, by slice.

Both policies answer the same prompts with the same sampling settings, so differences are paired. Every figure comes
with its count and an interval; ties count half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from kleash.evaluation.length_controlled import length_controlled_win_rate
from kleash.maths.intervals import mean_interval, win_rate
from kleash.protocols import Scores
from kleash.records import Prompt, group_by_slice

_SCORES = {"win": 1.0, "tie": 0.5, "loss": 0.0}


@dataclass(frozen=True)
class Answered:
    """One policy's answers to the evaluation prompts, with what was measured on each; lists are by prompt.

    proxy: the scorer that trained the policy.  judge: what decides who wins (never the proxy, if it can be helped).
    kl_nats: log pi - log pi_ref summed over the answer's tokens, sampled from the policy (k1).
    """

    texts: Sequence[str]
    num_tokens: Sequence[int]
    proxy: Scores | None
    judge: Scores
    kl_nats: Sequence[float]


def outcome(before: float, after: float) -> str:
    """Name who wins a prompt."""
    return "tie" if before == after else "win" if after > before else "loss"


def compare(prompts: Sequence[Prompt], before: Answered, after: Answered) -> dict[str, Any]:
    """Return the figures over all prompts and, under "slices", over each {dimension=value} group."""
    groups = group_by_slice(prompt.dimensions for prompt in prompts)
    return {
        **_group_figures(range(len(prompts)), before, after),
        "slices": {name: _group_figures(rows, before, after) for name, rows in groups.items()},
    }


def sample_rows(prompts: Sequence[Prompt], before: Answered, after: Answered) -> list[dict[str, Any]]:
    """Return one JSON-able row per prompt, for people to read and for the report."""
    return [
        {
            "prompt": prompt.text,
            "slices": dict(prompt.dimensions),
            "before": _answer(before, row),
            "after": _answer(after, row),
            "outcome": outcome(before.judge.total[row], after.judge.total[row]),
        }
        for row, prompt in enumerate(prompts)
    ]


def _group_figures(rows: Sequence[int], before: Answered, after: Answered) -> dict[str, Any]:
    outcomes = [outcome(before.judge.total[row], after.judge.total[row]) for row in rows]
    longer_by = [float(len(after.texts[row]) - len(before.texts[row])) for row in rows]
    figures: dict[str, Any] = {
        "n": len(rows),
        "win_rate": vars(win_rate(outcomes.count("win"), outcomes.count("tie"), outcomes.count("loss"))),
        "win_rate_length_controlled": vars(
            length_controlled_win_rate([_SCORES[result] for result in outcomes], longer_by)
        ),
        "judge_before": vars(mean_interval([before.judge.total[row] for row in rows])),
        "judge_after": vars(mean_interval([after.judge.total[row] for row in rows])),
        "judge_difference": vars(mean_interval([after.judge.total[row] - before.judge.total[row] for row in rows])),
        "length_before": fmean([before.num_tokens[row] for row in rows]),
        "length_after": fmean([after.num_tokens[row] for row in rows]),
        "kl_nats_per_sequence": vars(mean_interval([after.kl_nats[row] for row in rows])),
    }
    for name in ("is_correct", "is_refusal"):
        if name in before.judge.parts:
            first, second = ([answered.judge.parts[name][row] for row in rows] for answered in (before, after))
            short = name.removeprefix("is_")
            figures[f"{short}_before"] = fmean(first)
            figures[f"{short}_after"] = fmean(second)
            differences = [b - a for a, b in zip(first, second, strict=True)]
            figures[f"{short}_difference"] = vars(mean_interval(differences, bounds=(-1.0, 1.0)))
    for name, answered in (("proxy_before", before), ("proxy_after", after)):
        if answered.proxy is not None:
            figures[name] = vars(mean_interval([answered.proxy.total[row] for row in rows]))
    return figures


def _answer(answered: Answered, row: int) -> dict[str, Any]:
    parts: Mapping[str, Sequence[float]] = answered.judge.parts
    return {
        "text": answered.texts[row],
        "length_tokens": answered.num_tokens[row],
        "score": None if answered.proxy is None else answered.proxy.total[row],
        "judge": answered.judge.total[row],
        "judge_parts": {name: values[row] for name, values in parts.items()},
        "kl_nats": answered.kl_nats[row],
    }
