"""Many processes on one label database: never more than n judgements per item, none lost, none doubled."""

import json
import multiprocessing
import random
import time
from collections import Counter

import pytest
import sqlalchemy as sa

from collection.crowd import work
from collection.made_campaigns import NOON, answer, claim_one, make_campaign, make_rater, minutes
from kleash.collection.store import tables as t
from kleash.collection.store.campaigns import items, progress
from kleash.collection.store.judgements import judgements_in_force

pytestmark = pytest.mark.slow

NUM_PROCESSES = 8
AFTERWARDS = 10_000


def start(url, receipts, *, num_claims, num_raters=4, name="worker", **settings):
    """Start the processes, each with a file for its receipts."""
    context = multiprocessing.get_context("spawn")
    processes = []
    for number in range(NUM_PROCESSES):
        path = receipts / f"{number}.jsonl"
        arguments = (url, f"{name} {number}", num_claims, num_raters, str(path))
        processes.append(context.Process(target=work, args=arguments, kwargs=settings))
        processes[-1].start()
    return processes


def promised_in(receipts):
    """Read every receipt; a line that a kill cut short was not yet a promise."""
    lines = [line for path in receipts.glob("*.jsonl") for line in path.read_text().splitlines(keepends=True)]
    return [json.loads(line) for line in lines if line.endswith("\n")]


def check_invariants(database, campaign, promised):
    """Hold the database against what the raters were promised and what an item may have."""
    with database.read() as connection:
        every_judgement = judgements_in_force(connection, campaign)
        stored = {row.id: row for row in connection.execute(sa.select(t.judgements))}
        slots = connection.execute(sa.select(t.slots)).all()
        overlap = {item_id: item.overlap for item_id, item in items(connection, campaign).items()}
    assert len({receipt["judgement"] for receipt in promised}) == len(promised), "two receipts for one judgement"
    for receipt in promised:
        assert stored[receipt["judgement"]].is_surplus == receipt["is_surplus"]
    votes = Counter(entry.item_id for entry in every_judgement if entry.is_vote)
    done = Counter(str(slot.item_id) for slot in slots if slot.is_done)
    assert votes == done, "a slot is done if and only if a vote is in it"
    assert all(votes[item_id] <= n for item_id, n in overlap.items())
    in_slots = [slot.assignment_id for slot in slots if slot.is_done]
    assert len(in_slots) == len(set(in_slots))
    voters = Counter((entry.item_id, entry.judgement.rater) for entry in every_judgement)
    assert set(voters.values()) == {1}


def finish(database, campaign, *, start_minute):
    """Let fresh raters answer whatever is left, long after every lease has expired."""
    at = NOON + minutes(start_minute)
    for number in range(100):
        rater = make_rater(database, f"finisher {number}")
        num_answered = 0
        while (task := claim_one(database, campaign, rater, at=at)) is not None:
            answer(database, campaign, task, rater, at=at)
            num_answered += 1
        if num_answered == 0:
            return


@pytest.mark.parametrize(
    ("num_items", "num_claims", "max_overlap"),
    [pytest.param(300, 200, 0, id="fixed"), pytest.param(60, 70, 5, id="adaptive")],
)
def test_eight_processes_fill_every_item_with_exactly_n(
    database, database_url, tmp_path, num_items, num_claims, max_overlap
):
    campaign = make_campaign(database, num_items=num_items, overlap=3, max_overlap=max_overlap)
    processes = start(database_url, tmp_path, num_claims=num_claims)
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * NUM_PROCESSES
    promised = promised_in(tmp_path)
    with database.read() as connection:
        given = judgements_in_force(connection, campaign)
    assert len(given) == len(promised), "every judgement has one receipt"
    assert any(entry.judgement.outcome == "skipped" for entry in given)
    assert any(entry.is_surplus for entry in given)
    finish(database, campaign, start_minute=AFTERWARDS)
    check_invariants(database, campaign, promised)
    with database.read() as connection:
        votes = Counter(entry.item_id for entry in judgements_in_force(connection, campaign) if entry.is_vote)
        overlap = {item_id: item.overlap for item_id, item in items(connection, campaign).items()}
        assert progress(connection, campaign).num_full == num_items
    assert votes == overlap
    assert set(overlap.values()) == ({3, 4, 5} if max_overlap else {3})


def test_processes_killed_at_any_moment_lose_nothing_that_was_promised(database, database_url, tmp_path):
    campaign = make_campaign(database, num_items=150, overlap=2)
    chance = random.Random(20261123)
    num_kills = 0
    for life in range(3):
        processes = start(database_url, tmp_path, num_claims=400, name=f"life {life}", start_minute=1000 * life)
        # Until they are at work: what is killed while it still imports proves nothing.
        while len(promised_in(tmp_path)) < 40 * (life + 1) and any(process.is_alive() for process in processes):
            time.sleep(0.01)
        for process in chance.sample(processes, len(processes)):
            time.sleep(chance.random() * 0.1)
            process.kill()
            process.join()
            num_kills += process.exitcode == -9
        check_invariants(database, campaign, promised_in(tmp_path))
    assert num_kills >= NUM_PROCESSES
    promised = promised_in(tmp_path)
    assert len(promised) > 100
    finish(database, campaign, start_minute=AFTERWARDS)
    check_invariants(database, campaign, promised)
    with database.read() as connection:
        votes = Counter(entry.item_id for entry in judgements_in_force(connection, campaign) if entry.is_vote)
    assert set(votes.values()) == {2}
    assert len(votes) == 150
