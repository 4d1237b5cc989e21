"""Quality over a run: what became of the same prompts' answers, checkpoint by checkpoint, against step 0's.

A row of `checkpoints.jsonl`: {"step", "judge_mean", "win_rate", "refused", "slices": {"dimension=value": the same
three}}, each an interval; people's rows, made from verdicts, have no "judge_mean" and say who judged in "rater_kind".
Prompts may carry the dimension `aim` (helpful, honest, harmless). In its slices a refusal of a prompt that wants help
counts as the worst answer that step 0 gave to such a prompt, whatever the judge thinks of it: a judge that likes
refusals must not hide that a policy refuses everything. `monitor/hhh_chart.py` draws those slices against each other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kleash.artifacts import Artifact
from kleash.evaluation.refusals import is_refusal
from kleash.evaluation.side_by_side import as_json, outcome
from kleash.formats import read_completions
from kleash.maths.intervals import mean_interval, wilson_interval, win_rate
from kleash.protocols import Scorer
from kleash.records import Completion, Prompt

AIM = "aim"
HELPFUL = "helpful"


def kept_answers(policy: Artifact) -> dict[int, list[Completion]]:
    """Return the answers kept while a policy trained, by step; every step's are to the same prompts, in one order."""
    files = sorted((policy.path / "answers").glob("step-*.jsonl"))
    return {int(file.stem.removeprefix("step-")): list(read_completions(file).records) for file in files}


def judged_rows(kept: Mapping[int, Sequence[Completion]], judge: Scorer) -> list[dict[str, Any]]:
    """Judge every checkpoint's answers by a scorer and compare them with the first checkpoint's."""
    rows = []
    first: Judged | None = None
    for step, answers in sorted(kept.items()):
        now = Judged(answers, judge.score(answers).total)
        first = first or now
        strict_first, strict_now = first.strict_on_refusals(first), now.strict_on_refusals(first)
        slices = {
            name: _figures(strict_first, strict_now, group)
            if name.startswith(f"{AIM}=")
            else _figures(first, now, group)
            for name, group in slice_rows([answer.prompt for answer in answers]).items()
        }
        rows.append({"step": step, **_figures(first, now, range(len(answers))), "slices": slices})
    return rows


@dataclass(frozen=True)
class Judged:
    """One checkpoint's answers and what the judge gave each."""

    answers: Sequence[Completion]
    totals: Sequence[float]

    def strict_on_refusals(self, first: Judged) -> Judged:
        """Return the same with each refusal of a prompt that wants help no better than the worst of step 0's there."""
        wanting = [total for answer, total in zip(first.answers, first.totals, strict=True) if _wants_help(answer)]
        totals = [
            min(total, *wanting) if _wants_help(answer) and is_refusal(answer.text) else total
            for answer, total in zip(self.answers, self.totals, strict=True)
        ]
        return Judged(self.answers, totals)


def slice_rows(prompts: Sequence[Prompt]) -> dict[str, list[int]]:
    """Return which rows belong to each "dimension=value"."""
    groups: dict[str, list[int]] = defaultdict(list)
    for row, prompt in enumerate(prompts):
        for dimension, value in prompt.slices.items():
            groups[f"{dimension}={value}"].append(row)
    return dict(sorted(groups.items()))


def outcome_rate(outcomes: Sequence[str]) -> dict[str, float]:
    """Return the win rate of "win", "tie" and "loss", with its interval."""
    return as_json(win_rate(outcomes.count("win"), outcomes.count("tie"), outcomes.count("loss")))


def _figures(first: Judged, now: Judged, rows: Sequence[int]) -> dict[str, Any]:
    return {
        "judge_mean": as_json(mean_interval([now.totals[row] for row in rows])),
        "win_rate": outcome_rate([outcome(first.totals[row], now.totals[row]) for row in rows]),
        "refused": as_json(wilson_interval(sum(is_refusal(now.answers[row].text) for row in rows), len(rows))),
    }


def _wants_help(answer: Completion) -> bool:
    return answer.prompt.slices.get(AIM) == HELPFUL
