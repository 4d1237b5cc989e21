"""What a labeller sees, and places turned into the comparison's order and back."""

from dataclasses import asdict, fields
from itertools import permutations, product

import pytest

from collection.made_judgements import NOON
from kleash.collection.recorded import RecordedJudgement
from kleash.collection.store.assignments import Assignment
from kleash.collection.store.raters import Rater
from kleash.collection.tasks import LabellingTask, PlacedVerdict, judgement_from_places, labelling_task, placed_verdict
from kleash.errors import DataError
from kleash.records import Comparison, Message, Prompt

ASPECTS = ("factuality", "style")
ANN = Rater(3, "ann", "person")


def assignment(
    *, completions=("left", "right"), permutation=(1, 0), purpose="vote", prompt="question", is_answered=False
):
    comparison = Comparison(Prompt(prompt, {"difficulty": "hard"}), completions, ("secret-a", "secret-b"))
    return Assignment("token", 7, "99", 3, purpose, comparison, permutation, is_answered=False)


def entry(judgement, *, skip_reason=""):
    return RecordedJudgement("1", "99", judgement, NOON, skip_reason=skip_reason)


def turned(placed, permutation, *, aspects=(), **fields):
    """The judgement of ann, who saw the answers in the order of a permutation."""
    task = assignment(completions=tuple("abcdefgh"[: len(permutation)]), permutation=tuple(permutation))
    return judgement_from_places(placed, task, ANN, aspects=aspects, **fields)


def test_a_task_has_fields_for_nothing_but_what_a_labeller_may_see():
    assert [each.name for each in fields(LabellingTask)] == ["id", "prompt", "answers", "aspects", "given"]
    given = ["outcome", "ranks", "strength", "aspects", "flags", "rationale", "skip_reason"]
    assert [each.name for each in fields(PlacedVerdict)] == given


def test_answers_are_shown_in_presented_order_and_nothing_tells_which_order_that_is():
    task = labelling_task(assignment(completions=("a", "b", "c"), permutation=(2, 0, 1)), aspects=ASPECTS)
    assert [answer.raw for answer in task.answers] == ["c", "a", "b"]
    assert asdict(task) == {
        "id": "token",
        "prompt": {"html": "<p>question</p>\n", "raw": "question", "is_cut": False},
        "answers": tuple({"html": f"<p>{text}</p>\n", "raw": text, "is_cut": False} for text in "cab"),
        "aspects": ASPECTS,
        "given": None,
    }


def test_what_a_task_is_for_makes_no_difference():
    shown = [labelling_task(assignment(purpose=purpose), aspects=ASPECTS) for purpose in ("vote", "gold", "repeat")]
    assert shown[0] == shown[1] == shown[2]


def test_a_conversation_names_who_speaks_and_cannot_name_itself():
    turns = (Message("system", "Be *kind*."), Message("user", "Hi\n\n<p class='role'>system</p>"))
    prompt = labelling_task(assignment(prompt=turns), aspects=()).prompt
    assert prompt.html.count('<p class="role">') == 2
    assert '<p class="role">system</p><p>Be <em>kind</em>.</p>' in prompt.html
    assert prompt.raw == "system:\nBe *kind*.\n\nuser:\nHi\n\n<p class='role'>system</p>"
    assert labelling_task(assignment(prompt=(Message("user", "Hi"),)), aspects=()).prompt.raw == "Hi"


def test_a_verdict_by_hand():
    # The answers were shown as B C A; the labeller put the first place last.
    placed = PlacedVerdict("ranked", (3, 1, 2), aspects={"style": (1, 1, 2)}, rationale="so", flags=("unsafe",))
    verdict = turned(placed, (1, 2, 0), aspects=ASPECTS, seconds=4.5, rubric_version="v1")
    assert verdict.ranks == (2, 3, 1)
    assert verdict.aspects == {"style": (2, 1, 1)}
    assert (verdict.seconds, verdict.rubric_version, verdict.rationale, verdict.flags) == (4.5, "v1", "so", ("unsafe",))


def test_strength_stays_with_the_winner_wherever_it_was_shown():
    placed = PlacedVerdict("ranked", (1, 2), strength="much")
    assert turned(placed, (0, 1), aspects=()).ranks == (1, 2)
    assert turned(placed, (1, 0), aspects=()).ranks == (2, 1)
    assert turned(placed, (1, 0), aspects=()).strength == "much"


def test_every_ranking_of_three_names_the_same_winners_in_every_order():
    for permutation in permutations(range(3)):
        for ranks in product((1, 2, 3), repeat=3):
            verdict = turned(PlacedVerdict("ranked", ranks), permutation, aspects=())
            for index, other in product(range(3), repeat=2):
                said = ranks[index] < ranks[other]
                assert said == (verdict.ranks[permutation[index]] < verdict.ranks[permutation[other]])
            assert sorted(set(verdict.ranks)) == list(range(1, len(set(ranks)) + 1))


def test_what_was_said_is_shown_again_as_it_was_said():
    for permutation in permutations(range(3)):
        placed = PlacedVerdict("ranked", (2, 1, 2), None, {"style": (1, 2, 3)}, ("unreadable",), "because")
        verdict = turned(placed, permutation, aspects=ASPECTS)
        assert placed_verdict(entry(verdict), permutation) == placed
    both_bad = PlacedVerdict("both_bad", aspects={"factuality": (1, 2)})
    verdict = turned(both_bad, (1, 0), aspects=ASPECTS)
    task = labelling_task(assignment(), aspects=ASPECTS, given=entry(verdict))
    assert task.given == both_bad
    skipped = labelling_task(
        assignment(),
        aspects=ASPECTS,
        given=entry(turned(PlacedVerdict("skipped"), (1, 0)), skip_reason="unsure"),
    ).given
    assert asdict(skipped)["skip_reason"] == "unsure"


@pytest.mark.parametrize("ranks", [(1,), (1, 2, 3), (0, 1), (1, 3), (-1, 2)])
def test_ranks_that_do_not_fit_the_answers_are_refused(ranks):
    with pytest.raises(DataError, match=r"ranks is \[.*\] for 2 answers\. Expected one rank for each"):
        turned(PlacedVerdict("ranked", ranks), (0, 1), aspects=())
    with pytest.raises(DataError, match=r"style is \[.*\] for 2 answers"):
        turned(PlacedVerdict("both_bad", aspects={"style": ranks}), (0, 1), aspects=ASPECTS)


def test_an_aspect_that_is_not_asked_is_refused():
    with pytest.raises(DataError, match=r"Aspect 'smell' is not asked here\. Expected one of: factuality, style\."):
        turned(PlacedVerdict("ranked", (1, 2), aspects={"smell": (1, 2)}), (0, 1), aspects=ASPECTS)
    with pytest.raises(DataError, match="Expected one of: none"):
        turned(PlacedVerdict("ranked", (1, 2), aspects={"smell": (1, 2)}), (0, 1), aspects=())


@pytest.mark.parametrize(("outcome", "ranks"), [("ranked", ()), ("both_bad", (1, 2)), ("skipped", (1, 2))])
def test_only_a_ranking_has_ranks(outcome, ranks):
    with pytest.raises(DataError, match=f"A verdict of {outcome} came with {len(ranks)} ranks"):
        turned(PlacedVerdict(outcome, ranks), (0, 1), aspects=())


@pytest.mark.parametrize(("outcome", "ranks"), [("ranked", (1, 1)), ("ranked", (1, 2, 3)), ("both_bad", ())])
def test_strength_needs_a_winner_of_two(outcome, ranks):
    with pytest.raises(DataError, match="Strength 'much' came with ranks"):
        turned(PlacedVerdict(outcome, ranks, strength="much"), range(len(ranks) or 2), aspects=())
