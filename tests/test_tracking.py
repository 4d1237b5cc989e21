"""Metrics on disk: rows that survive a kill, are cut on resume, and never lie about a number that is not finite."""

import json
import math
from pathlib import Path

import pytest

from kleash.errors import RunError, SettingsError
from kleash.tracking import FanOutTracker, JsonlTracker, open_trackers
from timings import is_timing, without_timings


@pytest.fixture
def tracker(tmp_path):
    return JsonlTracker(tmp_path / "metrics.jsonl")


def test_each_row_is_one_json_line_with_its_step(tracker):
    tracker.log(0, {"loss": 1.5, "slice/topic=sums/reward": 2, "note": "a\nb"})
    tracker.log(1, {"loss": 0.1 + 0.2})
    assert tracker.path.read_text().splitlines() == [
        '{"step": 0, "loss": 1.5, "slice/topic=sums/reward": 2, "note": "a\\nb"}',
        '{"step": 1, "loss": 0.30000000000000004}',
    ]
    assert tracker.rows()[1] == {"step": 1, "loss": 0.1 + 0.2}


def test_numbers_that_are_not_finite_become_null_and_keep_their_key(tracker):
    tracker.log(0, {"loss": float("nan"), "kl": float("inf"), "each": [1.0, float("nan")]})
    assert json.loads(tracker.path.read_text()) == {"step": 0, "loss": None, "kl": None, "each": [1.0, None]}


def test_scalars_of_torch_and_numpy_are_numbers(tracker):
    import numpy
    import torch

    tracker.log(0, {"a": torch.tensor(2), "b": numpy.float64("nan"), "c": numpy.int64(3)})
    assert tracker.rows() == [{"step": 0, "a": 2, "b": None, "c": 3}]


def test_what_is_no_figure_is_refused(tracker):
    with pytest.raises(TypeError, match="a metric must be a number, text, or a list or mapping of them, not set"):
        tracker.log(0, {"a": {1, 2}})
    assert tracker.rows() == []


def test_events_have_samples_in_them(tracker):
    tracker.log(7, {"worst": [{"answer": "yes", "external": None, "proxy": math.nan}]})
    assert tracker.rows() == [{"step": 7, "worst": [{"answer": "yes", "external": None, "proxy": None}]}]


def test_cut_drops_the_given_step_and_later_and_a_torn_line(tracker):
    for step in range(4):
        tracker.log(step, {"loss": step / 3})
    with open(tracker.path, "a") as file:
        file.write('{"step": 4, "lo')
    before = tracker.path.read_text().splitlines()
    assert [row["step"] for row in tracker.rows()] == [0, 1, 2, 3]
    tracker.cut(3)
    assert tracker.path.read_text().splitlines() == before[:3]
    tracker.log(3, {"loss": 3 / 3})
    assert tracker.path.read_text().splitlines() == before[:4]


def test_cut_before_the_first_row_makes_no_file(tracker):
    tracker.cut(0)
    assert tracker.rows() == []
    assert not tracker.path.exists()


def test_damaged_line_in_the_middle_is_named(tracker):
    tracker.path.write_text('{"step": 0}\n{"st\n{"step": 2}\n')
    with pytest.raises(RunError, match=r"metrics\.jsonl:2 is not a row of JSON.*Remove that line"):
        tracker.cut(2)


def test_full_disk_is_a_clear_error():
    with pytest.raises(RunError, match="Cannot write the metrics at /dev/full: the disk is full"):
        JsonlTracker(Path("/dev/full")).log(0, {"loss": 1.0})


def test_fan_out_reaches_every_tracker(tmp_path):
    first, second = JsonlTracker(tmp_path / "a"), JsonlTracker(tmp_path / "b")
    both = FanOutTracker([first, second])
    both.log(0, {"x": 1})
    both.log(1, {"x": 2})
    both.cut(1)
    both.close()
    assert first.rows() == second.rows() == [{"step": 0, "x": 1}]


def test_fan_out_tells_every_tracker_of_an_event(tmp_path):
    told = []

    class Listener(JsonlTracker):
        def note(self, step, name, text):
            told.append((step, name, text))

    FanOutTracker([Listener(tmp_path / "a"), JsonlTracker(tmp_path / "b"), Listener(tmp_path / "c")]).note(
        3, "alarm", "x"
    )
    assert told == [(3, "alarm", "x")] * 2


def test_timings_are_told_from_what_must_repeat():
    row = {"step": 1, "kl_nats": 2.0, "step_seconds": 3.0, "seconds/propose": 1.0, "tokens_per_second": 5.0}
    assert [name for name in row if is_timing(name)] == ["step_seconds", "seconds/propose", "tokens_per_second"]
    assert without_timings(row) == {"step": 1, "kl_nats": 2.0}


def test_open_trackers_writes_the_json_lines_always(tmp_path):
    tracker = open_trackers(tmp_path)
    tracker.log(0, {"x": 1})
    assert JsonlTracker(tmp_path / "metrics.jsonl").rows() == [{"step": 0, "x": 1}]


def test_unknown_tracker_names_the_known_ones(tmp_path):
    with pytest.raises(SettingsError, match=r"Unknown tracker 'tensorbord'\. Did you mean tensorboard\?"):
        open_trackers(tmp_path, names=["tensorbord"])


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_tracker_that_is_not_installed_says_what_to_install(name, tmp_path, monkeypatch):
    # None in sys.modules is how Python itself is told that a package is not there.
    for module in (name, "torch.utils.tensorboard") if name == "tensorboard" else (name,):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(SettingsError, match=rf"Tracker '{name}' needs the package .*pip install 'kleash\[{name}\]'"):
        open_trackers(tmp_path, names=[name])


@pytest.mark.parametrize("row", ['{"loss": 1.0}', '{"step": "1"}', '{"step": null}', "[1]", "3", "[" * 100_000])
def test_a_row_that_no_version_wrote_is_named(tracker, row):
    tracker.log(0, {"loss": 1.5})
    with open(tracker.path, "a") as file:
        file.write(row + "\n")
    with pytest.raises(RunError, match=r"metrics\.jsonl.*Remove that (row|line)"):
        tracker.cut(1)
