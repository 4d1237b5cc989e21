"""What one row says, as every kind of record it can be, and the few ways to put that together.

`one_answer.py` and `several_answers.py` hold the functions that read particular formats.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from kleash.formats import fields
from kleash.formats.fields import Content
from kleash.formats.rows import RowProblem
from kleash.records import (
    Comparison,
    Completion,
    Demonstration,
    Judgement,
    LabelledCompletion,
    Pair,
    Preference,
    Prompt,
    Strength,
)


@dataclass(frozen=True)
class Reading:
    """What a row (of a tree: one point of it) says, as every kind of record it can be."""

    prompt: Prompt | None = None
    demonstration: Demonstration | None = None
    preference: Preference | None = None
    labelled: LabelledCompletion | None = None
    completions: tuple[Completion, ...] = ()
    comparison: Comparison | None = None
    judgements: tuple[Judgement, ...] = ()


def answered(prompt: Prompt, answer: str) -> list[Reading]:
    """A prompt with one answer worth imitating."""
    return [Reading(prompt, demonstration=Demonstration(prompt, answer), completions=(Completion(prompt, answer),))]


def judged(
    prompt: Prompt,
    answers: tuple[str, ...],
    pairs: tuple[Pair, ...],
    *,
    best: int | None,
    sources: tuple[str, ...] = (),
    num_judgements: int = 1,
    left_out: str = "",
    judgements: tuple[Judgement, ...] = (),
) -> Reading:
    """A prompt with several answers and what was made of their pairs; the best one may be imitated."""
    policies = sources or ("",) * len(answers)
    imitated = answers[best] if best is not None else ""
    return Reading(
        prompt=prompt,
        demonstration=Demonstration(prompt, imitated) if imitated.strip() else None,
        preference=Preference(prompt, answers, pairs, num_judgements, left_out, sources=sources),
        completions=tuple(
            Completion(prompt, text, policy_id=policy) for text, policy in zip(answers, policies, strict=True)
        ),
        comparison=Comparison(prompt, answers, sources),
        judgements=judgements,
    )


def chosen_over(
    prompt: Prompt, chosen: str, rejected: str, strength: Strength | None, *, imitated: str | None = None
) -> list[Reading]:
    """A pair with a clear winner; `imitated` is the demonstration where it is not the winner itself."""
    reading = judged(prompt, (chosen, rejected), (Pair(0, 1, 1.0, strength),), best=0)
    return [reading if imitated is None else replace(reading, demonstration=Demonstration(prompt, imitated))]


def pairs_from_ranks(ranks: Sequence[int], strength: Strength | None = None) -> tuple[Pair, ...]:
    """Return all pairs of a ranking (1 = best); equal ranks make a tie with label .5."""
    return tuple(
        Pair(first, second, 0.5 if ranks[first] == ranks[second] else float(ranks[first] < ranks[second]), strength)
        for first, second in itertools.combinations(range(len(ranks)), 2)
    )


def instruction(row: Content, slice_columns: Sequence[str], *, more: str) -> Prompt:
    """Return an instruction, with the text it is about after a blank line."""
    about = fields.text({more: "", **row}, more)
    whole = fields.text(row, "instruction") + (f"\n\n{about}" if about.strip() else "")
    return fields.with_dimensions(whole, row, slice_columns)


def completion_text(row: Content, name: str) -> str:
    """Return an answer given as text, or as a list of one assistant message."""
    if isinstance(fields.column(row, name), str | bool):
        return fields.text(row, name)
    turns = fields.messages_not_text(row[name], name)
    if len(turns) != 1 or turns[0].role != "assistant":
        roles = ", ".join(turn.role for turn in turns)
        raise RowProblem(f"{name!r} holds the turns {roles}, not one answer", "keep the assistant's turn only")
    return turns[0].content
