"""AI judges' calls in the label database: found again, never lost to a worse one, whole whatever the reply."""

import dataclasses
import threading

import pytest

from kleash.collection.store.calls import StoredCalls, judge_calls
from kleash.records import JudgeCall

CALL = JudgeCall(
    key="k" * 64,
    comparison_id="c1",
    judge="strict",
    model="org/model-7b",
    prompt_digest="d" * 64,
    rubric_version="v1",
    permutation=(1, 0),
    status="ok",
    reply='{"overall": "A"}',
    prompt_tokens=120,
    reply_tokens=30,
    seconds=1.25,
)


def changed(**fields):
    return dataclasses.replace(CALL, **fields)


def test_a_call_is_found_by_its_key_as_it_was(database):
    calls = StoredCalls(database)
    assert calls.find_call(CALL.key) is None
    calls.add_call(CALL)
    assert calls.find_call(CALL.key) == CALL
    assert calls.find_call("other") is None


def test_a_hostile_reply_comes_out_as_it_went_in(database):
    hostile = changed(reply="null \x00, lone \ud800, 🦮, " + "x" * 1_000_000)
    StoredCalls(database).add_call(hostile)
    assert StoredCalls(database).find_call(CALL.key) == hostile


def test_a_call_that_failed_is_replaced_by_a_later_one(database):
    calls = StoredCalls(database)
    calls.add_call(changed(status="failed", reply=""))
    calls.add_call(changed(status="refused", reply="no"))
    assert calls.find_call(CALL.key).status == "refused"
    calls.add_call(CALL)
    assert calls.find_call(CALL.key) == CALL


@pytest.mark.parametrize("status", ["ok", "unparsed"])
def test_a_call_that_brought_a_reply_is_never_replaced(database, status):
    calls = StoredCalls(database)
    calls.add_call(changed(status=status))
    calls.add_call(changed(status="failed", reply=""))
    calls.add_call(changed(reply="another"))
    assert calls.find_call(CALL.key) == changed(status=status)


def test_a_model_name_that_no_column_could_keep_is_cut_to_fit(database):
    StoredCalls(database).add_call(changed(model="gpt\x00" + "x" * 300))
    assert StoredCalls(database).find_call(CALL.key).model == "gpt " + "x" * 196


def test_calls_come_oldest_first_and_by_comparison(database):
    calls = StoredCalls(database)
    made = [changed(key=f"key {number}", comparison_id=f"c{number % 2}") for number in (3, 1, 2)]
    for call in made:
        calls.add_call(call)
    with database.read() as connection:
        every_call = judge_calls(connection)
        assert [call for call, _ in every_call] == made
        assert [call for call, _ in judge_calls(connection, ["c1", "c9"])] == made[:2]
    times = [made_at for _, made_at in every_call]
    assert times == sorted(times)


def test_the_same_call_saved_by_many_threads_at_once_is_one_row(database):
    calls = StoredCalls(database)
    failures = []

    def save(status):
        try:
            for _ in range(5):
                calls.add_call(changed(status=status, reply="" if status == "failed" else CALL.reply))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=save, args=(status,)) for status in ("failed", "ok") * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with database.read() as connection:
        assert [call for call, _ in judge_calls(connection)] == [CALL]
