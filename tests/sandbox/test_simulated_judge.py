"""The simulated judge: as right as it is said to be, worse after its good time, in however many parts it is asked."""

import random

import pytest

from kleash.records import Comparison, Prompt
from kleash.sandbox.demonstrations import MIXED, write_answer
from kleash.sandbox.gold import gold_reward
from kleash.sandbox.labellers import SimulatedJudge
from kleash.sandbox.world import draw_questions


@pytest.fixture(scope="module")
def comparisons():
    chance = random.Random(0)
    drawn = [
        Comparison(asked.prompt, tuple(write_answer(asked.question, MIXED, chance) for _ in range(2)))
        for asked in draw_questions(900, seed=0)
    ]
    return [one for one in drawn if len({gold_of(one, index) for index in (0, 1)}) == 2]


def gold_of(comparison, index):
    return gold_reward(comparison.prompt.text, comparison.completions[index]).total


def is_right(comparison, judgement):
    return (judgement.ranks[0] < judgement.ranks[1]) == (gold_of(comparison, 0) > gold_of(comparison, 1))


def judge(**settings):
    return SimulatedJudge(**{"accuracy": 0.9, "accuracy_after": 0.3, "degrades_after": 400, "seed": 0, **settings})


def test_it_is_right_as_often_as_it_is_said_to_be_and_then_less(comparisons):
    rights = [is_right(one, said) for one, said in zip(comparisons, judge().compare(comparisons), strict=True)]
    assert sum(rights[:400]) / 400 == pytest.approx(0.9, abs=0.05)
    assert sum(rights[400:]) / len(rights[400:]) == pytest.approx(0.3, abs=0.08)


def test_a_judge_that_never_degrades_stays(comparisons):
    said = judge(degrades_after=None).compare(comparisons)
    rights = [is_right(one, verdict) for one, verdict in zip(comparisons, said, strict=True)]
    assert sum(rights[400:]) / len(rights[400:]) == pytest.approx(0.9, abs=0.05)


def test_told_how_many_it_has_judged_it_goes_on_as_it_would_have(comparisons):
    whole = list(judge().compare(comparisons[380:420]))
    assert [*judge().compare(comparisons[380:400]), *judge(num_judged=20).compare(comparisons[400:420])] == whole
    asked_before = list(judge(num_judged=380).compare(comparisons[380:420]))
    assert asked_before[:20] == whole[:20]
    assert asked_before[20:] != whole[20:]


def test_it_is_an_ai_rater_whose_name_does_not_tell_that_it_changed(comparisons):
    [said] = judge().compare(comparisons[:1])
    assert (said.rater_kind, said.outcome) == ("ai", "ranked")
    assert said.rater == judge(degrades_after=None).name != judge(seed=1).name


def test_one_answer_in_other_words_is_a_tie():
    twice = Comparison(Prompt("what do bees make?"), ("it is honey.", "it is honey."))
    assert next(judge().compare([twice])).ranks == (1, 1)
