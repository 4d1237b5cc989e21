"""The replay buffer: share, age, balance and repeats by hand; nothing is lost, and a refresh can be refreshed."""

from collections import Counter

import pytest

from kleash.data.preferences import usable_preferences
from kleash.data.replay import NO_ROOM, REPEATED, TOO_OLD, ReplaySettings, replayed, tagged, version_of
from kleash.formats import read_preferences, write_jsonl
from kleash.records import Pair, Preference, Prompt

DECIDED = (Pair(0, 1, 1.0),)


def row(name, *, topic="sums", left_out="", pairs=DECIDED):
    return Preference(Prompt(f"question {name}", {"topic": topic}), (f"{name} good", f"{name} bad"), pairs, 1, left_out)


def rows(prefix, number, **about):
    return [row(f"{prefix}{index}", **about) for index in range(number)]


@pytest.mark.parametrize(
    ("num_old", "num_fresh", "settings", "kept"),
    [
        (0, 5, {}, (0, 5)),
        (5, 0, {}, (5, 0)),
        (10, 10, {}, (10, 10)),
        (30, 10, {}, (30, 10)),
        (4, 10, {}, (4, 4)),  # half at least is old
        (4, 10, {"old_share": 0.25}, (4, 10)),
        (2, 10, {"old_share": 0.25}, (2, 6)),
        (2, 10, {"old_share": 0.0}, (2, 10)),
        (30, 30, {"max_rows": 10}, (5, 5)),
        (30, 2, {"max_rows": 10}, (8, 2)),
        (2, 30, {"max_rows": 10}, (2, 2)),
        (30, 30, {"max_rows": 10, "old_share": 0.9}, (9, 1)),
        (0, 30, {"max_rows": 10}, (0, 10)),
    ],
)
def test_how_many_of_each(num_old, num_fresh, settings, kept):
    made = replayed(rows("old", num_old), rows("new", num_fresh), ReplaySettings(**settings), version=1, seed=0)
    assert (made.num_old, made.num_fresh) == kept
    versions = Counter(version_of(one) for one in usable_preferences(made.rows))
    assert (versions[0], versions[1]) == kept
    assert len(made.rows) == num_old + num_fresh
    assert made.num_left_out.get(NO_ROOM, 0) == num_old + num_fresh - sum(kept)


def test_slices_get_equal_places_where_not_all_fit():
    old = rows("a", 40, topic="facts") + rows("b", 2, topic="sums") + rows("c", 40, topic="lists")
    settings = ReplaySettings(max_rows=20, balance_by="topic")
    made = replayed(old, rows("new", 10), settings, version=3, seed=0)
    kept = [one for one in usable_preferences(made.rows) if version_of(one) < 3]
    assert Counter(one.prompt.slices["topic"] for one in kept) == {"facts": 4, "sums": 2, "lists": 4}


def test_the_newest_of_rows_that_compare_the_same_answers_counts():
    old = tagged(row("x"), 1)
    again = Preference(Prompt("Question  X"), ("x bad", "x good"), (Pair(0, 1, 0.0),))
    made = replayed([old, row("y")], [again], ReplaySettings(), version=2, seed=0)
    assert [one.left_out for one in made.rows] == [REPEATED, "", ""]
    assert made.num_left_out == {REPEATED: 1}
    within = replayed([], [row("z"), row("z")], ReplaySettings(), version=0, seed=0)
    assert [one.left_out for one in within.rows] == ["", REPEATED]


def test_rows_past_their_age_stay_out_and_on_record():
    old = [tagged(row(f"v{version}"), version) for version in range(4)]
    made = replayed(old, [row("new")], ReplaySettings(max_age=2), version=4, seed=0)
    assert [one.left_out for one in made.rows] == [TOO_OLD, TOO_OLD, "", "", ""]


def test_what_raters_could_not_use_stays_out_with_their_reason():
    old = [row("a", left_out="both bad"), row("b", pairs=())]
    made = replayed(old, [row("c")], ReplaySettings(), version=1, seed=0)
    assert [one.left_out for one in made.rows] == ["both bad", "", ""]
    assert usable_preferences(made.rows) == [made.rows[2]]
    assert made.num_left_out == {"both bad": 1, "nothing was compared": 1}


def test_what_found_no_room_stands_for_choice_again_next_time(tmp_path):
    first = replayed(rows("old", 2), rows("new", 6), ReplaySettings(), version=1, seed=0)
    assert first.num_left_out == {NO_ROOM: 4}
    write_jsonl(tmp_path / "preferences.jsonl", first.rows)
    again = read_preferences(tmp_path / "preferences.jsonl").records
    second = replayed(again, rows("newer", 8), ReplaySettings(), version=2, seed=0)
    assert (second.num_old, second.num_fresh) == (8, 8)
    assert Counter(version_of(one) for one in second.rows) == {0: 2, 1: 6, 2: 8}


def test_the_same_seed_draws_the_same_rows_in_any_order():
    old, fresh = rows("old", 30), rows("new", 30)
    settings = ReplaySettings(max_rows=12)

    def kept(old, fresh, seed):
        made = replayed(old, fresh, settings, version=1, seed=seed)
        return {one.completions for one in usable_preferences(made.rows)}

    assert kept(old, fresh, 0) == kept(old[::-1], fresh[::-1], 0) != kept(old, fresh, 1)
