"""Kill -9 anywhere, in any stage or between rounds: the same call again leaves the very files of a run left alone."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import tiny
from kleash.algorithms.rollout_metrics import KL
from kleash.artifacts import file_digest, read
from kleash.lineage import verify
from kleash.tracking import JsonlTracker
from stages.killed_round import SCENARIOS
from stages.tiny_recipe import STAGES
from timings import without_timings

TESTS = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


def lives_of(scenario, tmp_path_factory):
    """Live a scenario's lives; return the folder with whole, mid-work and lives.json, in one of them writes."""
    base = tiny.tiny_language_model_folder(tmp_path_factory.mktemp("base"))
    out = tmp_path_factory.mktemp("lives")
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        [sys.executable, str(TESTS / "stages" / "killed_round.py"), str(base), str(out), scenario],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def lives(tmp_path_factory):
    return lives_of("round", tmp_path_factory)


@pytest.fixture(scope="module")
def lives_of_two_rounds(tmp_path_factory):
    return lives_of("two rounds", tmp_path_factory)


def test_every_life_but_the_last_was_cut_short(lives):
    told = json.loads((lives / "lives.json").read_text())
    assert [was_killed for was_killed, _ in told["lives"]] == [True] * len(SCENARIOS["round"].points)
    assert told["deaths_at_writes"] > 100


@pytest.mark.parametrize("killed", ["writes", "mid-work"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_stage_leaves_what_an_uninterrupted_one_leaves(lives, killed, stage):
    expect_the_same(lives / killed / stage, lives / "whole" / stage)


def expect_the_same(folder, whole):
    """Compare two artifacts file by file, but for what the clock says in them."""
    assert verify(folder) == []
    assert read(folder).id == read(whole).id
    assert {**read(folder).summary, "seconds": 0} == {**read(whole).summary, "seconds": 0}
    names = {path.relative_to(whole) for path in whole.rglob("*") if path.is_file()}
    assert names == {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    logs = {name for name in names if name.name == "metrics.jsonl"}
    for name in names - logs - {Path("artifact.json")}:
        assert file_digest(folder / name) == file_digest(whole / name), name
    for name in logs:
        rows, expected = (JsonlTracker(one / name).rows() for one in (folder, whole))
        assert list(map(without_timings, rows)) == list(map(without_timings, expected))
        assert [row["step"] for row in rows] == list(range(len(rows)))


def test_the_best_weights_were_kept_and_beta_moved(lives):
    """What the comparison rests on: the run did what a resume could get wrong."""
    summary = read(lives / "whole" / "policy").summary
    assert summary["best_step"] == 2
    assert summary["beta_final"] != 0.1
    evaluations = JsonlTracker(lives / "whole" / "policy" / "evaluations.jsonl").rows()
    assert [row["step"] for row in evaluations] == [0, 1, 2, 3]
    assert [row["external/win_rate"] for row in evaluations] == pytest.approx([0.5, 0.8, 1.0, 0.6])
    assert (lives / "whole" / "policy" / "alarms.jsonl").read_text() != ""


def test_every_life_in_two_rounds_was_cut_short_and_current_never_went_back(lives_of_two_rounds):
    told = json.loads((lives_of_two_rounds / "lives.json").read_text())["lives"]
    points = SCENARIOS["two rounds"].points
    assert [was_killed for was_killed, _ in told] == [True] * len(points)
    assert [name for _, name in told] == [None] * 2 + ["round-000"] * (len(points) - 4) + ["round-001"] * 2


def test_two_killed_rounds_leave_what_uninterrupted_ones_leave(lives_of_two_rounds):
    whole, killed = lives_of_two_rounds / "whole", lives_of_two_rounds / "mid-work"
    stages = sorted(path.parent.relative_to(whole) for path in whole.glob("round-*/*/artifact.json"))
    assert len(stages) == 15
    for stage in stages:
        expect_the_same(killed / stage, whole / stage)
    assert everything_in(killed) == everything_in(whole)
    assert (killed / "current").readlink() == (whole / "current").readlink() == Path("round-001")


def test_the_killed_ensemble_has_two_members_that_differ(lives_of_two_rounds):
    """What the comparison rests on."""
    reward = lives_of_two_rounds / "whole" / "round-001" / "reward"
    assert (reward / "member-1" / "metrics.jsonl").is_file()
    weights = "model.safetensors"
    assert file_digest(reward / weights) != file_digest(reward / "member-1" / weights)


def everything_in(run):
    return {path.relative_to(run) for path in run.rglob("*")}


def test_the_labels_of_a_killed_round_are_those_of_an_uninterrupted_one(lives_of_two_rounds):
    killed, whole = (labels(lives_of_two_rounds / run / "round-001") for run in ("mid-work", "whole"))
    assert killed == whole
    assert [len(rows) for rows in whole] == [24, 1, 24]


def labels(folder):
    """Return the judgements of a round's label database, and what it knows of where they went."""
    queries = (
        "select item_id, rater_id, outcome, ranks, is_surplus from judgements order by id",
        "select artifact_id from exports",
        "select export_id, judgement_id from exported_judgements order by 1, 2",
    )
    with closing(sqlite3.connect(folder / "labels.sqlite")) as database:
        return [database.execute(query).fetchall() for query in queries]


def test_the_second_rounds_leash_heard_of_slices_and_of_quality(lives_of_two_rounds):
    """What the comparison rests on; that a forgotten word would change beta is in test_policy.py, by hand."""
    policy = lives_of_two_rounds / "whole" / "round-001" / "policy"
    rows, evaluations = (JsonlTracker(policy / f"{name}.jsonl").rows() for name in ("metrics", "evaluations"))
    has_cats = [f"slice/thing=cat/{KL}" in row for row in rows]
    assert has_cats == [False, True, True, False, True, False], "a running mean is kept while a batch lacks its slice"
    assert [row["step"] for row in evaluations if "external/win_rate" in row] == [0, 2, 4, 6]
    assert len({row["beta"] for row in rows}) > 1
