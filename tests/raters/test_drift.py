"""Drift of a judge that labels: rolling figures, the look that finds it, and the change point that says since when."""

import math
import random

import pytest

from kleash.raters.drift import DriftSettings, JudgedFact, change_point, facts_of, find_drift, looks
from kleash.raters.monitoring import BandSettings, majority_choices
from kleash.records import Comparison, Judgement, Prompt

BAND = BandSettings(min_n=20)
SETTINGS = DriftSettings(window=30, every=10)
RIGHT, WRONG = (1, 2), (2, 1)
ANSWERS = ("right", "wrong")  # of one length: taste for length is tested by itself


def comparison(number):
    return Comparison(Prompt(f"q{number}"), ANSWERS)


def said(number, ranks, *, rater="m@1", kind="ai", flags=(), outcome="ranked"):
    return Judgement(comparison(number).id, rater, kind, (0, 1), outcome, ranks, flags=flags)


def history(rights, *, shared=lambda number: True, flags=lambda number: ()):
    """Return the facts of a judge that was right or not, beside people who always are, on the items they share."""
    verdicts = [
        said(number, RIGHT if is_right else WRONG, flags=flags(number)) for number, is_right in enumerate(rights)
    ]
    people = [said(number, RIGHT, rater="anna", kind="person") for number in range(len(rights)) if shared(number)]
    return facts_of(verdicts, majority_choices(people), {comparison(n).id: comparison(n) for n in range(len(rights))})


def drift_of(rights, *, is_over=False, settings=SETTINGS, num_verdicts=None, **more):
    num = len(rights) if num_verdicts is None else num_verdicts
    facts = history(rights, **more)
    return find_drift("m@1", facts, num_verdicts=num, band=BAND, settings=settings, is_over=is_over)


# --------------------------------------------------------------------------------------------------------------- facts
def test_a_verdict_adds_what_it_shows_and_nothing_else():
    verdicts = [
        said(0, RIGHT),
        said(1, WRONG),
        said(2, (), outcome="skipped"),
        said(3, (1, 1), flags=("position_flip",)),
        said(4, RIGHT),
    ]
    people = [said(number, RIGHT, rater="anna", kind="person") for number in (0, 1, 2, 3)]
    facts = facts_of(verdicts, majority_choices(people), {})
    assert facts["agreement_without_ties"] == [JudgedFact(0, 1.0), JudgedFact(1, 0.0)]
    assert facts["flip_rate"] == [JudgedFact(0, 0.0), JudgedFact(1, 0.0), JudgedFact(3, 1.0), JudgedFact(4, 0.0)]


def test_looks_come_every_few_verdicts_and_rest_on_the_latest_shared_items():
    facts = history([True] * 20 + [False] * 25, shared=lambda number: number % 2 == 0)
    seen = looks("m@1", facts, num_verdicts=45, settings=DriftSettings(window=5, every=20), is_over=True)
    assert [look.num_verdicts for look in seen] == [20, 40, 45]
    agreement = [look.figures.agreement_without_ties for look in seen]
    assert [(one.value, one.n) for one in agreement] == [(1.0, 5), (0.0, 5), (0.0, 5)]
    assert [look.num_verdicts for look in looks("m@1", facts, num_verdicts=45, settings=SETTINGS, is_over=False)] == [
        10,
        20,
        30,
        40,
    ]


# --------------------------------------------------------------------------------------------------------------- drift
def test_a_judge_that_turns_is_found_and_the_turn_is_dated():
    drift = drift_of([True] * 60 + [False] * 60)
    # At 80, twenty of the last thirty are wrong: 33 % with an interval up to 51 %.  At 70, ten are: up to 81 %.
    assert (drift.found_after, drift.began_after) == (80, 60)
    [reason] = drift.reasons
    assert "agreement with people (ties left out) 33.3% is below 65.0%, decided by the whole interval" in reason


def test_verdicts_up_to_the_last_good_shared_one_are_kept():
    drift = drift_of([True] * 90 + [False] * 90, shared=lambda number: number % 3 == 0)
    assert drift.began_after == 88  # the last of its good time that people share is number 87


def test_a_judge_bad_from_the_start_never_had_a_good_time():
    drift = drift_of([False] * 60)
    assert (drift.found_after, drift.began_after) == (20, 0)


def test_flips_are_drift_without_any_people():
    drift = drift_of(
        [True] * 100, shared=lambda number: False, flags=lambda number: ("position_flip",) if number >= 50 else ()
    )
    assert drift.began_after == 50
    assert "flip rate" in drift.reasons[0]


def test_a_judge_with_a_growing_taste_for_length_is_found_without_any_people():
    pairs = [Comparison(Prompt(f"q{number}"), ("brief", "much longer")) for number in range(100)]
    verdicts = [
        Judgement(pair.id, "m@1", "ai", (0, 1), "ranked", (1 + (number >= 50), 2 - (number >= 50)))
        for number, pair in enumerate(pairs)
    ]
    facts = facts_of(verdicts, {}, {pair.id: pair for pair in pairs})
    assert facts["length_preference"][49:51] == [JudgedFact(49, 0.0), JudgedFact(50, 1.0)]
    drift = find_drift("m@1", facts, num_verdicts=100, band=BAND, settings=SETTINGS, is_over=False)
    assert drift.began_after == 50
    assert "preference for the longer answer" in drift.reasons[0]


def test_a_steady_judge_stays_although_some_look_is_below_the_band():
    chance = random.Random(0)
    lowest = 1.0
    for _ in range(20):
        rights = [chance.random() < 0.8 for _ in range(300)]
        seen = looks("m@1", history(rights), num_verdicts=300, settings=SETTINGS, is_over=True)
        lowest = min(lowest, *(look.figures.agreement_without_ties.value for look in seen))
        assert drift_of(rights) is None
    assert lowest < BAND.min_agreement


def test_the_first_look_that_finds_it_stays_the_first():
    rights = [True] * 60 + [False] * 60
    found = drift_of(rights)
    for num in range(80, 121):
        assert drift_of(rights[:num], num_verdicts=num, is_over=True) == found
    assert drift_of(rights[:79]) is None


# -------------------------------------------------------------------------------------------------------- change point
def test_a_clean_change_is_where_it_is():
    assert change_point([1.0] * 12 + [0.0] * 8, worse_is_more=False) == 12
    assert change_point([0.0] * 12 + [1.0] * 8, worse_is_more=True) == 12


def test_a_change_for_the_better_is_none():
    assert change_point([0.0] * 12 + [1.0] * 8, worse_is_more=False) == 0


@pytest.mark.parametrize("values", [[], [1.0], [0.0], [1.0] * 9, [1.0, 0.0, 1.0]])
def test_too_little_to_tell_is_no_change(values):
    assert change_point(values, worse_is_more=False) == 0


def test_the_change_point_is_that_of_all_splits_tried_one_by_one():
    chance = random.Random(1)

    def likelihood(part):
        rate = sum(part) / len(part)
        return sum(math.log(rate if value else 1 - rate) for value in part)

    def by_hand(values):
        splits = {0: likelihood(values) + math.log(len(values))}
        for k in range(1, len(values)):
            before, after = values[:k], values[k:]
            if sum(after) / len(after) <= sum(before) / len(before):
                splits[k] = likelihood(before) + likelihood(after)
        return max(splits, key=splits.get)

    found = []
    for _ in range(40):
        values = [float(chance.random() < (0.8 if index < 30 else 0.3)) for index in range(60)]
        found.append(change_point(values, worse_is_more=False))
        assert found[-1] == by_hand(values)
        # Named the other way round, it is the same change.
        assert change_point([1 - value for value in values], worse_is_more=True) == found[-1]
    assert 25 < sum(found) / len(found) < 35
