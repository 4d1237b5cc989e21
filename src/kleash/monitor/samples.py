"""Before and after, prompt by prompt: what each answer gained, and where reward and judge part."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from kleash.monitor.measures import finite
from kleash.monitor.reader import Row
from kleash.records import slice_names


@dataclass(frozen=True)
class Sample:
    """One prompt with the answers of both models. gain: after minus before, by the judge.

    gap: rank of the answer's reward minus rank of its judge's score among all samples, in [-1, 1]; high where the
    reward model likes what the judge does not. None where the reward model is the judge.
    """

    prompt: str
    slices: tuple[str, ...]
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    outcome: str
    gain: float | None
    gap: float | None = None


def read_samples(rows: Sequence[Row], judge: str) -> tuple[Sample, ...]:
    """Return the evaluation's samples with the judge's gain, and the gap between reward and judge, worked out."""
    reward_ranks = _ranks([_side(row, "after").get("score") for row in rows])
    judge_ranks = _ranks([_side(row, "after").get("judge") for row in rows])
    return tuple(
        _sample(row, reward_rank, None if judge == "proxy" else judge_rank)
        for row, reward_rank, judge_rank in zip(rows, reward_ranks, judge_ranks, strict=True)
    )


def mixed(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """Order samples so that the slices take turns, each in its own order: the first few then show some of each.

    Samples that share all their slices are one group; groups take turns in the order in which they first appear.
    """
    groups: dict[tuple[str, ...], list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.slices, []).append(sample)
    turns = zip_longest(*groups.values())
    return tuple(sample for turn in turns for sample in turn if sample is not None)


def _sample(row: Row, reward_rank: float | None, judge_rank: float | None) -> Sample:
    before, after, slices = _side(row, "before"), _side(row, "after"), row.get("slices")
    return Sample(
        prompt=str(row.get("prompt") or ""),
        slices=tuple(slice_names(slices)) if isinstance(slices, Mapping) else (),
        before=before,
        after=after,
        outcome=str(row.get("outcome") or ""),
        gain=_difference(finite(after.get("judge")), finite(before.get("judge"))),
        gap=_difference(reward_rank, judge_rank),
    )


def _difference(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _side(row: Row, side: str) -> Mapping[str, Any]:
    content = row.get(side)
    return content if isinstance(content, Mapping) else {}


def _ranks(values: Sequence[Any]) -> list[float | None]:
    """Return each value's mid-rank as a share of all values that are numbers."""
    known = sorted(value for value in map(finite, values) if value is not None)

    def rank(value: float | None) -> float | None:
        if value is None:
            return None
        return (bisect_left(known, value) + bisect_right(known, value)) / (2 * len(known))

    return [rank(finite(value)) for value in values]
