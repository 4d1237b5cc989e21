"""Giving out tasks: slots, leases, skips, calibration items, repeats and reserved slots, in both databases."""

import dataclasses
from collections import Counter

import pytest
import sqlalchemy as sa

from collection.made_campaigns import (
    NOON,
    ONLY_VOTES,
    answer,
    claim_one,
    comparison,
    judgement,
    make_campaign,
    make_rater,
    minutes,
    skip,
)
from kleash.collection.campaign import CampaignSettings
from kleash.collection.store import tables as t
from kleash.collection.store.assignments import assignment, claim, last_answered, open_adjudication, renew
from kleash.collection.store.campaigns import add_items, campaign_named, create_campaign, items, set_hold, set_state
from kleash.collection.store.judgements import judgements_in_force
from kleash.collection.store.raters import demote, rater_named
from kleash.collection.store.recording import record
from kleash.errors import DataError

BEYOND_THE_LEASE = NOON + minutes(21)


def rows(database, query):
    with database.read() as connection:
        return connection.execute(query).all()


# ------------------------------------------------------------------------------------------------------------- slots
def test_an_item_is_given_to_as_many_raters_as_it_is_to_have(database):
    campaign = make_campaign(database, num_items=1, overlap=2)
    tasks = [claim_one(database, campaign, make_rater(database, name)) for name in ("ann", "bob", "cyd")]
    assert [task is not None for task in tasks] == [True, True, False]
    assert len({task.id for task in tasks[:2]}) == 2


def test_nobody_has_the_same_item_twice(database):
    campaign = make_campaign(database, num_items=3, overlap=2)
    ann = make_rater(database, "ann")
    seen = []
    while (task := claim_one(database, campaign, ann)) is not None:
        seen.append(task.item_id)
        answer(database, campaign, task, ann)
    assert len(seen) == len(set(seen)) == 3


def test_begun_items_are_finished_before_others_are_begun(database):
    campaign = make_campaign(database, num_items=10, overlap=3)
    tasks = [claim_one(database, campaign, make_rater(database, f"rater {number}")) for number in range(6)]
    assert sorted(Counter(task.item_id for task in tasks).values()) == [3, 3]


def test_asking_again_returns_the_same_tasks_in_the_same_order(database):
    # Six at once: two tasks would be in the right order by chance every second time.
    campaign = make_campaign(database, num_items=8, overlap=1)
    ann = make_rater(database, "ann")
    with database.write() as connection:
        given = claim(connection, campaign, ann, limit=6, at=NOON)
    with database.write() as connection:
        again = claim(connection, campaign, ann, limit=6, at=NOON + minutes(1))
    assert again == given
    assert len(given) == 6


def test_a_smaller_limit_returns_the_first_of_the_tasks_held(database):
    campaign = make_campaign(database, num_items=5)
    ann = make_rater(database, "ann")
    with database.write() as connection:
        given = claim(connection, campaign, ann, limit=3, at=NOON)
        assert claim(connection, campaign, ann, limit=1, at=NOON) == given[:1]


def test_the_target_ends_the_beginning_of_items(database):
    campaign = make_campaign(database, num_items=5, overlap=1, target_items=2)
    given = [claim_one(database, campaign, make_rater(database, f"rater {number}")) for number in range(4)]
    assert [task is not None for task in given] == [True, True, False, False]


def test_a_held_item_is_given_to_nobody_not_even_to_who_holds_it(database):
    campaign = make_campaign(database, num_items=2, overlap=2)
    ann, bob = make_rater(database, "ann"), make_rater(database, "bob")
    held = claim_one(database, campaign, ann)
    with database.write() as connection:
        set_hold(connection, campaign, held.item_id, "names a model", actor="test")
    assert claim_one(database, campaign, ann).item_id != held.item_id
    assert claim_one(database, campaign, bob).item_id != held.item_id
    with database.write() as connection:
        set_hold(connection, campaign, held.item_id, "", actor="test")
        assert held.id in {task.id for task in claim(connection, campaign, ann, limit=2, at=NOON)}


# ------------------------------------------------------------------------------------------------------------ leases
def test_a_slot_whose_lease_ran_out_goes_to_whoever_asks_next(database):
    campaign = make_campaign(database, num_items=1, overlap=1)
    ann, bob = make_rater(database, "ann"), make_rater(database, "bob")
    assert claim_one(database, campaign, ann) is not None
    assert claim_one(database, campaign, bob, at=NOON + minutes(19)) is None
    assert claim_one(database, campaign, bob, at=BEYOND_THE_LEASE) is not None
    assert claim_one(database, campaign, ann, at=BEYOND_THE_LEASE) is None


def test_a_lease_that_ran_out_is_still_its_holders_until_somebody_asks(database):
    campaign = make_campaign(database, num_items=1, overlap=1)
    ann = make_rater(database, "ann")
    task = claim_one(database, campaign, ann)
    assert claim_one(database, campaign, ann, at=BEYOND_THE_LEASE) == task
    assert not answer(database, campaign, task, ann, at=BEYOND_THE_LEASE + minutes(60)).is_surplus


def test_a_heartbeat_keeps_the_lease_and_counts_what_is_held(database):
    campaign = make_campaign(database, num_items=1, overlap=1)
    ann, bob = make_rater(database, "ann"), make_rater(database, "bob")
    claim_one(database, campaign, ann)
    with database.write() as connection:
        assert renew(connection, campaign, ann, at=NOON + minutes(15)) == 1
    assert claim_one(database, campaign, bob, at=NOON + minutes(30)) is None
    assert claim_one(database, campaign, bob, at=NOON + minutes(36)) is not None
    with database.write() as connection:
        assert renew(connection, campaign, ann, at=NOON + minutes(37)) == 0


def test_who_lost_the_lease_gets_the_task_back_when_a_slot_is_free(database):
    campaign = make_campaign(database, num_items=1, overlap=1)
    ann, bob = make_rater(database, "ann"), make_rater(database, "bob")
    lost = claim_one(database, campaign, ann)
    taken = claim_one(database, campaign, bob, at=BEYOND_THE_LEASE)
    skip(database, campaign, taken, bob, at=BEYOND_THE_LEASE)
    assert claim_one(database, campaign, ann, at=BEYOND_THE_LEASE) == lost


# ------------------------------------------------------------------------------------------------------------- skips
def test_a_skip_frees_the_slot_and_its_rater_never_sees_the_item_again(database):
    campaign = make_campaign(database, num_items=1, overlap=1)
    ann, bob = make_rater(database, "ann"), make_rater(database, "bob")
    receipt = skip(database, campaign, claim_one(database, campaign, ann), ann)
    assert not receipt.is_surplus
    assert claim_one(database, campaign, ann, at=BEYOND_THE_LEASE) is None
    answer(database, campaign, claim_one(database, campaign, bob), bob)
    with database.read() as connection:
        given = judgements_in_force(connection, campaign)
    assert [(entry.judgement.rater, entry.is_vote) for entry in given] == [("ann", False), ("bob", True)]


# ---------------------------------------------------------------------------------------------------- paused, demoted
@pytest.mark.parametrize("state", ["paused", "closed"])
def test_a_campaign_that_is_not_open_gives_out_nothing_and_takes_answers(database, state):
    campaign = make_campaign(database, num_items=2)
    ann = make_rater(database, "ann")
    task = claim_one(database, campaign, ann)
    with database.write() as connection:
        set_state(connection, campaign, state, actor="test")
        stopped = campaign_named(connection, campaign.name)
    assert claim_one(database, stopped, ann) is None
    assert claim_one(database, campaign, ann) is None, "also to somebody who read the campaign before it was stopped"
    assert not answer(database, stopped, task, ann).is_surplus
    with database.write() as connection:
        set_state(connection, stopped, "open", actor="test")
    assert claim_one(database, campaign, ann) is not None


def test_a_demoted_rater_gets_nothing(database):
    campaign = make_campaign(database)
    make_rater(database, "ann")
    with database.write() as connection:
        demote(connection, "ann", "left its band", actor="test")
        demoted = rater_named(connection, "ann", "person")
        assert claim(connection, campaign, demoted, at=NOON) == []
        demote(connection, "ann", "", actor="test")
        assert claim(connection, campaign, rater_named(connection, "ann", "person"), at=NOON)


# ---------------------------------------------------------------------------------------------------- reserved slots
def test_slots_kept_for_people_and_slots_of_ai_judges_never_mix(database):
    campaign = make_campaign(database, num_items=1, overlap=2, people_share=1.0, people_overlap=1)
    machines = [make_rater(database, f"machine {number}", "ai") for number in range(3)]
    people = [make_rater(database, f"person {number}") for number in range(2)]
    assert [claim_one(database, campaign, each) is not None for each in machines] == [True, True, False]
    assert [claim_one(database, campaign, each) is not None for each in people] == [True, False]


def test_an_ai_judge_that_lost_its_lease_takes_no_slot_of_a_person(database):
    campaign = make_campaign(database, num_items=1, overlap=1, people_share=1.0, people_overlap=1)
    early, late = make_rater(database, "early", "ai"), make_rater(database, "late", "ai")
    claim_one(database, campaign, early)
    claim_one(database, campaign, late, at=BEYOND_THE_LEASE)
    assert claim_one(database, campaign, early, at=BEYOND_THE_LEASE) is None
    assert claim_one(database, campaign, make_rater(database, "ann"), at=BEYOND_THE_LEASE) is not None


def test_recorded_ai_verdicts_leave_the_slots_of_people_free(database):
    campaign = make_campaign(database, num_items=1, overlap=1, people_share=1.0, people_overlap=1)
    with database.write() as connection:
        record(connection, campaign, [judgement(0, f"machine {number}") for number in range(3)], at=NOON)
        is_surplus = [entry.is_surplus for entry in judgements_in_force(connection, campaign)]
    assert is_surplus == [False, True, True]
    assert claim_one(database, campaign, make_rater(database, "ann")) is not None


def test_about_the_given_share_of_items_is_kept_for_people_as_well(database):
    campaign = make_campaign(database, num_items=400, overlap=1, people_share=0.25, people_overlap=2)
    kinds = Counter(row.reserved_for for row in rows(database, sa.select(t.slots)))
    assert kinds["ai"] == 400
    assert kinds["person"] % 2 == 0
    assert 60 <= kinds["person"] / 2 <= 140
    with database.read() as connection:
        assert sum(item.overlap for item in items(connection, campaign).values()) == kinds.total()


# -------------------------------------------------------------------------------------------------- gold and repeats
def work_through(database, campaign, rater, num_tasks):
    """Claim and answer one task after the other, a minute apart, and return the tasks."""
    tasks = []
    for number in range(num_tasks):
        task = claim_one(database, campaign, rater, at=NOON + minutes(number))
        answer(database, campaign, task, rater, at=NOON + minutes(number))
        tasks.append(task)
    return tasks


def test_calibration_items_come_at_their_share_and_once_per_rater(database):
    campaign = make_campaign(database, num_items=150, num_gold=60, overlap=1, gold_share=0.3)
    tasks = work_through(database, campaign, make_rater(database, "ann"), 120)
    gold = [task.item_id for task in tasks if task.purpose == "gold"]
    assert len(gold) == len(set(gold))
    assert 22 <= len(gold) <= 50
    with database.read() as connection:
        is_gold = {item_id: item.is_gold for item_id, item in items(connection, campaign).items()}
    assert all(is_gold[task.item_id] == (task.purpose == "gold") for task in tasks)


def test_calibration_items_run_out_and_ordinary_ones_follow(database):
    campaign = make_campaign(database, num_items=20, num_gold=2, overlap=1, gold_share=0.9)
    tasks = work_through(database, campaign, make_rater(database, "ann"), 12)
    assert Counter(task.purpose for task in tasks) == {"gold": 2, "vote": 10}


def test_when_the_items_are_used_up_no_calibration_item_or_repeat_keeps_the_rater(database):
    campaign = make_campaign(database, num_items=2, num_gold=50, overlap=1, gold_share=0.1, repeat_share=0.8)
    ann = make_rater(database, "ann")
    purposes = []
    while (task := claim_one(database, campaign, ann, at=NOON + minutes(len(purposes)))) is not None:
        answer(database, campaign, task, ann, at=NOON + minutes(len(purposes)))
        purposes.append(task.purpose)
    assert purposes.count("vote") == 2
    assert purposes[-1] == "vote"


def test_a_repeat_shows_an_earlier_answered_item_reversed_after_the_gap_and_once(database):
    campaign = make_campaign(database, num_items=60, overlap=1, repeat_share=0.4, repeat_gap=7)
    tasks = work_through(database, campaign, make_rater(database, "ann"), 60)
    first_places = {task.item_id: index for index, task in enumerate(tasks) if task.purpose == "vote"}
    repeats = [(index, task) for index, task in enumerate(tasks) if task.purpose == "repeat"]
    assert len(repeats) > 10
    assert len({task.item_id for _, task in repeats}) == len(repeats)
    for index, task in repeats:
        original = first_places[task.item_id]
        assert index - original >= 7
        assert task.permutation == tuple(reversed(tasks[original].permutation))


def test_an_item_whose_answer_was_taken_back_for_a_skip_is_not_repeated(database):
    campaign = make_campaign(database, num_items=30, overlap=1, repeat_share=0.9, repeat_gap=1)
    ann = make_rater(database, "ann")
    tasks = work_through(database, campaign, ann, 3)
    for task in tasks:
        skip(database, campaign, task, ann)
    with database.write() as connection:
        given = claim(connection, campaign, ann, limit=10, at=NOON + minutes(10))
    assert {task.purpose for task in given} == {"vote"}


def test_places_differ_between_raters_and_stay_as_they_are_for_one(database):
    campaign = make_campaign(database, num_items=1, overlap=40)
    raters = [make_rater(database, f"rater {number}") for number in range(40)]
    orders = {rater.name: claim_one(database, campaign, rater).permutation for rater in raters}
    assert set(orders.values()) == {(0, 1), (1, 0)}
    assert {rater.name: claim_one(database, campaign, rater).permutation for rater in raters} == orders


# ------------------------------------------------------------------------------------------------------ single tasks
def test_a_task_is_found_by_its_token_and_by_its_rater_only(database):
    campaign = make_campaign(database)
    ann, bob = make_rater(database, "ann"), make_rater(database, "bob")
    task = claim_one(database, campaign, ann)
    with database.read() as connection:
        assert assignment(connection, task.id, ann) == task
        for token, rater in [(task.id, bob), ("nonsense", ann), ("null \x00", ann), ("\ud800", ann), ("", ann)]:
            with pytest.raises(DataError, match=r"no task .* of yours.*Ask for the next one"):
                assignment(connection, token, rater)


def test_the_last_answered_task_is_the_one_to_take_back(database):
    campaign = make_campaign(database)
    ann, bob = make_rater(database, "ann"), make_rater(database, "bob")
    with database.read() as connection:
        assert last_answered(connection, campaign, ann) is None
    for _ in range(2):
        task = claim_one(database, campaign, ann)
        answer(database, campaign, task, ann)
    answer(database, campaign, claim_one(database, campaign, bob), bob)
    with database.read() as connection:
        assert last_answered(connection, campaign, ann) == dataclasses.replace(task, is_answered=True)


def test_an_adjudicator_rules_on_an_item_beside_its_raters(database):
    campaign = make_campaign(database, num_items=1, overlap=1)
    ann, judge = make_rater(database, "ann"), make_rater(database, "judge")
    task = claim_one(database, campaign, ann)
    answer(database, campaign, task, ann)
    with database.write() as connection:
        ruling = open_adjudication(connection, campaign, task.item_id, judge)
        assert open_adjudication(connection, campaign, task.item_id, judge) == ruling
    assert ruling.purpose == "adjudication"
    assert claim_one(database, campaign, judge) is None, "a ruling is not among the tasks given out"
    assert not answer(database, campaign, ruling, judge, (2, 1)).is_surplus
    with database.read() as connection:
        given = judgements_in_force(connection, campaign)
    assert [(each.is_adjudication, each.is_vote) for each in given] == [(False, True), (True, False)]


def test_an_item_that_a_rater_ruled_on_before_anybody_had_it_is_begun_by_others_only(database):
    campaign = make_campaign(database, num_items=1, overlap=1)
    judge = make_rater(database, "judge")
    with database.write() as connection:
        open_adjudication(connection, campaign, next(iter(items(connection, campaign))), judge)
    assert claim_one(database, campaign, judge) is None
    with database.read() as connection:
        assert [item.arm for item in items(connection, campaign).values()] == [None]
    assert claim_one(database, campaign, make_rater(database, "ann")) is not None


@pytest.mark.parametrize("item_id", ["99", "-1", "x", "9" * 40, "²"])
def test_no_ruling_on_an_item_that_the_campaign_does_not_have(database, item_id):
    campaign = make_campaign(database)
    with (
        database.write() as connection,
        pytest.raises(DataError, match=r"'trial' has no item .*Give the id of one of its items"),
    ):
        open_adjudication(connection, campaign, item_id, rater_named(connection, "judge", "person"))


# --------------------------------------------------------------------------------------------------------- sampling
def test_what_begins_an_item_is_logged_with_it(database):
    campaign = make_campaign(database, num_items=5, overlap=1)
    task = claim_one(database, campaign, make_rater(database, "ann"))
    with database.read() as connection:
        begun = [item for item in items(connection, campaign).values() if item.arm]
    assert [(item.id, item.arm, item.propensity) for item in begun] == [(task.item_id, "control", 0.2)]


@pytest.mark.slow
@pytest.mark.parametrize(("sampling", "share"), [("random", 0.25), ("uncertain", 0.2 / 4 + 0.8 * 0.6)])
def test_over_many_campaigns_an_item_is_begun_as_often_as_is_logged(database, sampling, share):
    """The seed is the chance: 200 campaigns of four items, the last of which has .6 of the priority."""
    ann = make_rater(database, "ann")
    first = {}
    with database.write() as connection:
        for number in range(200):
            settings = CampaignSettings(sampling=sampling, **ONLY_VOTES)
            campaign = create_campaign(connection, f"{number}", settings, seed=f"seed {number}", actor="test")
            comparisons = [comparison(index) for index in range(4)]
            priorities = {each.id: priority for each, priority in zip(comparisons, (1, 1, 2, 6), strict=True)}
            add_items(connection, campaign, comparisons, priorities=priorities, actor="test")
            [task] = claim(connection, campaign, ann, at=NOON)
            begun = items(connection, campaign)[task.item_id]
            first[number] = (begun.comparison, begun.propensity)
    last = [propensity for begun, propensity in first.values() if begun == comparison(3)]
    assert {round(propensity, 9) for propensity in last} == {round(share, 9)}
    # Five standard deviations of a share over 200 campaigns are .177.
    assert abs(len(last) / 200 - share) < 0.177
