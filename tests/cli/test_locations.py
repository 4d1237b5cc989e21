"""What names stand for: recipes, runs, artifacts, policies; and what is said of names that stand for nothing."""

import shutil
from pathlib import Path

import pytest

from kleash.errors import ArtifactError, RunError, SettingsError
from kleash.locations import find_policy, find_recipe, find_run, find_run_or_artifact, shipped_recipes

RUNS = Path("runs")


def test_a_shipped_recipe_is_found_by_its_bare_name():
    assert find_recipe("quickstart") == shipped_recipes()["quickstart"]
    assert find_recipe("quickstart").name == "quickstart.toml"


def test_a_file_comes_before_a_shipped_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("quickstart").write_text("")
    assert find_recipe("quickstart") == Path("quickstart")


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(SettingsError, match=r"No recipe quickstrat: .*Did you mean quickstart\? `kleash recipe new"):
        find_recipe("quickstrat")


def test_a_run_is_found_by_name_and_by_folder(small_run):
    assert find_run("small", RUNS) == RUNS / "small"
    assert find_run(str(small_run), RUNS) == small_run


def test_an_unknown_run_names_those_there_are(small_run):
    with pytest.raises(RunError, match=r"No run smal: neither smal nor runs/smal .* there are small in runs\. Did you"):
        find_run("smal", RUNS)


def test_without_any_run_it_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match="there is none in runs"):
        find_run("x", RUNS)


def test_a_stage_is_found_by_run_and_stage_or_by_folder(small_run):
    assert find_run_or_artifact("small/policy", RUNS) == RUNS / "small/round-000/policy"
    assert find_run_or_artifact(str(small_run / "round-000/policy"), RUNS) == small_run / "round-000/policy"
    assert find_run_or_artifact("small", RUNS) == RUNS / "small"


def test_a_run_stands_for_the_last_policy_it_trained(small_run):
    assert find_policy("small", RUNS) == RUNS / "small/round-000/policy"
    assert find_policy("small/preferences", RUNS) == RUNS / "small/round-000/preferences"


def test_the_newest_round_counts(small_run):
    (small_run / "round-000").rename(small_run / "round-001")
    (small_run / "round-000").mkdir()
    assert find_policy("small", RUNS) == RUNS / "small/round-001/policy"


def test_the_current_policy_comes_before_a_newer_one_that_its_gate_held_back(small_run):
    shutil.copytree(small_run / "round-000", small_run / "round-001")
    assert find_policy("small", RUNS) == RUNS / "small/round-001/policy"
    (small_run / "current").symlink_to("round-000")
    assert find_policy("small", RUNS) == RUNS / "small/round-000/policy"


def test_model_folders_and_hub_names_stand_for_themselves(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert find_policy(str(tmp_path), RUNS) == tmp_path
    assert str(find_policy("hub:owner/name", RUNS)) == "hub:owner/name"


def test_a_run_without_a_policy_says_what_is_missing(small_run):
    (small_run / "round-000/policy").rename(small_run / "round-000/policy.partial")
    with pytest.raises(ArtifactError, match=r"Run runs/small has no finished policy yet\. Expected one of its stages"):
        find_policy("small", RUNS)
