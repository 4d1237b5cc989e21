"""What one row says, as every kind of record it can be: one function per format of `shapes.py`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
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


# -------------------------------------------------------------------------------------------------- one answer, or none
def read_prompt(column: str) -> Callable[[Content, Sequence[str]], list[Reading]]:
    return lambda row, slice_columns: [Reading(fields.prompt(row, column, slice_columns))]


def read_instruction(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    return [Reading(instruction(row, slice_columns, more="input"))]


def read_alpaca(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    return answered(instruction(row, slice_columns, more="input"), fields.answer(row, "output"))


def read_dolly(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    return answered(instruction(row, slice_columns, more="context"), fields.answer(row, "response"))


def read_gsm8k(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    return answered(fields.prompt(row, "question", slice_columns), fields.answer(row, "answer"))


def read_prompt_completion(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    answer = fields.not_blank(completion_text(row, "completion"), "completion")
    return answered(fields.prompt(row, "prompt", slice_columns), answer)


def read_messages(column: str) -> Callable[[Content, Sequence[str]], list[Reading]]:
    def read(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
        turns = fields.messages(fields.column(row, column), column)
        if turns[-1].role != "assistant":
            return [Reading(fields.with_dimensions(turns, row, slice_columns))]
        prompt, answer = conversations.prompt_and_answer(turns, column)
        return answered(fields.with_dimensions(prompt, row, slice_columns), fields.not_blank(answer, column))

    return read


def read_document(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    prompt = fields.with_dimensions("", row, slice_columns)
    return [Reading(demonstration=Demonstration(prompt, fields.answer(row, "text")))]


def read_unpaired(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    prompt = fields.prompt(row, "prompt", slice_columns)
    answer = completion_text(row, "completion")
    labelled = LabelledCompletion(prompt, answer, fields.truth_value(row, "label"))
    return [Reading(prompt, labelled=labelled, completions=(Completion(prompt, answer),))]


def read_sampled(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    prompt = fields.prompt(row, "prompt", slice_columns)
    sampled = canonical.completion_from_json(row, prompt)
    demonstration = Demonstration(prompt, sampled.text) if sampled.text.strip() else None
    return [Reading(prompt, demonstration=demonstration, completions=(sampled,))]


def read_judgement(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    return [Reading(judgements=(canonical.judgement_from_json(row),))]


# ------------------------------------------------------------------------------------------------------ several answers
def read_alpaca_preference(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    return chosen_over(
        instruction(row, slice_columns, more="input"),
        fields.text(row, "chosen"),
        fields.text(row, "rejected"),
        fields.strength(row),
        imitated=fields.answer(row, "output") if row.get("output") else None,
    )


def read_hh(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    turns, chosen, rejected = conversations.shared_prompt_and_answers(
        conversations.transcript_turns(fields.text(row, "chosen"), "chosen"),
        conversations.transcript_turns(fields.text(row, "rejected"), "rejected"),
    )
    return chosen_over(fields.with_dimensions(turns, row, slice_columns), chosen, rejected, fields.strength(row))


def read_hh_text(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    """The same rows with the prompt as one text, for models without a chat template."""
    [reading] = read_hh(row, slice_columns)
    assert reading.preference
    prompt = conversations.as_transcript(reading.preference.prompt)
    chosen, rejected = reading.preference.completions
    return chosen_over(prompt, f" {chosen}", f" {rejected}", fields.strength(row))


def read_trl(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    prompt = fields.prompt(row, "prompt", slice_columns)
    sides = [fields.column(row, name) for name in ("chosen", "rejected")]
    if any(isinstance(side, list) and len(side) > 1 for side in sides):
        return read_trl_conversations(row, slice_columns)
    return chosen_over(prompt, completion_text(row, "chosen"), completion_text(row, "rejected"), fields.strength(row))


def read_trl_implicit(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    if not isinstance(fields.column(row, "chosen"), str):
        return read_trl_conversations(row, slice_columns)
    start, chosen, rejected = conversations.shared_text_and_rests(
        fields.text(row, "chosen"), fields.text(row, "rejected")
    )
    return chosen_over(fields.with_dimensions(start, row, slice_columns), chosen, rejected, fields.strength(row))


def read_trl_conversations(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    """Both sides are whole conversations; a prompt column beside them repeats what they share."""
    turns, chosen, rejected = conversations.shared_prompt_and_answers(
        fields.messages(row["chosen"], "chosen"), fields.messages(fields.column(row, "rejected"), "rejected")
    )
    return chosen_over(fields.with_dimensions(turns, row, slice_columns), chosen, rejected, fields.strength(row))


def read_ranking(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    comparison = canonical.comparison_from_json(row, fields.prompt(row, "prompt", slice_columns))
    ranks = canonical.ranks(row, "ranks", len(comparison.completions))
    pairs = pairs_from_ranks(ranks, fields.strength(row))
    best = ranks.index(min(ranks))
    return [judged(comparison.prompt, comparison.completions, pairs, best=best, sources=comparison.sources)]


_WINNER = {
    **dict.fromkeys(("a", "1", "first", "response_a", "answer_a", "model_a"), 1.0),
    **dict.fromkeys(("b", "2", "second", "response_b", "answer_b", "model_b"), 0.0),
    **dict.fromkeys(("tie", "equal", "0"), 0.5),
}
_BOTH_BAD = frozenset({"both_bad", "both bad", "tie (bothbad)", "neither"})


def read_two_answers(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    prompt = fields.prompt(row, "prompt", slice_columns)
    answers = (fields.text(row, "response_a"), fields.text(row, "response_b"))
    winner = str(fields.column(row, "winner")).strip().lower()
    if winner in _BOTH_BAD:
        return [judged(prompt, answers, (), best=None, left_out="both_bad")]
    if winner not in _WINNER:
        raise RowProblem(f"'winner' is {fields.shown(winner)}", "write a, b, tie or both_bad")
    label = _WINNER[winner]
    pair = Pair(0, 1, label, fields.strength(row))
    return [judged(prompt, answers, (pair,), best={1.0: 0, 0.0: 1}.get(label))]


def read_preference(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    given = canonical.preference_from_json(row, fields.prompt(row, "prompt", slice_columns))
    reading = judged(given.prompt, given.completions, given.pairs, best=None, sources=given.sources)
    return [Reading(given.prompt, None, given, None, reading.completions, reading.comparison)]


def read_comparison(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    comparison = canonical.comparison_from_json(row, fields.prompt(row, "prompt", slice_columns))
    policies = comparison.sources or ("",) * len(comparison.completions)
    answers = tuple(
        Completion(comparison.prompt, text, policy_id=policy)
        for text, policy in zip(comparison.completions, policies, strict=True)
    )
    return [Reading(comparison.prompt, completions=answers, comparison=comparison)]


PANDALM_RATERS = ("annotator1", "annotator2", "annotator3")
_PANDALM_RANKS = {0: (1, 1), 1: (1, 2), 2: (2, 1)}


def read_pandalm(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    prompt = instruction(row, slice_columns, more="input")
    answers = (_response(row, "response1"), _response(row, "response2"))
    votes = [fields.whole_number(row, rater) for rater in PANDALM_RATERS]
    if not set(votes) <= set(_PANDALM_RANKS):
        raise RowProblem(f"its annotators say {votes}", "write 0 for a tie, 1 or 2 for the better response")
    models = tuple(str(row.get("cmp_key", "")).split("_"))
    sources = models if len(models) == 2 else ()
    comparison = Comparison(prompt, answers, sources)
    judgements = tuple(
        Judgement(comparison.id, rater, "person", (0, 1), "ranked", _PANDALM_RANKS[vote])
        for rater, vote in zip(PANDALM_RATERS, votes, strict=True)
    )
    label = (votes.count(1) + votes.count(0) / 2) / len(votes)
    best = None if label == 0.5 else int(label < 0.5)
    return [
        judged(
            prompt,
            answers,
            (Pair(0, 1, label),),
            best=best,
            sources=sources,
            num_judgements=len(votes),
            judgements=judgements,
        )
    ]


def _response(row: Content, name: str) -> str:
    """Return a response; the published file holds six that were the word true, written without quotes."""
    return str(row[name]).lower() if isinstance(row.get(name), bool) else fields.text(row, name)


def read_tree(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    root = fields.column(row, "prompt")
    points: list[Reading] = []
    for point in conversations.branchings(root):
        prompt = fields.with_dimensions(point.prompt, row, slice_columns)
        ranked = [index for index, rank in enumerate(point.rank) if rank is not None]
        if len(ranked) < 2:
            points += answered(prompt, point.replies[0]) if len(point.replies) == 1 else [Reading(prompt)]
            continue
        ranks = [point.rank[index] or 0 for index in ranked]
        points.append(
            judged(
                prompt,
                tuple(point.replies[index] for index in ranked),
                pairs_from_ranks(ranks),
                best=ranks.index(min(ranks)),
                sources=tuple(point.authors[index] for index in ranked),
            )
        )
    return points
