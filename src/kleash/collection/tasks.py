"""What a labeller may see of a task, and what a labeller says about it in terms of what was seen. Pure.

A labeller knows places: A, B, ... from left to right. The store knows completions. This file is the only one that turns
one into the other, and `LabellingTask` is the whole of what a browser is told: it has no field for where an answer
comes from, what a task is for, or what the right answer would be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

from markupsafe import Markup
from pydantic import Field

from kleash.collection.markup import ShownText, shown_text
from kleash.collection.recorded import RecordedJudgement
from kleash.collection.store.assignments import Assignment
from kleash.collection.store.raters import Rater
from kleash.errors import DataError
from kleash.records import Judgement, Outcome, Prompt, Strength

FLAGS = ("unsafe", "unreadable")
SKIP_REASONS = {
    "unsure": "I cannot decide",
    "beyond_me": "I know too little about this",
    "language": "I do not read this language",
    "broken": "The question or an answer is broken",
    "upsetting": "I would rather not read this",
}


# The bounds are for verdicts that come as JSON; pydantic holds them where `routes/` reads one.
PlacedRanks = Annotated[tuple[Annotated[int, Field(strict=True, ge=1, le=100)], ...], Field(max_length=100)]


@dataclass(frozen=True)
class PlacedVerdict:
    """A verdict in terms of places: ranks[i] is the rank of the answer shown in place i, 1 = best, equal = tied."""

    outcome: Outcome
    ranks: PlacedRanks = ()
    strength: Strength | None = None
    aspects: Annotated[dict[Annotated[str, Field(max_length=100)], PlacedRanks], Field(max_length=20)] = field(
        default_factory=dict
    )
    flags: Annotated[tuple[Annotated[str, Field(pattern=f"^({'|'.join(FLAGS)})$")], ...], Field(max_length=2)] = ()
    rationale: Annotated[str, Field(max_length=4000)] = ""
    skip_reason: Annotated[str, Field(pattern=f"^({'|'.join(SKIP_REASONS)}|)$")] = ""


@dataclass(frozen=True)
class LabellingTask:
    """A task as a labeller meets it.

    id: an opaque token.  answers: in presented order.  aspects: what is asked apart from the overall verdict.
    given: what the labeller said about it before, when that is to be changed.
    """

    id: str
    prompt: ShownText
    answers: tuple[ShownText, ...]
    aspects: tuple[str, ...]
    given: PlacedVerdict | None = None


def labelling_task(
    task: Assignment, *, aspects: Sequence[str], given: RecordedJudgement | None = None
) -> LabellingTask:
    """Show a task to its labeller.  given: the labeller's own judgement of it, which may now be changed."""
    completions = task.comparison.completions
    return LabellingTask(
        id=task.id,
        prompt=_shown_prompt(task.comparison.prompt),
        answers=tuple(shown_text(completions[index]) for index in task.permutation),
        aspects=tuple(aspects),
        given=placed_verdict(given, task.permutation) if given is not None else None,
    )


def judgement_from_places(
    placed: PlacedVerdict,
    task: Assignment,
    rater: Rater,
    *,
    aspects: Sequence[str],
    seconds: float | None = None,
    rubric_version: str = "",
) -> Judgement:
    """Put a verdict on the places of a task into the comparison's own order, as the judgement of its rater.

    aspects: those that are asked.  Ranks become dense (2, 2 is a tie for first place: 1, 1), so that equal verdicts
    are equal.
    Raises DataError for ranks that do not fit the answers, a strength without a winner, or an aspect not asked.
    """
    unknown = sorted(set(placed.aspects) - set(aspects))
    if unknown:
        raise DataError(
            f"Aspect {unknown[0]!r} is not asked here. Expected one of: {', '.join(aspects) or 'none'}. Leave it out."
        )
    if (placed.outcome == "ranked") != bool(placed.ranks):
        raise DataError(
            f"A verdict of {placed.outcome} came with {len(placed.ranks)} ranks. A ranking has one for each answer, "
            "any other verdict none. Send both or neither."
        )
    ranks = _in_comparison_order(placed.ranks, task.permutation, name="ranks") if placed.ranks else ()
    if placed.strength is not None and sorted(ranks) != [1, 2]:
        raise DataError(
            f"Strength {placed.strength!r} came with ranks {list(placed.ranks)}. It says by how much one of two "
            "answers is better. Leave it out for ties and rankings of more than two."
        )
    return Judgement(
        comparison_id=task.comparison.id,
        rater=rater.name,
        rater_kind=rater.kind,
        permutation=task.permutation,
        outcome=placed.outcome,
        ranks=ranks,
        strength=placed.strength,
        aspects={
            name: _in_comparison_order(each, task.permutation, name=name) for name, each in placed.aspects.items()
        },
        rubric_version=task.comparison.prompt.rubric_version(rubric_version),
        seconds=seconds,
        rationale=placed.rationale.strip(),
        flags=tuple(sorted(set(placed.flags))),
    )


def placed_verdict(recorded: RecordedJudgement, permutation: Sequence[int]) -> PlacedVerdict:
    """Put a judgement into the order in which its labeller saw the answers: the reverse of `judgement_from_places`."""
    judgement = recorded.judgement
    return PlacedVerdict(
        outcome=judgement.outcome,
        ranks=_in_places(judgement.ranks, permutation),
        strength=judgement.strength,
        aspects={name: _in_places(ranks, permutation) for name, ranks in judgement.aspects.items()},
        flags=judgement.flags,
        rationale=judgement.rationale,
        skip_reason=recorded.skip_reason,
    )


def _in_places(ranks: Sequence[int], permutation: Sequence[int]) -> tuple[int, ...]:
    return tuple(ranks[index] for index in permutation) if ranks else ()


def _in_comparison_order(placed_ranks: Sequence[int], permutation: Sequence[int], *, name: str) -> tuple[int, ...]:
    num_answers = len(permutation)
    if len(placed_ranks) != num_answers or not all(1 <= rank <= num_answers for rank in placed_ranks):
        raise DataError(
            f"{name} is {list(placed_ranks)[:20]} for {num_answers} answers. Expected one rank for each, 1 = best, "
            f"at most {num_answers}. Rank every answer; equal ranks are ties."
        )
    dense = {rank: position for position, rank in enumerate(sorted(set(placed_ranks)), start=1)}
    ranks = [0] * num_answers
    for position, index in enumerate(permutation):
        ranks[index] = dense[placed_ranks[position]]
    return tuple(ranks)


def _shown_prompt(prompt: Prompt) -> ShownText:
    """Show a prompt; the turns of a conversation each under the name of who speaks."""
    turns: list[tuple[str, ShownText]] = [("asked", shown_text(prompt.text))]
    if not isinstance(prompt.content, str) and len(prompt.content) > 1:
        turns = [(message.role, shown_text(message.content)) for message in prompt.content]
    if prompt.criteria:
        turns.append(("To be judged by", shown_text(prompt.criteria)))
    if len(turns) == 1:
        return turns[0][1]
    html = Markup("").join(Markup('<p class="role">{}</p>{}').format(role, turn.html) for role, turn in turns)
    raw = "\n\n".join(f"{role}:\n{turn.raw}" for role, turn in turns)
    return ShownText(html, raw, any(turn.is_cut for _, turn in turns))
