"""Reading logs while they grow, are torn, are cut back on resume, are replaced and move."""

import json

import pytest
from fake_run import make_fake_run, write_rows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kleash.monitor.read.live import Shelf, Tail, files_state, last_row
from kleash.monitor.read.reader import read_rows, read_run
from kleash.tracking import JsonlTracker


def append(path, text):
    with open(path, "a", encoding="utf-8") as file:
        file.write(text)


def steps(rows):
    return [row["step"] for row in rows]


def test_only_what_was_added_is_read(tmp_path):
    path = tmp_path / "metrics.jsonl"
    tail = Tail(path)
    assert tail.read() == (False, [])
    append(path, "one\ntwo\n")
    assert tail.read() == (False, [b"one", b"two"])
    assert tail.read() == (False, [])
    append(path, "three\n")
    assert tail.read() == (False, [b"three"])


def test_a_last_line_without_its_end_is_read_when_it_is_whole(tmp_path):
    path, tail = tmp_path / "log", Tail(tmp_path / "log")
    append(path, "one\ntw")
    assert tail.read() == (False, [b"one"])
    append(path, "o")
    assert tail.read() == (False, [])
    append(path, "\n")
    assert tail.read() == (False, [b"two"])


@pytest.mark.parametrize("again", ["one\n", "one\ntwo, again\nthree\nfour\n", ""])
def test_a_log_that_was_cut_back_is_read_anew(tmp_path, again):
    path, tail = tmp_path / "log", Tail(tmp_path / "log")
    path.write_text("one\ntwo\nthree\n")
    tail.read()
    path.write_text(again)
    was_cut, lines = tail.read()
    assert was_cut
    assert b"".join(line + b"\n" for line in lines) == again.encode()


def test_a_log_that_went_away_is_empty_and_may_come_back(tmp_path):
    path, shelf = tmp_path / "alarms.jsonl", Shelf()
    write_rows(path, [{"step": 1}])
    assert steps(shelf.rows(path)) == [1]
    path.unlink()
    assert len(shelf.rows(path)) == 0
    write_rows(path, [{"step": 2}])
    assert steps(shelf.rows(path)) == [2]


@pytest.mark.parametrize("name", ["metrics.jsonl", "alarms.jsonl"])
def test_a_run_that_resumes_is_followed_back_and_on(tmp_path, name):
    path, shelf = tmp_path / name, Shelf()
    tracker = JsonlTracker(path)
    for step in range(10):
        tracker.log(step, {"score_mean": float(step)})
    assert steps(shelf.rows(path)) == list(range(10))
    tracker.cut(6)
    for step in range(6, 12):
        tracker.log(step, {"score_mean": -float(step)})
    rows = shelf.rows(path)
    assert steps(rows) == list(range(12))
    assert rows[8]["score_mean"] == -8.0


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(st.tuples(st.booleans(), st.integers(0, 30), st.integers(0, 6)), max_size=12))
def test_it_is_always_as_if_the_file_were_read_whole(tmp_path, parts):
    path, shelf = tmp_path / "log.jsonl", Shelf()
    path.write_bytes(b"")
    content = b""
    for is_cut, number, length in parts:
        # Cut the file back somewhere or add to it, at times half a line only.
        content = content[:number] if is_cut else content + (json.dumps({"step": number}) + "\n").encode()[: length + 9]
        path.write_bytes(content)
        problems, expected = [], []
        assert list(shelf.rows(path, problems)) == list(read_rows(path, expected)) or not content.endswith(b"\n")
        if content.endswith(b"\n"):
            assert problems == expected


def test_a_line_that_cannot_be_read_is_named_by_its_number(tmp_path):
    path, shelf = tmp_path / "alarms.jsonl", Shelf()
    path.write_text('{"step": 1}\n\nrubbish\n')
    problems = []
    assert steps(shelf.rows(path, problems)) == [1]
    append(path, '[3]\nmore rubbish\n{"step": 2}\n')
    problems = []
    assert steps(shelf.rows(path, problems)) == [1, 2]
    assert [problem.split(",")[1] for problem in problems] == [" line 3", " line 5"]


def test_half_of_a_surrogate_pair_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "samples.jsonl"
    path.write_text('{"prompt": "\\ud83d"}\n')
    assert Shelf().rows(path) == [{"prompt": "\ud83d"}]


def test_a_run_is_the_same_as_when_it_is_read_at_once(tmp_path):
    folder = make_fake_run(tmp_path, story="hacked")
    lazy, whole = Shelf().run(folder), read_run(folder)
    assert list(lazy.rounds[0].stages) == list(whole.rounds[0].stages)
    for name, stage in whole.rounds[0].stages.items():
        assert {stem: list(rows) for stem, rows in lazy.rounds[0].stages[name].rows.items()} == {
            stem: list(rows) for stem, rows in stage.rows.items()
        }


def test_no_file_is_read_before_it_is_asked_for(tmp_path):
    folder = make_fake_run(tmp_path)
    (folder / "round-000" / "candidates" / "candidates.jsonl").write_text("rubbish\n")
    run = Shelf().run(folder)
    assert len(run.rounds[0].rows("policy", "metrics")) == 60
    assert list(run.problems) == []
    assert list(run.rounds[0].rows("candidates", "candidates")) == []
    assert len(run.problems) == 1


def test_the_last_row_is_found_without_the_rest(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert last_row(path) == {}
    write_rows(path, [{"step": step, "note": "x" * step} for step in range(200)])
    assert last_row(path, block_bytes=64)["step"] == 199
    append(path, '{"step": 200, "no')
    assert last_row(path, block_bytes=64)["step"] == 199
    path.write_text("rubbish\n")
    assert last_row(path) == {}


def test_a_runs_state_changes_with_each_file_that_pages_are_made_from(tmp_path):
    folder = make_fake_run(tmp_path)
    seen = [files_state(folder)]
    append(folder / "round-000" / "policy" / "metrics.jsonl", "{}\n")
    seen.append(files_state(folder))
    (folder / "round-000" / "policy" / "answers" / "step-00000070.jsonl").write_text("")
    seen.append(files_state(folder))
    (folder / "round-000" / "people").mkdir()
    seen.append(files_state(folder))
    assert all(one != other for index, one in enumerate(seen) for other in seen[:index])
    assert files_state(folder) == seen[-1]


def test_what_was_made_is_made_again_only_when_its_state_changed():
    shelf, made = Shelf(), []

    def make(key, state):
        return shelf.cached(key, state, lambda: made.append((key, state)) or len(made))

    assert [make("a", 1), make("a", 1), make("b", 1), make("a", 2), make("a", 1)] == [1, 1, 2, 3, 4]
    assert made == [("a", 1), ("b", 1), ("a", 2), ("a", 1)]
