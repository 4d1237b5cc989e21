"""Two orders, one judgement: agreement wins, a flip ties, a doubt is no vote."""

import itertools
from dataclasses import replace

import pytest

from kleash.raters.merging import OrderOutcome, copeland_ranks, merge, merge_orders, orders_of, turn
from kleash.raters.verdicts import OVERALL, JudgeVerdict
from kleash.records import Comparison, Prompt

PAIR = Comparison(Prompt("How many legs has a cat?"), ("four", "five"))
TRIPLE = Comparison(Prompt("How many legs has a cat?"), ("four", "five", "a cat"))


def heard(forward, backward):
    """What was heard of PAIR, from overall choices; None is a reply without a verdict."""
    said = [
        OrderOutcome("unparsed") if choice is None else OrderOutcome("ok", JudgeVerdict(choice))
        for choice in (forward, backward)
    ]
    return dict(zip(orders_of(2), said, strict=True))


def judged(comparison, what):
    return merge(comparison, what, rater="judge@1", rubric_version="r1")


@pytest.mark.parametrize(
    ("forward", "backward", "outcome", "ranks", "flags"),
    [
        ("first", "second", "ranked", (1, 2), ()),
        ("second", "first", "ranked", (2, 1), ()),
        ("tie", "tie", "ranked", (1, 1), ()),
        ("both_bad", "both_bad", "both_bad", (), ()),
        ("first", "first", "ranked", (1, 1), ("position_flip",)),
        ("second", "second", "ranked", (1, 1), ("position_flip",)),
        ("first", "tie", "ranked", (1, 1), ("position_weak",)),
        ("both_bad", "second", "ranked", (1, 1), ("position_weak",)),
        ("tie", "both_bad", "ranked", (1, 1), ("position_weak",)),
        (None, "second", "skipped", (), ("unparsed",)),
        ("first", None, "skipped", (), ("unparsed",)),
        (None, None, "skipped", (), ("unparsed",)),
    ],
)
def test_the_verdicts_of_two_orders_become_one_judgement(forward, backward, outcome, ranks, flags):
    judgement = judged(PAIR, heard(forward, backward))
    assert (judgement.outcome, judgement.ranks, judgement.flags) == (outcome, ranks, flags)


def test_a_judgement_says_who_made_it_by_which_rubric_and_why():
    said = {
        (0, 1): OrderOutcome(
            "ok", JudgeVerdict("first", {"style": "second", "factuality": "first"}, "It is right."), 1.5
        ),
        (1, 0): OrderOutcome(
            "ok", JudgeVerdict("second", {"style": "second", "factuality": "second"}, "Right it is."), 2.0
        ),
    }
    judgement = judged(PAIR, said)
    assert (judgement.rater, judgement.rater_kind, judgement.rubric_version) == ("judge@1", "ai", "r1")
    assert judgement.comparison_id == PAIR.id
    assert judgement.permutation == (0, 1)
    assert judgement.aspects == {"factuality": (1, 2), "style": (1, 1)}
    assert judgement.rationale == "It is right."
    assert judgement.seconds == 3.5


def test_every_reason_for_silence_is_flagged():
    said = {(0, 1): OrderOutcome("refused"), (1, 0): OrderOutcome("failed")}
    assert judged(PAIR, said).flags == ("failed", "refused")


@pytest.mark.parametrize(("forward", "backward"), list(itertools.product(OVERALL, OVERALL)))
def test_swapping_the_answers_swaps_the_outcome(forward, backward):
    """The same two readings, of the comparison written the other way round."""
    swapped = Comparison(PAIR.prompt, PAIR.completions[::-1])
    one, other = judged(PAIR, heard(forward, backward)), judged(swapped, heard(backward, forward))
    assert (one.outcome, one.ranks, one.flags) == (other.outcome, other.ranks[::-1], other.flags)


def test_turning_twice_is_turning_not_at_all():
    assert [turn(turn(choice)) for choice in OVERALL] == list(OVERALL)
    assert merge_orders("first", "second") == ("first", "")


def test_every_pair_of_several_answers_is_asked_in_both_orders():
    assert orders_of(3) == [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)]
    assert {tuple(sorted(order)) for order in orders_of(5)} == set(itertools.combinations(range(5), 2))


def by_taste(order, *places):
    """A verdict by a fixed order of merit, whatever comes first."""
    first, second = (order.index(index) for index in places)
    return "tie" if first == second else "first" if first < second else "second"


def test_three_answers_are_ranked_by_the_pairs_they_win():
    said = {places: OrderOutcome("ok", JudgeVerdict(by_taste([2, 0, 1], *places))) for places in orders_of(3)}
    judgement = judged(TRIPLE, said)
    assert (judgement.outcome, judgement.ranks, judgement.flags) == ("ranked", (2, 3, 1), ())


def test_a_ring_of_three_is_a_tie_of_three():
    assert copeland_ranks({(0, 1): "first", (1, 2): "first", (0, 2): "second"}, 3) == (1, 1, 1)


def test_one_flip_among_three_answers_ties_that_pair_alone():
    said = {
        places: OrderOutcome("ok", JudgeVerdict(by_taste([0, 1, 2], *places), rationale="so"))
        for places in orders_of(3)
    }
    said[2, 1] = replace(said[2, 1], verdict=JudgeVerdict("first"))
    judgement = judged(TRIPLE, said)
    assert (judgement.ranks, judgement.flags) == ((1, 2, 2), ("position_flip",))
    assert judgement.rationale == "1 against 2: so\n1 against 3: so\n2 against 3: so"


def test_one_silent_pair_among_three_answers_is_no_vote_at_all():
    said = {places: OrderOutcome("ok", JudgeVerdict(by_taste([0, 1, 2], *places))) for places in orders_of(3)}
    assert judged(TRIPLE, said | {(2, 0): OrderOutcome("unparsed")}).outcome == "skipped"


def test_three_bad_answers_are_bad_together_and_two_of_them_tie():
    said = {places: OrderOutcome("ok", JudgeVerdict("both_bad")) for places in orders_of(3)}
    assert judged(TRIPLE, said).outcome == "both_bad"
    said |= {(0, 1): OrderOutcome("ok", JudgeVerdict("first")), (1, 0): OrderOutcome("ok", JudgeVerdict("second"))}
    assert judged(TRIPLE, said).ranks == (1, 3, 2)
