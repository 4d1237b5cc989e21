"""What one row says, as every kind of record it can be: one function per format of `shapes.py`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from kleash.formats import canonical, conversations, fields
from kleash.formats.fields import Content
from kleash.formats.rows import RowProblem
from kleash.records import (
    Comparison,
    Completion,
    Demonstration,
    Judgement,
    LabelledCompletion,
    Message,
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


Reader = Callable[[Content, Sequence[str]], list[Reading]]


def answered(prompt: Prompt, answer: str, row: Content, name: str) -> list[Reading]:
    """A prompt with one answer: worth imitating unless the row has a thumb, which makes it a labelled one.

    name: the answer's column. Raises RowProblem for an empty answer without a thumb.
    """
    thumb = fields.thumb_of(row)
    answer = fields.not_blank(answer, name) if thumb is None else answer
    return [
        Reading(
            prompt,
            demonstration=Demonstration(prompt, answer) if thumb is not False and answer.strip() else None,
            labelled=None if thumb is None else LabelledCompletion(prompt, answer, thumb),
            completions=(Completion(prompt, answer),),
        )
    ]


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


def chosen_over(prompt: Prompt, chosen: str, rejected: str, strength: Strength | None) -> list[Reading]:
    """A pair with a clear winner."""
    return [judged(prompt, (chosen, rejected), (Pair(0, 1, 1.0, strength),), best=0)]


def pairs_from_ranks(ranks: Sequence[int], strength: Strength | None = None) -> tuple[Pair, ...]:
    """Return all pairs of a ranking (1 = best); equal ranks make a tie with label .5."""
    return tuple(
        Pair(first, second, 0.5 if ranks[first] == ranks[second] else float(ranks[first] < ranks[second]), strength)
        for first, second in itertools.combinations(range(len(ranks)), 2)
    )


ABOUT = ("input", "context")
"""Columns with the text that an instruction is about."""


def completion_text(row: Content, name: str) -> str:
    """Return an answer given as text, or as a list of one assistant message."""
    if isinstance(fields.column(row, name), str | bool):
        return fields.text(row, name)
    turns = fields.messages_not_text(row[name], name)
    if len(turns) != 1 or turns[0].role != "assistant":
        roles = ", ".join(turn.role for turn in turns)
        raise RowProblem(f"{name!r} holds the turns {roles}, not one answer", "keep the assistant's turn only")
    return turns[0].content


# -------------------------------------------------------------------------------------------------- one answer, or none
def read_prompt(column: str, about: Sequence[str] = ()) -> Reader:
    return lambda row, slice_columns: [Reading(fields.prompt(row, column, slice_columns, about))]


def read_answered(ask: str, answer: str, about: Sequence[str] = ()) -> Reader:
    """One column asks, another answers: the most common layout there is."""

    def read(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
        text = completion_text(row, answer)
        return answered(fields.prompt(row, ask, slice_columns, about), text, row, answer)

    return read


def read_messages(column: str) -> Reader:
    def read(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
        turns = fields.messages(fields.column(row, column), column)
        if turns[-1].role != "assistant":
            return [Reading(fields.prompt_of(turns, row, slice_columns))]
        prompt, answer = conversations.prompt_and_answer(turns, column)
        return answered(fields.prompt_of(prompt, row, slice_columns), answer, row, column)

    return read


def read_document(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    prompt = fields.prompt_of("", row, slice_columns)
    return [Reading(demonstration=Demonstration(prompt, fields.answer(row, "text")))]


def read_unpaired(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    fields.thumb(row)
    return read_answered("prompt", "completion")(row, slice_columns)


def read_sampled(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    prompt = fields.prompt(row, "prompt", slice_columns)
    sampled = canonical.completion_from_json(row, prompt)
    demonstration = Demonstration(prompt, sampled.text) if sampled.text.strip() else None
    return [Reading(prompt, demonstration=demonstration, completions=(sampled,))]


def read_judgement(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    return [Reading(judgements=(canonical.judgement_from_json(row),))]


# ------------------------------------------------------------------------------------------------------ several answers
def read_pair(ask: str, chosen: str = "chosen", rejected: str = "rejected", about: Sequence[str] = ()) -> Reader:
    """One column asks, and two hold the better and the worse answer, each as text, turns, or all over again."""

    def read(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
        asked = fields.content(row, ask, about)
        sides = [fields.column(row, name) for name in (chosen, rejected)]
        if all(isinstance(side, str | bool) for side in sides) or (
            isinstance(asked, str) and not any(map(_long, sides))
        ):
            prompt = fields.prompt_of(asked, row, slice_columns)
            return chosen_over(
                prompt, completion_text(row, chosen), completion_text(row, rejected), fields.strength(row)
            )
        before = (Message("user", asked),) if isinstance(asked, str) else asked
        turns, better, worse = conversations.shared_prompt_and_answers(
            conversations.continued(before, _turns(row, chosen), chosen, ask),
            conversations.continued(before, _turns(row, rejected), rejected, ask),
            names=(chosen, rejected),
        )
        return chosen_over(fields.prompt_of(turns, row, slice_columns), better, worse, fields.strength(row))

    return read


def _long(side: object) -> bool:
    return isinstance(side, list | tuple) and len(side) > 1


def _turns(row: Content, name: str) -> tuple[Message, ...]:
    value = row[name]
    return (Message("assistant", value),) if isinstance(value, str) else fields.messages(value, name)


def read_alpaca_preference(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    [reading] = read_pair("instruction", about=ABOUT)(row, slice_columns)
    if reading.prompt is None or not row.get("output"):
        return [reading]
    return [replace(reading, demonstration=Demonstration(reading.prompt, fields.answer(row, "output")))]


def read_hh(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    turns, chosen, rejected = conversations.shared_prompt_and_answers(
        conversations.transcript_turns(fields.text(row, "chosen"), "chosen"),
        conversations.transcript_turns(fields.text(row, "rejected"), "rejected"),
    )
    return chosen_over(fields.prompt_of(turns, row, slice_columns), chosen, rejected, fields.strength(row))


def read_hh_text(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    """The same rows with the prompt as one text, for models without a chat template."""
    [reading] = read_hh(row, slice_columns)
    assert reading.preference
    prompt = conversations.as_transcript(reading.preference.prompt)
    chosen, rejected = reading.preference.completions
    return chosen_over(prompt, f" {chosen}", f" {rejected}", fields.strength(row))


def read_trl_implicit(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    """Both sides are whole conversations or texts; what they share is the prompt, unless another column could be it."""
    if not isinstance(fields.column(row, "chosen"), str):
        turns, better, worse = conversations.shared_prompt_and_answers(_turns(row, "chosen"), _turns(row, "rejected"))
        return chosen_over(fields.prompt_of(turns, row, slice_columns), better, worse, fields.strength(row))
    known = {"chosen", "rejected", "strength", *fields.SYSTEM, *slice_columns}
    others = [name for name, value in row.items() if name not in known and isinstance(value, str) and " " in value]
    if others:
        raise RowProblem(
            f"'chosen' and 'rejected' stand beside the text {', '.join(map(repr, others))}, and none is named 'prompt'",
            "rename the prompt's column to 'prompt', and keep or name the others as slice columns",
        )
    start, better, worse = conversations.shared_text_and_rests(fields.text(row, "chosen"), fields.text(row, "rejected"))
    return chosen_over(fields.prompt_of(start, row, slice_columns), better, worse, fields.strength(row))


def read_ranking(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    comparison = canonical.comparison_from_json(row, fields.prompt(row, "prompt", slice_columns))
    ranks = canonical.ranks(row, "ranks", len(comparison.completions))
    pairs = pairs_from_ranks(ranks, fields.strength(row))
    best = ranks.index(min(ranks))
    return [judged(comparison.prompt, comparison.completions, pairs, best=best, sources=comparison.sources)]


_WINNER: Mapping[str, float] = {
    **dict.fromkeys(("a", "1", "first", "response_a", "answer_a", "model_a"), 1.0),
    **dict.fromkeys(("b", "2", "second", "response_b", "answer_b", "model_b"), 0.0),
    **dict.fromkeys(("tie", "equal"), 0.5),
}
_BOTH_BAD = frozenset({"both_bad", "both bad", "tie (bothbad)", "neither"})


def read_two_answers(
    ask: str, first: str, second: str, verdict: str, label_of: Mapping[str, float] = _WINNER
) -> Reader:
    """One column asks, two answer, one says which is better. label_of: what its words mean, 1 = the first."""

    def read(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
        prompt = fields.prompt_of(fields.content(row, ask), {**row, fields.HISTORY: None}, slice_columns)
        answers = (fields.text(row, first), fields.text(row, second))
        winner = _word(fields.column(row, verdict))
        if winner in _BOTH_BAD:
            return [judged(prompt, answers, (), best=None, left_out="both_bad")]
        if winner not in label_of:
            words = "a, b, tie or both_bad" if label_of is _WINNER else f"one of {', '.join(label_of)}"
            raise RowProblem(f"{verdict!r} is {fields.shown(row[verdict])}", f"write {words}")
        label = label_of[winner]
        pair = Pair(0, 1, label, fields.strength(row))
        return [judged(prompt, answers, (pair,), best={1.0: 0, 0.0: 1}.get(label))]

    return read


def _word(value: object) -> str:
    """Return a verdict in one spelling; what pandas made 1.0 of is 1."""
    word = str(value).strip().lower()
    return word.removesuffix(".0")


def check_winner(rows: Sequence[Content]) -> None:
    """Refuse a file whose winner may be 0: to some a tie, to others the first answer; then 1 is unclear too."""
    if any(_word(row.get("winner")) == "0" for row in rows):
        raise RowProblem("'winner' is 0 in some rows, which may be a tie or the first answer", "write a, b or tie")


def check_thumbs(rows: Sequence[Content]) -> None:
    """Refuse a file with the numbers -1, 0 and 1 for thumbs: 0 is down only where there is no -1."""
    for name in fields.THUMBS:
        if {"0", "-1"} <= {_word(row.get(name)) for row in rows}:
            raise RowProblem(f"{name!r} is -1 in some rows and 0 in others", "write true, false, or leave the row out")


def read_preference(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    given = canonical.preference_from_json(row, fields.prompt(row, "prompt", slice_columns))
    return [replace(judged(given.prompt, given.completions, (), best=None, sources=given.sources), preference=given)]


def read_comparison(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    comparison = canonical.comparison_from_json(row, fields.prompt(row, "prompt", slice_columns))
    reading = judged(comparison.prompt, comparison.completions, (), best=None, sources=comparison.sources)
    return [replace(reading, preference=None)]
