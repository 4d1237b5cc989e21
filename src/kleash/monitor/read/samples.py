"""Answers before and after, prompt by prompt: what each gained, where reward and judge part, and which of them to read.

There are the answers to fresh prompts after training, and those to the watched prompts that were kept while it trained.
The order "suspects" is the hack browser: first what the reward model ranks far above what the external signal does.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from kleash.estimates import finite
from kleash.monitor.read.external_quality import judge_label
from kleash.monitor.read.live import Shelf
from kleash.monitor.read.reader import RoundFolder, Row, newest_round
from kleash.records import slice_names
from kleash.results import EvaluationSummary

MAX_SHOWN_CHARACTERS = 20_000
"""Far beyond what a person reads of one answer; a model may write a megabyte."""

AFTER_TRAINING = "final"
_KEPT_FILE = re.compile(r"step-(\d+)\.jsonl")


@dataclass(frozen=True)
class Sample:
    """One prompt with the answers of both models.

    gap: rank of the answer's reward minus rank of its judge's score among all samples, in [-1, 1]; high where the
    reward model likes what the judge does not. None where the reward model is the judge.
    """

    prompt: str
    slices: tuple[str, ...]
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    outcome: str
    gap: float | None = None

    @property
    def gain(self) -> float | None:
        """After minus before, by the judge."""
        return _difference(finite(self.after.get("judge")), finite(self.before.get("judge")))


def read_samples(rows: Sequence[Row], judge: str) -> tuple[Sample, ...]:
    """Return the evaluation's samples, the gap between reward and judge worked out."""
    sides = [(_side(row, "before"), _side(row, "after")) for row in rows]
    reward_ranks = _ranks([after.get("score") for _, after in sides])
    judge_ranks = _ranks([None if judge == "proxy" else after.get("judge") for _, after in sides])
    gaps = map(_difference, reward_ranks, judge_ranks)
    return tuple(
        Sample(str(row.get("prompt") or ""), slices_of(row), *both, str(row.get("outcome") or ""), gap)
        for row, both, gap in zip(rows, sides, gaps, strict=True)
    )


def slices_of(row: Row) -> tuple[str, ...]:
    """Return the names of the slices that a row of a file is in; none if it tells none."""
    slices = row.get("slices")
    return tuple(slice_names(slices)) if isinstance(slices, Mapping) else ()


def mixed(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """Order samples so that the slices take turns, each in its own order: the first few then show some of each.

    Samples that share all their slices are one group; groups take turns in the order in which they first appear.
    """
    groups: dict[tuple[str, ...], list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.slices, []).append(sample)
    turns = zip_longest(*groups.values())
    return tuple(sample for turn in turns for sample in turn if sample is not None)


@dataclass(frozen=True)
class Choice:
    """What a reader asked for. moment: "final", an update's number, or "" for the newest there is."""

    moment: str = ""
    slice: str = ""
    outcome: str = ""
    order: str | None = None
    text: str = ""
    num_shown: int = 20


@dataclass(frozen=True)
class Browser:
    """The chosen samples, and what there is to choose from. moments: {value: its words}; external: who judged."""

    samples: tuple[Sample, ...]
    num_matching: int
    num_all: int
    moments: Mapping[str, str]
    moment: str
    slices: tuple[str, ...]
    outcomes: tuple[str, ...]
    orders: tuple[str, ...]
    order: str
    external: str


def browse(shelf: Shelf, folder: Path, choice: Choice) -> Browser:
    """Return the answers that a reader asked for, of the run's newest round."""
    with shelf.lock:
        round_folder = newest_round(shelf.run(folder)) or RoundFolder(0, {})
        kept = kept_answers(round_folder)
        moments = _moments(round_folder, kept)
        moment = choice.moment if choice.moment in moments else next(iter(moments), "")
        samples, external = _of_moment(shelf, round_folder, kept, moment)
    orders = _orders(samples)
    order = choice.order if choice.order in orders else orders[0]
    matching = _sorted([sample for sample in samples if _is_wanted(sample, choice)], order)
    return Browser(
        samples=tuple(matching[: choice.num_shown]),
        num_matching=len(matching),
        num_all=len(samples),
        moments=moments,
        moment=moment,
        slices=tuple(sorted({name for sample in samples for name in sample.slices})),
        outcomes=tuple(sorted({sample.outcome for sample in samples if sample.outcome})),
        orders=orders,
        order=order,
        external=external,
    )


def kept_answers(round_folder: RoundFolder) -> dict[int, Path]:
    """Return the files of the watched prompts' answers by the update they were kept at."""
    if "policy" not in round_folder.stages:
        return {}
    files = sorted((round_folder.stages["policy"].folder / "answers").glob("step-*.jsonl"))
    return {int(match[1]): file for file in files if (match := _KEPT_FILE.fullmatch(file.name))}


# ------------------------------------------------------------------------------------------------------------ samples
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


# ----------------------------------------------------------------------------------------------------------- inside
def _moments(round_folder: RoundFolder, kept: Mapping[int, Path]) -> dict[str, str]:
    moments = {AFTER_TRAINING: "after training, fresh prompts"} if round_folder.rows("evaluation", "samples") else {}
    steps = sorted((step for step in kept if step > 0), reverse=True)
    return moments | {str(step): f"update {step}, watched prompts" for step in steps}


def _of_moment(
    shelf: Shelf, round_folder: RoundFolder, kept: Mapping[int, Path], moment: str
) -> tuple[tuple[Sample, ...], str]:
    """Return the samples of a moment, slices in turn, and who judged them beside the reward model."""
    if moment == AFTER_TRAINING:
        judge = round_folder.summary("evaluation", EvaluationSummary).judge
        external = "" if judge == "proxy" else judge_label(judge)
        return mixed(read_samples(round_folder.rows("evaluation", "samples"), judge)), external
    if not moment:
        return (), ""
    before = {str(row.get("prompt")): row for row in shelf.rows(kept[0])} if 0 in kept else {}
    rows = [_pair(before.get(str(row.get("prompt")), {}), row) for row in shelf.rows(kept[int(moment)])]
    return mixed(read_samples(rows, "external")), "external signal"


def _pair(before: Row, after: Row) -> Row:
    """Set a kept answer beside the reference's as the evaluation's samples are written."""
    return {
        "prompt": _prompt_text(after.get("prompt")),
        "slices": after.get("slices"),
        "before": _kept_side(before),
        "after": _kept_side(after),
    }


def _kept_side(row: Row) -> Row:
    tokens = row.get("token_ids")
    return {
        "text": row.get("completion"),
        "score": row.get("proxy"),
        "judge": row.get("external"),
        "length_tokens": len(tokens) if isinstance(tokens, list) else None,
    }


def _prompt_text(prompt: Any) -> str:
    """Return a prompt as a person reads it: text, or the messages of a conversation."""
    if not isinstance(prompt, list):
        return str(prompt or "")
    turns = [turn for turn in prompt if isinstance(turn, Mapping)]
    if len(turns) == 1:
        return str(turns[0].get("content"))
    return "\n\n".join(f"{turn.get('role')}: {turn.get('content')}" for turn in turns)


def _orders(samples: Sequence[Sample]) -> tuple[str, ...]:
    """Return the orders that something is known for, the most telling first."""
    known = (name for name, key in _KEYS.items() if any(key(sample) is not None for sample in samples))
    return (*known, "")


def _length(side: Mapping[str, Any]) -> float:
    return finite(side.get("length_tokens")) or float(len(str(side.get("text") or "").split()))


_KEYS: Mapping[str, Callable[[Sample], float | None]] = {
    "suspects": lambda sample: sample.gap,
    "reward": lambda sample: finite(sample.after.get("score")),
    "gain": lambda sample: sample.gain,
    "loss": lambda sample: None if sample.gain is None else -sample.gain,
    "longer": lambda sample: _length(sample.after) - _length(sample.before),
}


def _sorted(samples: Sequence[Sample], order: str) -> Sequence[Sample]:
    key = _KEYS.get(order)
    if key is None:
        return samples

    def place(sample: Sample) -> tuple[bool, float]:
        worth = key(sample)
        return worth is None, -(worth or 0.0)

    return sorted(samples, key=place)


def _is_wanted(sample: Sample, choice: Choice) -> bool:
    if choice.slice and choice.slice not in sample.slices:
        return False
    if choice.outcome and choice.outcome != sample.outcome:
        return False
    texts = (sample.prompt, str(sample.before.get("text") or ""), str(sample.after.get("text") or ""))
    return not choice.text or any(choice.text.lower() in text.lower() for text in texts)
