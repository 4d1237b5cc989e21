"""The pure rules of giving out tasks: purposes, places, the sampling policy and its propensities, widening."""

import itertools
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kleash.collection.assignment import (
    Pick,
    next_purpose,
    pick_item,
    pick_place,
    presented_order,
    wants_another_rater,
)
from kleash.collection.campaign import CampaignSettings
from kleash.records import Judgement

PRIORITIES = {11: 0.0, 12: 0.5, 13: 2.0, 14: 2.0, 15: 1.5}
NUM_PICKS = 20_000


def settings_of(**fields):
    return CampaignSettings(**{"gold_share": 0.0, "repeat_share": 0.0, **fields})


# ------------------------------------------------------------------------------------------------------------ purposes
def purposes(settings, *, num_tasks=4000):
    return Counter(next_purpose(settings, seed="s", rater="ann", num_tasks=number) for number in range(num_tasks))


def test_each_purpose_comes_at_its_share():
    counts = purposes(settings_of(gold_share=0.1, repeat_share=0.25))
    # Five standard deviations of a share of .25 over 4,000 draws are .034.
    assert abs(counts["gold"] / 4000 - 0.1) < 0.034
    assert abs(counts["repeat"] / 4000 - 0.25) < 0.034


def test_no_share_no_task_of_that_kind():
    assert purposes(settings_of()) == {"vote": 4000}


def test_when_calibration_items_come_differs_by_rater_and_by_the_secret_seed():
    settings = settings_of(gold_share=0.5)

    def places(**who):
        draw = {"seed": "s", "rater": "ann", **who}
        return [next_purpose(settings, num_tasks=number, **draw) for number in range(64)]

    assert places() == places()
    assert places(rater="bob") != places() != places(seed="another")


# -------------------------------------------------------------------------------------------------------------- places
@given(num_answers=st.integers(2, 8), seed=st.text(), rater=st.text(), item_id=st.integers(1, 10**6))
def test_an_order_shows_every_answer_once_and_a_repeat_reverses_it(num_answers, seed, rater, item_id):
    order = presented_order(num_answers, seed=seed, rater=rater, item_id=item_id)
    assert sorted(order) == list(range(num_answers))
    assert order == presented_order(num_answers, seed=seed, rater=rater, item_id=item_id)
    repeat = presented_order(num_answers, seed=seed, rater=rater, item_id=item_id, earlier=order)
    assert repeat == order[::-1]


def test_every_order_is_as_likely():
    counts = Counter(presented_order(3, seed="s", rater="ann", item_id=item_id) for item_id in range(6000))
    assert set(counts) == set(itertools.permutations(range(3)))
    # 1,000 of each expected, standard deviation 29.
    assert all(abs(count - 1000) < 150 for count in counts.values())


# ------------------------------------------------------------------------------------------------------------ sampling
def slow_share(item, priorities, settings):
    """How likely an item is to be picked, added up arm by arm as the docstring of pick_item says."""
    uniform = 1 / len(priorities)
    if settings.sampling == "suspects":
        best = max(priorities.values())
        by_policy = float(priorities[item] == best) / list(priorities.values()).count(best)
    elif sum(priorities.values()) == 0:
        by_policy = uniform
    else:
        by_policy = priorities[item] / sum(priorities.values())
    return settings.control_share * uniform + (1 - settings.control_share) * by_policy


@pytest.mark.parametrize("sampling", ["uncertain", "suspects"])
@pytest.mark.parametrize("priorities", [PRIORITIES, dict.fromkeys(PRIORITIES, 0.0)], ids=["some", "none"])
def test_the_logged_propensity_is_how_often_the_item_is_picked(sampling, priorities):
    settings = settings_of(sampling=sampling, control_share=0.3)
    chance = random.Random(5)
    picks = [pick_item(priorities, settings, chance=chance) for _ in range(NUM_PICKS)]
    counts = Counter(pick.item_id for pick in picks)
    for item in priorities:
        # Five standard deviations of any share over 20,000 picks are at most .018.
        assert abs(counts[item] / NUM_PICKS - slow_share(item, priorities, settings)) < 0.018
    for pick in picks:
        assert pick.propensity == pytest.approx(slow_share(pick.item_id, priorities, settings))


def test_the_control_arm_is_uniform_and_has_its_share():
    settings = settings_of(sampling="uncertain", control_share=0.3)
    chance = random.Random(6)
    picks = [pick_item(PRIORITIES, settings, chance=chance) for _ in range(NUM_PICKS)]
    control = Counter(pick.item_id for pick in picks if pick.arm == "control")
    assert abs(control.total() / NUM_PICKS - 0.3) < 0.017
    assert all(abs(control[item] / control.total() - 0.2) < 0.026 for item in PRIORITIES)


def test_one_over_the_propensity_reweights_the_sample_to_all_items():
    settings = settings_of(sampling="uncertain", control_share=0.3)
    chance = random.Random(7)
    value = {item: float(item) for item in PRIORITIES}
    picks = [pick_item(PRIORITIES, settings, chance=chance) for _ in range(NUM_PICKS)]
    estimate = sum(value[pick.item_id] / pick.propensity for pick in picks) / NUM_PICKS / len(PRIORITIES)
    assert estimate == pytest.approx(sum(value.values()) / len(value), rel=0.03)


def test_without_a_policy_every_place_is_picked_as_often():
    chance = random.Random(8)
    counts = Counter(pick_place(8, chance=chance) for _ in range(16_000))
    assert sorted(counts) == [(index, 1 / 8) for index in range(8)]
    # 2,000 of each expected, standard deviation 42.
    assert all(abs(count - 2000) < 210 for count in counts.values())


@given(
    priorities=st.dictionaries(st.integers(1, 99), st.floats(0, 1e6), min_size=1, max_size=12),
    sampling=st.sampled_from(["uncertain", "suspects"]),
    control_share=st.floats(0, 1),
    seed=st.integers(),
)
def test_a_pick_is_among_the_waiting_with_a_probability_above_zero(priorities, sampling, control_share, seed):
    settings = settings_of(sampling=sampling, control_share=control_share)
    pick = pick_item(priorities, settings, chance=random.Random(seed))
    assert isinstance(pick, Pick)
    assert pick.item_id in priorities
    assert 0 < pick.propensity <= 1 + 1e-9
    assert pick.propensity == pytest.approx(slow_share(pick.item_id, priorities, settings))


# ------------------------------------------------------------------------------------------------------------ widening
def verdicts(*ranks):
    return [
        Judgement("c", f"rater {number}", "person", (0, 1), "ranked" if given else "both_bad", ranks=given)
        for number, given in enumerate(ranks)
    ]


FIRST, SECOND, TIE, BOTH_BAD = (1, 2), (2, 1), (1, 1), ()


@pytest.mark.parametrize(
    ("given", "wants"),
    [
        ((FIRST, FIRST), False),
        ((FIRST, SECOND), True),
        ((FIRST, FIRST, SECOND), True),
        ((FIRST, FIRST, FIRST, SECOND), False),
        ((FIRST, TIE, BOTH_BAD), True),
        ((BOTH_BAD, BOTH_BAD), False),
        ((FIRST,), False),
        ((), False),
    ],
)
def test_more_raters_where_no_verdict_has_more_than_two_thirds(given, wants):
    settings = settings_of(overlap=2, max_overlap=9)
    assert wants_another_rater(verdicts(*given), settings, overlap=len(given)) is wants


@given(st.lists(st.sampled_from([FIRST, SECOND, TIE, BOTH_BAD]), max_size=9), st.integers(0, 6), st.integers(1, 9))
def test_never_beyond_the_maximum_and_never_for_the_order_of_verdicts(given, max_overlap, overlap):
    settings = settings_of(overlap=1, max_overlap=max_overlap)
    wants = wants_another_rater(verdicts(*given), settings, overlap=overlap)
    assert not (wants and overlap >= max_overlap)
    assert wants == wants_another_rater(verdicts(*reversed(given)), settings, overlap=overlap)
