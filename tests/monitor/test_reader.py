"""Reading a run folder: whatever state it is in."""

import pytest
from fake_run import make_fake_run

from kleash.errors import RunError
from kleash.monitor.read.reader import read_run
from kleash.stages.table import STAGES


def test_stages_come_in_the_order_in_which_they_run(tmp_path):
    run = read_run(make_fake_run(tmp_path))
    assert list(run.rounds[0].stages) == ["sft", "candidates", "preferences", "reward", "policy", "evaluation"]
    assert all(stage.is_complete for stage in run.rounds[0].stages.values())
    assert run.problems == ()
    assert run.recipe["policy"]["leash"]["target_nats"] == 1.5


def test_every_stage_of_the_table_has_its_place_and_strangers_follow_by_name(tmp_path):
    for name in (*STAGES, "people", "campaign"):
        (tmp_path / "round-000" / name).mkdir(parents=True)
    assert list(read_run(tmp_path).rounds[0].stages) == [*STAGES, "campaign", "people"]


def test_a_torn_last_line_is_left_out_without_a_word(tmp_path):
    folder = make_fake_run(tmp_path, stages=("sft", "policy"))
    with open(folder / "round-000" / "policy" / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write('{"step": 60, "score_me')
    run = read_run(folder)
    assert [row["step"] for row in run.rounds[0].rows("policy", "metrics")] == list(range(60))
    assert run.problems == ()


def test_a_damaged_line_in_the_middle_is_left_out_and_named(tmp_path):
    folder = make_fake_run(tmp_path, stages=("sft",))
    path = folder / "round-000" / "sft" / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + "rubbish\n" + "".join(lines[1:]))
    run = read_run(folder)
    assert len(run.rounds[0].rows("sft", "metrics")) == 220
    assert run.problems == ("sft/metrics.jsonl, line 2, is not JSON and was left out",)


def test_an_unfinished_stage_is_read_from_its_partial_folder(tmp_path):
    folder = make_fake_run(tmp_path, stages=("sft", "policy"))
    policy = folder / "round-000" / "policy"
    (policy / "artifact.json").unlink()
    policy.rename(policy.with_name("policy.partial"))
    stage = read_run(folder).rounds[0].stages["policy"]
    assert not stage.is_complete
    assert stage.summary == {}
    assert len(stage.rows["metrics"]) == 60


def test_what_a_killed_deletion_left_is_no_stage(tmp_path):
    folder = make_fake_run(tmp_path, stages=("sft",))
    (folder / "round-000" / "policy.old.partial").mkdir()
    assert list(read_run(folder).rounds[0].stages) == ["sft"]


def test_a_damaged_manifest_or_recipe_is_named_and_the_rest_is_read(tmp_path):
    folder = make_fake_run(tmp_path, stages=("sft", "reward"))
    (folder / "round-000" / "sft" / "artifact.json").write_text("{")
    (folder / "recipe.toml").write_text("name = ")
    run = read_run(folder)
    assert not run.rounds[0].stages["sft"].is_complete
    assert run.rounds[0].stages["reward"].is_complete
    assert "artifact.json" in run.problems[0]
    assert run.problems[1].startswith("recipe.toml is not TOML")


@pytest.mark.parametrize(("exists", "reason"), [(True, "neither recipe.toml nor a stage"), (False, "no such folder")])
def test_a_folder_without_a_run_is_refused(tmp_path, exists, reason):
    folder = tmp_path / "nothing"
    if exists:
        folder.mkdir()
    with pytest.raises(RunError, match=rf"No run at .*nothing: .*{reason}.* `kleash run` made is needed"):
        read_run(folder)
