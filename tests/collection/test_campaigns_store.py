"""Campaigns, rubrics, items and raters in both databases; and the audit log that everything leaves a line in."""

import dataclasses
import threading

import pytest
import sqlalchemy as sa

from collection.made_campaigns import (
    NOON,
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
from kleash.collection.store.assignments import claim, open_adjudication, renew
from kleash.collection.store.campaigns import (
    add_items,
    campaign_by_id,
    campaign_named,
    campaigns,
    create_campaign,
    items,
    progress,
    record_origin,
    rubrics,
    set_hold,
    set_priorities,
    set_state,
    write_rubric,
)
from kleash.collection.store.events import events
from kleash.collection.store.judgements import judgements_in_force, record_export
from kleash.collection.store.raters import demote, rater_named, raters
from kleash.collection.store.recording import record
from kleash.errors import DataError
from kleash.records import Comparison, Prompt

UNKEEPABLE = ["null \x00", "lone \ud800", "", "   ", "two\nlines", "x" * 201]


# ----------------------------------------------------------------------------------------------------------- campaigns
def test_a_campaign_comes_out_as_it_went_in(database):
    settings = CampaignSettings(overlap=2, max_overlap=4, aspects=("truth",), sampling="suspects", people_share=0.5)
    with database.write() as connection:
        made = create_campaign(connection, "trial – 试验", settings, rubric="Say \x00 which.", seed="s", actor="ann")
        assert campaign_named(connection, "trial – 试验") == made
        assert campaign_by_id(connection, made.id) == made
        assert campaign_by_id(connection, made.id + 1) is None
        assert campaigns(connection) == [made]
    assert (made.settings, made.seed, made.rubric, made.state) == (settings, "s", "Say \x00 which.", "open")


def test_campaigns_without_a_seed_have_secret_ones_that_differ(database):
    seeds = {make_campaign(database, name=name, seed=None).seed for name in ("one", "two")}
    assert len(seeds) == 2
    assert all(len(seed) == 32 for seed in seeds)


@pytest.mark.parametrize("name", [*UNKEEPABLE, "a/b"])
def test_a_name_that_no_page_could_show_is_refused(database, name):
    with (
        database.write() as connection,
        pytest.raises(
            DataError, match=r"cannot be a campaign's name. Expected 1 to 200 printable.*Choose another name"
        ),
    ):
        create_campaign(connection, name, CampaignSettings(), actor="test")


def test_a_name_that_is_taken_is_refused_also_when_two_take_it_at_once(database):
    failures = []

    def make():
        try:
            make_campaign(database)
        except DataError as error:
            failures.append(str(error))

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == ["There is a campaign 'trial' already. Names are unique. Choose another name."] * 3
    with database.read() as connection:
        assert len(campaigns(connection)) == 1


@pytest.mark.parametrize("name", ["other", *UNKEEPABLE])
def test_an_unknown_campaign_is_named_with_those_there_are(database, name):
    with database.read() as connection, pytest.raises(DataError, match=r"There are: none. Correct the name"):
        campaign_named(connection, name)
    make_campaign(database, name="one")
    make_campaign(database, name="two")
    with database.read() as connection, pytest.raises(DataError, match=r"There are: one, two"):
        campaign_named(connection, name)


def test_the_present_rubric_is_the_last_and_judgements_keep_the_one_they_were_given_under(database):
    campaign = make_campaign(database, num_items=2)
    with database.write() as connection:
        record(connection, campaign, [judgement(0)], at=NOON)
        version = write_rubric(connection, campaign.id, "Another.", actor="ann")
        later = campaign_named(connection, "trial")
        record(connection, later, [judgement(1)], at=NOON)
        assert rubrics(connection, campaign.id) == [(campaign.rubric_version, campaign.rubric), (version, "Another.")]
        given = [entry.judgement.rubric_version for entry in judgements_in_force(connection, campaign)]
    assert (later.rubric, later.rubric_version) == ("Another.", version)
    assert given == [campaign.rubric_version, version]


# --------------------------------------------------------------------------------------------------------------- items
def test_an_items_tags_are_kept_apart_from_its_slices(database):
    campaign = make_campaign(database, num_items=0)
    prompt = Prompt("question", {"topic": "sums"}, {"selected_by": "control"})
    with database.write() as connection:
        add_items(connection, campaign, [Comparison(prompt, ("a", "b"))], actor="test")
        [stored] = items(connection, campaign).values()
    assert (stored.comparison.prompt.slices, stored.comparison.prompt.tags) == (prompt.slices, prompt.tags)


def test_items_come_out_as_they_went_in(database):
    campaign = make_campaign(database, num_items=0, overlap=2)
    ranking = comparison(1, num_answers=4, slices={"topic": "sums"})
    with database.write() as connection:
        added = add_items(
            connection,
            campaign,
            [comparison(0), ranking, comparison(0), comparison(2)],
            gold={ranking.id: (1, 2, 3, 3)},
            holds={comparison(2).id: "names a model"},
            actor="test",
        )
        again = add_items(connection, campaign, [ranking, comparison(3)], actor="test")
        stored = list(items(connection, campaign).values())
    assert dataclasses.astuple(added) == (3, 1, 1)
    assert dataclasses.astuple(again) == (1, 1, 0)
    assert [item.comparison for item in stored] == [comparison(0), ranking, comparison(2), comparison(3)]
    assert [item.dimensions for item in stored] == [{}, {"topic": "sums"}, {}, {}]
    assert [item.gold_ranks for item in stored] == [(), (1, 2, 3, 3), (), ()]
    assert [item.overlap for item in stored] == [2, 0, 2, 2]
    assert [item.hold for item in stored] == ["", "", "names a model", ""]


def test_the_same_items_added_by_two_at_once_are_there_once(database):
    campaign = make_campaign(database, num_items=0)
    comparisons = [comparison(number) for number in range(50)]
    added = []

    def add():
        with database.write() as connection:
            added.append(add_items(connection, campaign, comparisons, actor="test").num_added)

    threads = [threading.Thread(target=add) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(added) == [0, 0, 50]
    with database.read() as connection:
        assert progress(connection, campaign).num_slots == 150


def test_a_reason_to_hold_is_cut_to_what_a_page_can_show(database):
    campaign = make_campaign(database, num_items=1)
    with database.write() as connection:
        [item_id] = items(connection, campaign)
        set_hold(connection, campaign, item_id, "I am\x00\ud800\n" + "x" * 300, actor="test")
        assert items(connection, campaign)[item_id].hold == "I am   " + "x" * 193
        with pytest.raises(DataError, match=r"'trial' has no item 99. Give the id of one of its items"):
            set_hold(connection, campaign, "99", "why", actor="test")


def test_priorities_steer_what_is_begun_next(database):
    campaign = make_campaign(database, num_items=6, overlap=1, sampling="suspects", control_share=0.0)
    with database.write() as connection:
        set_priorities(connection, campaign, {comparison(4).id: 5.0, comparison(2).id: 3.0, "unknown": 9.0})
        set_priorities(connection, campaign, {})
    tasks = [claim_one(database, campaign, make_rater(database, f"rater {number}")) for number in range(2)]
    assert [task.comparison for task in tasks] == [comparison(4), comparison(2)]
    with database.read() as connection:
        begun = [item for item in items(connection, campaign).values() if item.arm]
    assert [(item.arm, item.propensity) for item in begun] == [("policy", 1.0), ("policy", 1.0)]


def test_progress_counts_items_slots_held_ones_and_the_target(database):
    campaign = make_campaign(database, num_items=4, num_gold=2, overlap=2, target_items=3)
    with database.write() as connection:
        before = progress(connection, campaign)
        record(connection, campaign, [judgement(0, "one"), judgement(0, "two"), judgement(1, "one")], at=NOON)
        set_hold(connection, campaign, list(items(connection, campaign))[3], "why", actor="test")
        after = progress(connection, campaign)
        record(connection, campaign, [judgement(n, r) for n in (1, 2) for r in ("one", "two", "three")], at=NOON)
        complete = progress(connection, campaign)
    assert dataclasses.astuple(before) == (4, 0, 8, 0, 0, 3)
    assert dataclasses.astuple(after) == (4, 1, 8, 3, 1, 3)
    assert (after.is_complete, complete.is_complete) == (False, True)


# -------------------------------------------------------------------------------------------------------------- raters
@pytest.mark.parametrize("name", UNKEEPABLE)
def test_a_rater_needs_a_name_that_a_page_can_show(database, name):
    with (
        database.write() as connection,
        pytest.raises(DataError, match=r"cannot be a rater. A name has 1 to 200 printable.*Choose another name"),
    ):
        rater_named(connection, name, "person")


def test_a_rater_is_of_a_known_kind_and_a_name_has_one_owner(database):
    with database.write() as connection:
        with pytest.raises(DataError, match=r"'ann' \(alien\) cannot be a rater.*person, ai, rule, simulated"):
            rater_named(connection, "ann", "alien")
        first = rater_named(connection, "ann", "person")
        assert rater_named(connection, "ann", "person") == first
        with pytest.raises(DataError, match=r"Rater 'ann' is of kind person, not ai. A name has one owner"):
            rater_named(connection, "ann", "ai")


def test_a_rater_added_by_many_at_once_is_one(database):
    found = []
    threads = [threading.Thread(target=lambda: found.append(make_rater(database, "ann"))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(set(found)) == 1


def test_raters_are_listed_by_name_and_by_campaign(database):
    campaign = make_campaign(database)
    make_rater(database, "zoe")
    with database.write() as connection:
        record(connection, campaign, [judgement(0, "machine")], at=NOON)
        demote(connection, "machine", "left its band: \x00", actor="ann")
        assert [(rater.name, rater.kind, rater.demotion) for rater in raters(connection)] == [
            ("machine", "ai", "left its band: \x00"),
            ("zoe", "person", ""),
        ]
        assert [rater.name for rater in raters(connection, campaign.id)] == ["machine"]


@pytest.mark.parametrize("name", ["nobody", *UNKEEPABLE])
def test_nobody_cannot_be_demoted(database, name):
    with database.write() as connection, pytest.raises(DataError, match=r"There is no rater .*Give the name of one"):
        demote(connection, name, "why", actor="ann")


# ----------------------------------------------------------------------------------------------------------- audit log
CHANGES = {
    "campaign created": lambda c, campaign: create_campaign(c, "another", CampaignSettings(), actor="ann"),
    "campaign state": lambda c, campaign: set_state(c, campaign, "paused", actor="ann"),
    "rubric written": lambda c, campaign: write_rubric(c, campaign.id, "text", actor="ann"),
    "items added": lambda c, campaign: add_items(c, campaign, [comparison(99)], actor="ann"),
    "items came from": lambda c, campaign: record_origin(c, campaign, "runs/one/candidates", actor="ann"),
    "item held": lambda c, campaign: set_hold(c, campaign, next(iter(items(c, campaign))), "why", actor="ann"),
    "priorities set": lambda c, campaign: set_priorities(c, campaign, {comparison(0).id: 1.0}, actor="ann"),
    "rater demoted": lambda c, campaign: demote(c, "bob", "why", actor="ann"),
    "exported": lambda c, campaign: record_export(
        c, campaign, artifact_id="a", path="runs/one", judgement_ids=[], actor="ann"
    ),
}


@pytest.mark.parametrize("action", CHANGES)
def test_whoever_changes_something_leaves_a_line_in_the_audit_log(database, action):
    campaign = make_campaign(database)
    make_rater(database, "bob")
    with database.write() as connection:
        before = len(events(connection))
        CHANGES[action](connection, campaign)
        later = events(connection)
    assert action in {event.action for event in later[: len(later) - before]}
    assert {event.actor for event in later[: len(later) - before]} == {"ann"}


def test_a_line_says_what_was_before_and_what_came_after_latest_first(database):
    campaign, other = make_campaign(database), make_campaign(database, name="other")
    ann = make_rater(database, "ann")
    task = claim_one(database, campaign, ann)
    answer(database, campaign, task, ann, (1, 2))
    answer(database, campaign, task, ann, (2, 1), client_key="second")
    with database.write() as connection:
        set_state(connection, campaign, "paused", actor="admin")
        set_state(connection, other, "closed", actor="admin")
        lines = events(connection, campaign_id=campaign.id, limit=2)
        assert len(events(connection, limit=3)) == 3
    assert [(line.action, line.before, line.after) for line in lines] == [
        ("campaign state", "open", "paused"),
        ("verdict changed", {"outcome": "ranked", "ranks": (1, 2)}, {"outcome": "ranked", "ranks": (2, 1)}),
    ]
    assert lines[1].actor == "ann"


def test_judgements_and_events_are_only_ever_added(database):
    """Run a whole life of a campaign while every statement that reaches the database is read."""
    statements = []

    @sa.event.listens_for(database.engine, "before_cursor_execute")
    def listen(connection, cursor, statement, *rest):
        statements.append(" ".join(statement.split()).lower())

    campaign = make_campaign(database, num_items=6, num_gold=2, max_overlap=5, gold_share=0.3, repeat_share=0.3)
    ann, bob = make_rater(database, "ann"), make_rater(database, "bob")
    for number in range(5):
        for rater, ranks in [(ann, (1, 2)), (bob, (2, 1))]:
            task = claim_one(database, campaign, rater, at=NOON + minutes(number))
            answer(database, campaign, task, rater, ranks)
            answer(database, campaign, task, rater, (1, 1), client_key="second")
    skip(database, campaign, task, bob)
    for action in CHANGES.values():
        with database.write() as connection:
            action(connection, campaign)
    with database.write() as connection:
        record(connection, campaign, [judgement(number, "machine") for number in range(6)], at=NOON)
        ruling = open_adjudication(connection, campaign, task.item_id, ann)
        renew(connection, campaign, ann, at=NOON)
        claim(connection, campaign, ann, at=NOON)
    answer(database, campaign, ruling, ann)
    changing = [statement for statement in statements if statement.startswith(("update", "delete"))]
    assert changing, "the listener hears statements"
    assert not [statement for statement in changing if statement.split()[1] in ("judgements", "events")]
    assert not [statement for statement in changing if statement.split()[2] in ("judgements", "events")]
    assert any(statement.startswith("insert into judgements") for statement in statements)
    assert any(statement.startswith("insert into events") for statement in statements)


def test_items_of_one_campaign_are_none_of_another(database):
    first, second = make_campaign(database, name="one", num_items=2), make_campaign(database, name="two", num_items=3)
    with database.write() as connection:
        assert (len(items(connection, first)), len(items(connection, second))) == (2, 3)
        record(connection, first, [judgement(0)], at=NOON)
        assert judgements_in_force(connection, second) == []
        assert progress(connection, second).num_done == 0
    ann = make_rater(database, "ann")
    with database.write() as connection:
        assert len(claim(connection, first, ann, limit=9, at=NOON)) == 2
        assert len(claim(connection, second, ann, limit=9, at=NOON)) == 3
        own = Comparison(Prompt("only here"), ("a", "b"))
        add_items(connection, first, [own], actor="test")
        set_hold(connection, second, next(iter(items(connection, second))), "why", actor="test")
        assert not any(item.hold for item in items(connection, first).values())
