"""Kill -9 anywhere, in any stage: the same command again leaves the very files an uninterrupted run leaves."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tiny
from kleash.artifacts import file_digest, read, verify
from kleash.tracking import JsonlTracker, without_timings
from stages.killed_round import MID_WORK
from stages.tiny_recipe import STAGES

TESTS = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lives(tmp_path_factory):
    """Run the killed rounds; return the folder with whole, writes and mid-work, and lives.json."""
    base = tiny.tiny_language_model_folder(tmp_path_factory.mktemp("base"))
    out = tmp_path_factory.mktemp("lives")
    environment = {"PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        [sys.executable, str(TESTS / "stages" / "killed_round.py"), str(base), str(out)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return out


def test_every_life_but_the_last_was_cut_short(lives):
    told = json.loads((lives / "lives.json").read_text())
    assert told["killed"] == [True] * len(MID_WORK)
    assert told["deaths"] > 100


@pytest.mark.parametrize("killed", ["writes", "mid-work"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_stage_leaves_what_an_uninterrupted_one_leaves(lives, killed, stage):
    whole, other = lives / "whole" / stage, lives / killed / stage
    assert verify(other) == []
    assert read(other).id == read(whole).id
    assert {**read(other).summary, "seconds": 0} == {**read(whole).summary, "seconds": 0}
    names = {path.relative_to(whole) for path in whole.rglob("*") if path.is_file()}
    assert names == {path.relative_to(other) for path in other.rglob("*") if path.is_file()}
    for name in names - {Path("artifact.json"), Path("metrics.jsonl")}:
        assert file_digest(other / name) == file_digest(whole / name), name
    if Path("metrics.jsonl") in names:
        rows, expected = (JsonlTracker(folder / "metrics.jsonl").rows() for folder in (other, whole))
        assert list(map(without_timings, rows)) == list(map(without_timings, expected))
        assert [row["step"] for row in rows] == list(range(4))


def test_the_best_weights_were_kept_and_beta_moved(lives):
    """What the comparison rests on: the run did what a resume could get wrong."""
    summary = read(lives / "whole" / "policy").summary
    assert summary["best_step"] == 2
    assert summary["beta_final"] != 0.1
    evaluations = JsonlTracker(lives / "whole" / "policy" / "evaluations.jsonl").rows()
    assert [row["step"] for row in evaluations] == [0, 1, 2, 3]
    assert [row["external/win_rate"] for row in evaluations] == pytest.approx([0.5, 0.8, 1.0, 0.6])
    assert (lives / "whole" / "policy" / "alarms.jsonl").read_text() != ""
