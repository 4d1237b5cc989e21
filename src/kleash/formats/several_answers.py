"""Rows with two or more answers to one prompt: pairs, votes, rankings, trees, and what is still to be judged."""

from __future__ import annotations

from collections.abc import Sequence

from kleash.formats import canonical, conversations, fields, readings
from kleash.formats.fields import Content
from kleash.formats.readings import Reading, pairs_from_ranks
from kleash.formats.rows import RowProblem
from kleash.records import Comparison, Completion, Judgement, Pair


def read_alpaca_preference(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    return readings.chosen_over(
        readings.instruction(row, slice_columns, more="input"),
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
    return readings.chosen_over(
        fields.with_dimensions(turns, row, slice_columns), chosen, rejected, fields.strength(row)
    )


def read_hh_text(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    """The same rows with the prompt as one text, for models without a chat template."""
    [reading] = read_hh(row, slice_columns)
    assert reading.preference
    prompt = conversations.as_transcript(reading.preference.prompt)
    chosen, rejected = reading.preference.completions
    return readings.chosen_over(prompt, f" {chosen}", f" {rejected}", fields.strength(row))


def read_trl(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    prompt = fields.prompt(row, "prompt", slice_columns)
    sides = [fields.column(row, name) for name in ("chosen", "rejected")]
    if any(isinstance(side, list) and len(side) > 1 for side in sides):
        return read_trl_conversations(row, slice_columns)
    return readings.chosen_over(
        prompt, readings.completion_text(row, "chosen"), readings.completion_text(row, "rejected"), fields.strength(row)
    )


def read_trl_implicit(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    if not isinstance(fields.column(row, "chosen"), str):
        return read_trl_conversations(row, slice_columns)
    start, chosen, rejected = conversations.shared_text_and_rests(
        fields.text(row, "chosen"), fields.text(row, "rejected")
    )
    return readings.chosen_over(
        fields.with_dimensions(start, row, slice_columns), chosen, rejected, fields.strength(row)
    )


def read_trl_conversations(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    """Both sides are whole conversations; a prompt column beside them repeats what they share."""
    turns, chosen, rejected = conversations.shared_prompt_and_answers(
        fields.messages(row["chosen"], "chosen"), fields.messages(fields.column(row, "rejected"), "rejected")
    )
    return readings.chosen_over(
        fields.with_dimensions(turns, row, slice_columns), chosen, rejected, fields.strength(row)
    )


def read_ranking(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    comparison = canonical.comparison_from_json(row, fields.prompt(row, "prompt", slice_columns))
    ranks = canonical.ranks(row, "ranks", len(comparison.completions))
    pairs = pairs_from_ranks(ranks, fields.strength(row))
    best = ranks.index(min(ranks))
    return [readings.judged(comparison.prompt, comparison.completions, pairs, best=best, sources=comparison.sources)]


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
        return [readings.judged(prompt, answers, (), best=None, left_out="both_bad")]
    if winner not in _WINNER:
        raise RowProblem(f"'winner' is {fields.shown(winner)}", "write a, b, tie or both_bad")
    label = _WINNER[winner]
    pair = Pair(0, 1, label, fields.strength(row))
    return [readings.judged(prompt, answers, (pair,), best={1.0: 0, 0.0: 1}.get(label))]


def read_preference(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    given = canonical.preference_from_json(row, fields.prompt(row, "prompt", slice_columns))
    reading = readings.judged(given.prompt, given.completions, given.pairs, best=None, sources=given.sources)
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
    prompt = readings.instruction(row, slice_columns, more="input")
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
        readings.judged(
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
    found: list[Reading] = []
    for point in conversations.branchings(root):
        prompt = fields.with_dimensions(point.prompt, row, slice_columns)
        ranked = [index for index, rank in enumerate(point.rank) if rank is not None]
        if len(ranked) < 2:
            found += readings.answered(prompt, point.replies[0]) if len(point.replies) == 1 else [Reading(prompt)]
            continue
        ranks = [point.rank[index] or 0 for index in ranked]
        found.append(
            readings.judged(
                prompt,
                tuple(point.replies[index] for index in ranked),
                pairs_from_ranks(ranks),
                best=ranks.index(min(ranks)),
                sources=tuple(point.authors[index] for index in ranked),
            )
        )
    return found
