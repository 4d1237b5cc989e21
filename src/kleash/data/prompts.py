"""What prompts decide about a set of records: which side of a split they fall on, what repeats, what leaks.

Records here are prompts or anything with a `prompt`. Two prompts count as one if they differ only in case, white space
or Unicode form: such a difference must not put a question into training and evaluation at once.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from kleash.data.quotas import choose
from kleash.errors import DataError
from kleash.formats import to_json
from kleash.records import Comparison, Completion, Demonstration, LabelledCompletion, Preference, Prompt

Prompted = Prompt | Demonstration | Completion | Comparison | Preference | LabelledCompletion
PromptedT = TypeVar("PromptedT", bound=Prompted)


@dataclass(frozen=True)
class Deduplicated(Generic[PromptedT]):
    """The first of each, in order, and how many repeats went: to the letter, and but for case and white space."""

    records: list[PromptedT]
    num_exact: int
    num_normalised: int


def split_by_prompt(
    records: Sequence[PromptedT], *, holdout_share: float, seed: int
) -> tuple[list[PromptedT], list[PromptedT]]:
    """Part records into (training, held out); all records of a prompt fall on the same side.

    The side depends on the prompt's text and the seed alone, so adding rows moves none of the others. Documents without
    a prompt are parted one by one. holdout_share: expected share of the prompts, in [0, 1); above 0 and with two or
    more prompts, each side gets at least one.
    Raises DataError for a share outside [0, 1).
    """
    if not 0 <= holdout_share < 1:
        raise DataError(f"holdout_share is {holdout_share}. Expected at least 0 and less than 1. Set it to .05, say.")
    keys = [_split_key(record) for record in records]
    context = {key: _place(key, seed) for key in keys}
    heldout = {key for key in context if context[key] < holdout_share}
    if holdout_share > 0 and len(context) > 1:
        heldout = heldout or {min(context, key=lambda key: context[key])}
        if len(heldout) == len(context):
            heldout -= {max(context, key=lambda key: context[key])}
    training = [record for key, record in zip(keys, records, strict=True) if key not in heldout]
    return training, [record for key, record in zip(keys, records, strict=True) if key in heldout]


def drawn(prompts: Sequence[Prompt], number: int, *, seed: int) -> list[Prompt]:
    """Return so many of the prompts, drawn at random, in their order: a file's first ones may be of one kind.

    All of them where there are no more. Which are drawn depends on their text and the seed, not on their order.
    """
    chosen = choose([""] * len(prompts), [prompt.id for prompt in prompts], number, seed=seed)
    return [prompts[row] for row in chosen]


def deduplicate(records: Iterable[PromptedT]) -> Deduplicated[PromptedT]:
    """Keep the first of records that are equal but for case, white space, Unicode form, slices and tags."""
    kept: list[PromptedT] = []
    seen_exact: set[str] = set()
    seen_normalised: set[str] = set()
    num_exact = num_normalised = 0
    for record in records:
        content = {**to_json(record), "slices": None, "tags": None}
        exact = json.dumps(content, ensure_ascii=False)
        normalised = json.dumps(_normalised(content), ensure_ascii=False)
        if exact in seen_exact:
            num_exact += 1
        elif normalised in seen_normalised:
            num_normalised += 1
        else:
            kept.append(record)
        seen_exact.add(exact)
        seen_normalised.add(normalised)
    return Deduplicated(kept, num_exact, num_normalised)


def leaking_prompts(records: Iterable[Prompted], others: Iterable[Prompted]) -> list[Prompt]:
    """Return the prompts of `records` that occur in `others` too, each once, in order; empty prompts do not count."""
    known = {normalise(prompt_of(other).text) for other in others}
    leaking: dict[str, Prompt] = {}
    for record in records:
        prompt = prompt_of(record)
        key = normalise(prompt.text)
        if key and key in known:
            leaking.setdefault(key, prompt)
    return list(leaking.values())


def answers_of(demonstration: Demonstration) -> list[Demonstration]:
    """Return each of the assistant's turns as a demonstration, the conversation before it as its prompt."""
    prompt = demonstration.prompt
    turns = () if isinstance(prompt.content, str) else prompt.content
    earlier = [
        Demonstration(replace(prompt, content=turns[:number]), turn.content)
        for number, turn in enumerate(turns)
        if number and turn.role == "assistant"
    ]
    return [*earlier, demonstration]


def prompt_of(record: Prompted) -> Prompt:
    return record if isinstance(record, Prompt) else record.prompt


def normalise(text: str) -> str:
    """Reduce a text to what remains when case, runs of white space and Unicode variants do not count."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _normalised(content: Any) -> Any:
    """Normalise every text in a JSON value."""
    if isinstance(content, str):
        return normalise(content)
    if isinstance(content, list):
        return [_normalised(item) for item in content]
    if isinstance(content, dict):
        return {name: _normalised(item) for name, item in content.items()}
    return content


def _split_key(record: Prompted) -> str:
    return normalise(prompt_of(record).text) or json.dumps(to_json(record), ensure_ascii=False)


def _place(key: str, seed: int) -> float:
    """Return a number in [0, 1) that looks drawn at random, the same for a key and seed everywhere."""
    digest = hashlib.sha256(f"{seed}\n{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
