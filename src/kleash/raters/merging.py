"""From the verdicts on every pair in both orders to one judgement in the comparison's own order. Pure.

    both orders agree                        -> that
    the winner changes with the places       -> a tie, flagged "position_flip"
    a winner in one order, none in the other -> a tie, flagged "position_weak"
    an order without a verdict               -> no vote: skipped, flagged with the reason ("unparsed", ...)

A tie in one order and "both bad" in the other is a tie flagged "position_weak" too. Aspects are merged by the same
rules, unflagged. More than two answers are ranked by Copeland's rule: pairs won less pairs lost.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from kleash.raters.verdicts import JudgeVerdict, Overall, PairChoice
from kleash.records import Comparison, Judgement

Order = tuple[int, int]
Status = Literal["ok", "unparsed", "refused", "failed"]


@dataclass(frozen=True)
class OrderOutcome:
    """What came of showing two answers in one order: a verdict, or in `status` why there is none."""

    status: Status
    verdict: JudgeVerdict | None = None
    seconds: float = 0.0


def orders_of(num_completions: int) -> list[Order]:
    """Return every ordered pair of answers to be judged: each pair forwards, then backwards."""
    pairs = itertools.combinations(range(num_completions), 2)
    return [order for first, second in pairs for order in ((first, second), (second, first))]


def merge(
    comparison: Comparison, outcomes: Mapping[Order, OrderOutcome], *, rater: str, rubric_version: str
) -> Judgement:
    """Make one rater's judgement of a comparison from what came of every order of `orders_of`.

    The permutation is the comparison's own order: both were shown. Rationales are those of the forward order, whose
    "first" and "second" mean that order too.
    """
    num_completions = len(comparison.completions)
    unjudged = sorted({each.status for each in outcomes.values() if each.verdict is None})
    verdicts = {order: each.verdict for order, each in outcomes.items() if each.verdict is not None}
    judgement = Judgement(
        comparison_id=comparison.id,
        rater=rater,
        rater_kind="ai",
        permutation=tuple(range(num_completions)),
        outcome="skipped",
        rubric_version=rubric_version,
        seconds=sum(each.seconds for each in outcomes.values()),
        flags=tuple(unjudged),
    )
    return judgement if unjudged else _ranked(judgement, verdicts, num_completions)


def merge_orders(forward: Overall | PairChoice, backward: Overall | PairChoice) -> tuple[Overall, str]:
    """Return the choice that both orders bear out, in the forward order's words, and a flag ("" when they agree)."""
    turned = turn(backward)
    if forward == turned:
        return forward, ""
    return "tie", "position_flip" if {forward, turned} == {"first", "second"} else "position_weak"


def turn(choice: Overall | PairChoice) -> Overall:
    """Return a choice as it reads when the two answers change places."""
    if choice == "first":
        return "second"
    return "first" if choice == "second" else choice


def copeland_ranks(choices: Mapping[Order, str], num_completions: int) -> tuple[int, ...]:
    """Rank answers by pairs won less pairs lost; 1 = best, equal ones tied. choices: one per pair, forwards."""
    won = [0] * num_completions
    for (first, second), choice in choices.items():
        if choice in ("first", "second"):
            won[first] += 1 if choice == "first" else -1
            won[second] += 1 if choice == "second" else -1
    return tuple(1 + sum(other > own for other in won) for own in won)


def _ranked(judgement: Judgement, verdicts: Mapping[Order, JudgeVerdict], num_completions: int) -> Judgement:
    pairs = list(itertools.combinations(range(num_completions), 2))
    overall = {pair: merge_orders(verdicts[pair].overall, verdicts[pair[::-1]].overall) for pair in pairs}
    choices = {pair: choice for pair, (choice, _) in overall.items()}
    aspects = {
        aspect: {pair: _aspect(verdicts[pair], verdicts[pair[::-1]], aspect) for pair in pairs}
        for aspect in verdicts[pairs[0]].aspects
    }
    is_bad = all(choice == "both_bad" for choice in choices.values())
    return replace(
        judgement,
        outcome="both_bad" if is_bad else "ranked",
        ranks=() if is_bad else copeland_ranks(choices, num_completions),
        aspects={aspect: copeland_ranks(each, num_completions) for aspect, each in aspects.items()},
        rationale=_rationale(pairs, verdicts),
        flags=tuple(sorted({flag for _, flag in overall.values() if flag})),
    )


def _aspect(forward: JudgeVerdict, backward: JudgeVerdict, aspect: str) -> str:
    return merge_orders(forward.aspects[aspect], backward.aspects[aspect])[0]


def _rationale(pairs: Sequence[Order], verdicts: Mapping[Order, JudgeVerdict]) -> str:
    if len(pairs) == 1:
        return verdicts[pairs[0]].rationale
    reasons = [(first, second, verdicts[first, second].rationale) for first, second in pairs]
    return "\n".join(f"{first + 1} against {second + 1}: {reason}" for first, second, reason in reasons if reason)
