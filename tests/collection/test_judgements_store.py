"""Taking judgements in: idempotent, append-only, counted once; recording what was judged elsewhere; exports."""

import threading
from collections import Counter

import pytest
import sqlalchemy as sa

from collection.made_campaigns import (
    NOON,
    answer,
    claim_one,
    comparison,
    judgement,
    judgement_of,
    make_campaign,
    make_rater,
    minutes,
    skip,
)
from kleash.collection.store import tables as t
from kleash.collection.store.assignments import assignment, claim, open_adjudication
from kleash.collection.store.campaigns import add_items, items, progress
from kleash.collection.store.judgements import (
    exports_of,
    judgement_in_force,
    judgements_in_force,
    record_export,
    submit,
)
from kleash.collection.store.raters import demote, rater_named
from kleash.collection.store.recording import record
from kleash.errors import DataError
from kleash.records import Comparison, Prompt

BEYOND_THE_LEASE = NOON + minutes(21)


def in_force(database, campaign, **wanted):
    with database.read() as connection:
        return judgements_in_force(connection, campaign, **wanted)


def num_rows(database, table=t.judgements):
    with database.read() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def at_once(*actions):
    """Run actions in threads that start together; return what each returned or raised."""
    start = threading.Barrier(len(actions))
    results = [None] * len(actions)

    def run(index, action):
        start.wait()
        try:
            results[index] = action()
        except Exception as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(actions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


# -------------------------------------------------------------------------------------------------- sent more than once
def test_the_same_verdict_sent_twice_is_stored_once(database):
    campaign = make_campaign(database)
    ann = make_rater(database, "ann")
    task = claim_one(database, campaign, ann)
    first = answer(database, campaign, task, ann, (1, 2))
    again = answer(database, campaign, task, ann, (2, 1))
    assert (first.is_again, again.is_again) == (False, True)
    assert again.judgement_id == first.judgement_id
    assert [entry.judgement.ranks for entry in in_force(database, campaign)] == [(1, 2)]
    assert num_rows(database) == 1


@pytest.mark.parametrize("purpose", ["vote", "gold", "adjudication"])
def test_one_verdict_sent_by_two_tabs_at_once_is_stored_once(database, purpose):
    campaign = make_campaign(database, num_items=8, num_gold=8, gold_share=0.99 if purpose == "gold" else 0.0)
    ann = make_rater(database, "ann")
    for number in range(6):
        task = claim_one(database, campaign, ann)
        if purpose == "adjudication":
            with database.write() as connection:
                task = open_adjudication(connection, campaign, task.item_id, ann)
        assert task.purpose == purpose
        receipts = at_once(*[lambda task=task: answer(database, campaign, task, ann)] * 3)
        assert sorted(receipt.is_again for receipt in receipts) == [False, True, True]
        assert len({receipt.judgement_id for receipt in receipts}) == 1
        if purpose == "adjudication":
            answer(database, campaign, claim_one(database, campaign, ann), ann)
        assert num_rows(database) == (number + 1) * (2 if purpose == "adjudication" else 1)


@pytest.mark.parametrize("purpose", ["vote", "gold"])
def test_two_changes_of_mind_at_once_stand_one_after_the_other(database, purpose):
    campaign = make_campaign(database, num_items=8, num_gold=8, gold_share=0.99 if purpose == "gold" else 0.0)
    ann = make_rater(database, "ann")
    for number in range(6):
        task = claim_one(database, campaign, ann)
        changes = [
            lambda key=key, task=task: answer(database, campaign, task, ann, (2, 1), client_key=f"key {key}")
            for key in range(3)
        ]
        receipts = at_once(*changes)
        last = max(receipt.judgement_id for receipt in receipts)
        assert [entry.id for entry in in_force(database, campaign)][number:] == [str(last)]
    with database.read() as connection:
        superseded = connection.execute(sa.select(t.judgements.c.supersedes).where(t.judgements.c.supersedes > 0)).all()
    assert num_rows(database) == 18
    assert len(set(superseded)) == 12


def test_a_rater_who_asks_for_the_next_task_while_submitting_waits_for_nobody(database):
    campaign = make_campaign(database, num_items=40)
    ann = make_rater(database, "ann")
    task = claim_one(database, campaign, ann)
    for number in range(15):
        receipt, following = at_once(
            lambda task=task, number=number: answer(database, campaign, task, ann, client_key=f"{number}"),
            lambda: claim_one(database, campaign, ann),
        )
        assert not receipt.is_surplus
        task = following if following.id != task.id else claim_one(database, campaign, ann)
    assert len(in_force(database, campaign)) == 15


def test_raters_of_one_item_who_submit_and_ask_on_in_one_transaction_wait_in_no_circle(database):
    """As the page's route does: verdict in, next tasks out, in one transaction."""
    campaign = make_campaign(database, num_items=12, overlap=4, max_overlap=8)
    raters = [make_rater(database, f"rater {number}") for number in range(4)]

    def work(rater):
        with database.write() as connection:
            tasks = claim(connection, campaign, rater, limit=2, at=NOON)
        while tasks:
            with database.write() as connection:
                task = assignment(connection, tasks[0].id, rater)
                ranks = (1, 2) if rater is raters[0] else (2, 1)
                said = judgement_of(task, rater, ranks=ranks)
                submit(connection, campaign, task, rater, said, client_key="key", at=NOON)
                tasks = claim(connection, campaign, rater, limit=2, at=NOON)

    assert at_once(*[lambda rater=rater: work(rater) for rater in raters]) == [None] * 4
    assert sum(entry.is_vote for entry in in_force(database, campaign)) == 48


@pytest.mark.parametrize("key", ["", "k" * 81, "a\x00b", "\ud800"])
def test_a_client_key_that_no_database_could_keep_is_refused(database, key):
    campaign = make_campaign(database)
    ann = make_rater(database, "ann")
    task = claim_one(database, campaign, ann)
    with pytest.raises(DataError, match=r"client key .*Expected 1 to 80 printable characters.*Send"):
        answer(database, campaign, task, ann, client_key=key)
    answer(database, campaign, task, ann, client_key="k" * 80)


# -------------------------------------------------------------------------------------------------------------- surplus
def test_a_late_verdict_on_a_full_item_is_kept_and_counted_nowhere(database):
    campaign = make_campaign(database, num_items=1, overlap=1)
    ann, bob = make_rater(database, "ann"), make_rater(database, "bob")
    late = claim_one(database, campaign, ann)
    in_time = claim_one(database, campaign, bob, at=BEYOND_THE_LEASE)
    answer(database, campaign, in_time, bob, (2, 1), at=BEYOND_THE_LEASE)
    assert answer(database, campaign, late, ann, at=BEYOND_THE_LEASE).is_surplus
    given = in_force(database, campaign)
    assert [(entry.judgement.rater, entry.is_vote) for entry in given] == [("bob", True), ("ann", False)]
    with database.read() as connection:
        assert progress(connection, campaign).num_done == 1


def test_a_late_verdict_never_pushes_out_who_holds_the_slot_now(database):
    campaign = make_campaign(database, num_items=1, overlap=1)
    ann, bob = make_rater(database, "ann"), make_rater(database, "bob")
    late = claim_one(database, campaign, ann)
    held = claim_one(database, campaign, bob, at=BEYOND_THE_LEASE)
    assert answer(database, campaign, late, ann, at=BEYOND_THE_LEASE).is_surplus
    assert not answer(database, campaign, held, bob, at=BEYOND_THE_LEASE).is_surplus


def test_a_late_verdict_takes_another_slot_that_is_free(database):
    campaign = make_campaign(database, num_items=1, overlap=2)
    ann, bob = make_rater(database, "ann"), make_rater(database, "bob")
    late = claim_one(database, campaign, ann)
    claim_one(database, campaign, bob, at=BEYOND_THE_LEASE)
    assert not answer(database, campaign, late, ann, at=BEYOND_THE_LEASE).is_surplus


# ------------------------------------------------------------------------------------------------------ changes of mind
def test_a_change_of_mind_supersedes_and_both_rows_stay(database):
    campaign = make_campaign(database, num_items=1, overlap=1)
    ann = make_rater(database, "ann")
    task = claim_one(database, campaign, ann)
    numbers = [
        answer(database, campaign, task, ann, ranks, client_key=key).judgement_id
        for key, ranks in [("first", (1, 2)), ("second", (2, 1)), ("third", (1, 1))]
    ]
    with database.read() as connection:
        chain = connection.execute(sa.select(t.judgements.c.id, t.judgements.c.supersedes)).all()
        assert judgement_in_force(connection, task).judgement.ranks == (1, 1)
    assert sorted(chain, key=lambda row: row.id) == [
        (numbers[0], None),
        (numbers[1], numbers[0]),
        (numbers[2], numbers[1]),
    ]
    assert [entry.judgement.ranks for entry in in_force(database, campaign)] == [(1, 1)]
    assert answer(database, campaign, task, ann, (1, 2), client_key="first").is_again
    assert [entry.judgement.ranks for entry in in_force(database, campaign)] == [(1, 1)]


def test_a_verdict_taken_back_for_a_skip_frees_the_slot_and_comes_back_as_surplus_if_it_is_gone(database):
    campaign = make_campaign(database, num_items=1, overlap=1)
    ann, bob = make_rater(database, "ann"), make_rater(database, "bob")
    task = claim_one(database, campaign, ann)
    answer(database, campaign, task, ann)
    skip(database, campaign, task, ann)
    answer(database, campaign, claim_one(database, campaign, bob), bob)
    assert answer(database, campaign, task, ann, client_key="third").is_surplus
    assert [entry.judgement.rater for entry in in_force(database, campaign) if entry.is_vote] == ["bob"]


def test_no_task_no_judgement_in_force(database):
    campaign = make_campaign(database)
    with database.write() as connection:
        task = open_adjudication(
            connection, campaign, next(iter(items(connection, campaign))), rater_named(connection, "ann", "person")
        )
        assert judgement_in_force(connection, task) is None


# ------------------------------------------------------------------------------------------- judgements that do not fit
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ranks": (1,)}, r"ranks is \[1\] for 2 answers. Expected one rank for each.*Rank all answers"),
        ({"ranks": (1, 2, 3)}, r"ranks is \[1, 2, 3\]"),
        ({"ranks": (0, 1)}, r"ranks is \[0, 1\]"),
        ({"ranks": (1, 3)}, r"at most 2"),
        ({"aspects": {"style": (1,)}}, r"style is \[1\]"),
        ({"outcome": "skipped", "ranks": (1, 2)}, r"A verdict of skipped has ranks \[1, 2\]. Leave them out"),
        ({"outcome": "both_bad", "ranks": (1, 2)}, r"A verdict of both_bad has ranks"),
        ({"rubric_version": "v" * 65}, r"rubric version 'vvv.*Expected at most 64 printable characters"),
        ({"rubric_version": "\x00"}, r"rubric version"),
    ],
)
def test_a_judgement_that_does_not_fit_is_refused_and_nothing_is_stored(database, fields, message):
    campaign = make_campaign(database)
    ann = make_rater(database, "ann", "ai")
    task = claim_one(database, campaign, ann)
    with pytest.raises(DataError, match=message), database.write() as connection:
        record(connection, campaign, [judgement(0, "ann"), judgement(1, "ann", **{"ranks": (1, 2), **fields})], at=NOON)
    assert num_rows(database) == 0
    assert not answer(database, campaign, task, ann).is_again


def test_aspects_may_be_given_where_both_are_bad(database):
    campaign = make_campaign(database)
    ann = make_rater(database, "ann")
    fields = {"outcome": "both_bad", "aspects": {"style": (2, 1)}, "flags": ("unsafe",), "strength": None}
    answer(database, campaign, claim_one(database, campaign, ann), ann, (), **fields)
    [entry] = in_force(database, campaign)
    assert entry.is_vote
    assert (entry.judgement.outcome, entry.judgement.aspects) == ("both_bad", {"style": (2, 1)})


def test_everything_a_rater_says_comes_out_as_it_went_in(database):
    campaign = make_campaign(database)
    ann = make_rater(database, "ann")
    task = claim_one(database, campaign, ann)
    said = {"strength": "much", "aspects": {"style": (2, 1)}, "flags": ("unsafe", "unreadable"), "seconds": 3.25}
    answer(database, campaign, task, ann, (2, 1), rationale="why", rubric_version="v1", **said)
    [entry] = in_force(database, campaign)
    judged = entry.judgement
    assert {name: getattr(judged, name) for name in said} == said
    assert (judged.ranks, judged.permutation, judged.rationale) == ((2, 1), task.permutation, "why")
    assert (judged.rater, judged.rater_kind, judged.rubric_version) == ("ann", "person", "v1")
    assert (judged.comparison_id, entry.item_id, entry.given_at) == (task.comparison.id, task.item_id, NOON)


# --------------------------------------------------------------------------------------------------------- hostile text
HOSTILE = [
    "null \x00 character",
    "lone \ud800 surrogate \udfff",
    "🦮 👩‍👩‍👧 é",
    "x" * 1_000_000,
    "'; DROP TABLE items; --",
    "",
    "\r\n\t\x1b[31m",
]


def round_trip(database, campaign, rater, text):
    task = claim_one(database, campaign, rater)
    answer(database, campaign, task, rater, rationale=text)
    with database.read() as connection:
        return judgement_in_force(connection, task).judgement.rationale


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:20]))
def test_hostile_text_comes_out_as_it_went_in(database, text):
    campaign = make_campaign(database)
    hostile = Comparison(Prompt(f"prompt {text}", {"slice": text}), (text, f"{text} b"), (text, "ppo"))
    with database.write() as connection:
        add_items(connection, campaign, [hostile], actor="test", holds={hostile.id: f"says {text}"})
        stored = list(items(connection, campaign).values())[-1]
    assert stored.comparison == hostile
    assert stored.comparison.id == hostile.id
    assert stored.dimensions == {"slice": text}
    assert stored.hold.startswith("says")
    assert round_trip(database, campaign, make_rater(database, "ann"), text) == text


# ------------------------------------------------------------------------------------------------------------- widening
def test_an_item_gets_more_raters_while_they_disagree_and_never_beyond_the_maximum(database):
    campaign = make_campaign(database, num_items=1, overlap=2, max_overlap=4)
    votes = []
    for number, ranks in enumerate([(1, 2), (2, 1), (1, 1), (1, 2), (1, 2)]):
        rater = make_rater(database, f"rater {number}")
        task = claim_one(database, campaign, rater)
        votes.append(task is not None)
        if task is not None:
            answer(database, campaign, task, rater, ranks)
    assert votes == [True, True, True, True, False]
    with database.read() as connection:
        assert [item.overlap for item in items(connection, campaign).values()] == [4]


def test_an_item_whose_raters_agree_gets_no_more(database):
    campaign = make_campaign(database, num_items=1, overlap=2, max_overlap=4)
    for name in ("ann", "bob"):
        rater = make_rater(database, name)
        answer(database, campaign, claim_one(database, campaign, rater), rater)
    assert claim_one(database, campaign, make_rater(database, "cyd")) is None


def test_recorded_verdicts_that_disagree_widen_their_item_too(database):
    campaign = make_campaign(database, num_items=2, overlap=2, max_overlap=3)
    with database.write() as connection:
        given = [
            judgement(0, "a", (1, 2)),
            judgement(0, "b", (2, 1)),
            judgement(1, "a", (1, 2)),
            judgement(1, "b", (1, 2)),
        ]
        record(connection, campaign, given, at=NOON)
        assert [item.overlap for item in items(connection, campaign).values()] == [3, 2]


# ------------------------------------------------------------------------------------------------------------ recording
def test_recorded_judgements_fill_slots_and_recording_again_adds_nothing(database):
    campaign = make_campaign(database, num_items=3, overlap=2)
    made = [judgement(number, rater) for number in range(3) for rater in ("one", "two", "three")]
    with database.write() as connection:
        assert record(connection, campaign, made[:4], at=NOON) == 4
    with database.write() as connection:
        assert record(connection, campaign, made, at=NOON) == 5
        assert record(connection, campaign, made, at=NOON) == 0
        assert record(connection, campaign, [], at=NOON) == 0
        assert progress(connection, campaign).num_full == 3
    given = in_force(database, campaign)
    assert [entry.is_vote for entry in given] == [True, True, False] * 3
    assert [entry.judgement for entry in given][:1] == [judgement(0, "one", rubric_version=campaign.rubric_version)]


def test_a_recorded_skip_takes_no_slot(database):
    campaign = make_campaign(database, num_items=1, overlap=1)
    with database.write() as connection:
        record(connection, campaign, [judgement(0, "one", ()), judgement(0, "two")], at=NOON)
    assert [(entry.is_vote, entry.is_surplus) for entry in in_force(database, campaign)] == [
        (False, False),
        (True, False),
    ]


def test_a_recorded_judgement_of_a_calibration_item_is_a_vote(database):
    campaign = make_campaign(database, num_items=1, num_gold=1)
    with database.write() as connection:
        record(connection, campaign, [judgement(1, "one"), judgement(1, "two")], at=NOON)
        assert record(connection, campaign, [judgement(1, "one")], at=NOON) == 0
    assert [entry.is_vote for entry in in_force(database, campaign)] == [True, True]


def test_recording_answers_the_task_that_its_rater_holds(database):
    campaign = make_campaign(database, num_items=1, overlap=1)
    machine = make_rater(database, "machine", "ai")
    task = claim_one(database, campaign, machine)
    with database.write() as connection:
        made = judgement(0, "machine", (2, 1), permutation=tuple(reversed(task.permutation)))
        assert record(connection, campaign, [made], at=NOON) == 1
        assert record(connection, campaign, [made], at=NOON) == 0
        assert assignment(connection, task.id, machine).is_answered
    [entry] = in_force(database, campaign)
    assert entry.is_vote
    assert (entry.judgement.ranks, entry.judgement.permutation) == (made.ranks, made.permutation)


def test_recording_begins_no_item_that_it_only_skipped_and_takes_an_expired_lease(database):
    campaign = make_campaign(database, num_items=1, overlap=1)
    ann = make_rater(database, "ann")
    late = claim_one(database, campaign, ann)
    with database.write() as connection:
        record(connection, campaign, [judgement(0, "one")], at=NOON + minutes(19))
        record(connection, campaign, [judgement(0, "two")], at=BEYOND_THE_LEASE)
    assert [entry.is_surplus for entry in in_force(database, campaign)] == [True, False]
    assert answer(database, campaign, late, ann, at=BEYOND_THE_LEASE).is_surplus


def test_a_judgement_without_its_comparison_is_refused_and_none_is_stored(database):
    campaign = make_campaign(database, num_items=1)
    with (
        pytest.raises(DataError, match=f"{comparison(7).id} is not in campaign 'trial'.*Add the comparison first"),
        database.write() as connection,
    ):
        record(connection, campaign, [judgement(0), judgement(7)], at=NOON)
    assert num_rows(database) == num_rows(database, t.assignments) == 0


def test_recording_while_the_same_raters_claim_and_submit_stores_each_verdict_once(database):
    campaign = make_campaign(database, num_items=30, overlap=2, gold_share=0.2, num_gold=5)
    machines = [make_rater(database, f"machine {number}", "ai") for number in range(3)]
    made = [judgement(number, machine.name) for machine in machines for number in range(35)]

    def work(machine):
        while (task := claim_one(database, campaign, machine)) is not None:
            answer(database, campaign, task, machine, client_key=task.id)

    def record_in_parts():
        for start in range(0, len(made), 7):
            with database.write() as connection:
                record(connection, campaign, made[start : start + 7], at=NOON)

    assert at_once(*[lambda machine=machine: work(machine) for machine in machines], record_in_parts) == [None] * 4
    looks = Counter((entry.item_id, entry.judgement.rater) for entry in in_force(database, campaign))
    assert set(looks.values()) == {1}
    assert len(looks) == 105
    votes = Counter(entry.item_id for entry in in_force(database, campaign) if entry.is_vote)
    with database.read() as connection:
        overlap = {item_id: 3 if item.is_gold else 2 for item_id, item in items(connection, campaign).items()}
    assert votes == overlap


def test_the_same_judgements_recorded_by_two_processes_at_once_are_stored_once(database):
    campaign = make_campaign(database, num_items=30, overlap=3)
    made = [judgement(number, f"machine {rater}") for number in range(30) for rater in range(3)]

    def run(ours):
        with database.write() as connection:
            return record(connection, campaign, ours, at=NOON)

    counts = at_once(lambda: run(made), lambda: run(made[::-1]), lambda: run(made))
    assert sorted(counts) == [0, 0, 90]
    assert sum(entry.is_vote for entry in in_force(database, campaign)) == 90


# ----------------------------------------------------------------------------------------------------- demoted, exports
def test_demoted_raters_are_no_judgements(database):
    campaign = make_campaign(database, num_items=1)
    with database.write() as connection:
        record(connection, campaign, [judgement(0, "one"), judgement(0, "two")], at=NOON)
        demote(connection, "one", "left its band", actor="test")
    assert [entry.judgement.rater for entry in in_force(database, campaign)] == ["two"]
    assert len(in_force(database, campaign, includes_demoted=True)) == 2
    with database.write() as connection:
        demote(connection, "one", "", actor="test")
    assert len(in_force(database, campaign)) == 2


def test_a_judgement_knows_every_artifact_it_went_into(database):
    campaign = make_campaign(database, num_items=2)
    with database.write() as connection:
        record(connection, campaign, [judgement(0), judgement(1)], at=NOON)
        numbers = [entry.id for entry in judgements_in_force(connection, campaign)]
        record_export(
            connection, campaign, artifact_id="aaa", path="runs/\x00 one", judgement_ids=numbers, actor="test"
        )
        record_export(connection, campaign, artifact_id="bbb", path="runs/two", judgement_ids=numbers[:1], actor="test")
        record_export(connection, campaign, artifact_id="ccc", path="runs/empty", judgement_ids=[], actor="test")
        assert exports_of(connection, numbers[0]) == [("aaa", "runs/\x00 one"), ("bbb", "runs/two")]
        assert exports_of(connection, numbers[1]) == [("aaa", "runs/\x00 one")]
