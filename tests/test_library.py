"""`import kleash`: quick, lazy, and the lines of the README work as they stand."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import kleash
from kleash.errors import KleashError, SettingsError

ROOT = Path(__file__).parents[1]


def run_python(code, *arguments, cwd):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *code, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_loads_no_torch_and_next_to_nothing(tmp_path):
    code = "import sys, kleash; print(sorted({'torch', 'numpy', 'pydantic', 'rich'} & sys.modules.keys()), dir(kleash))"
    loaded, _, names = run_python(["-c", code], cwd=tmp_path).partition("]")
    assert loaded == "["
    assert set(kleash.__all__) <= set(eval(names))


def test_every_name_is_there_and_an_unknown_one_is_not():
    for name in kleash.__all__:
        assert getattr(kleash, name).__doc__, name
    with pytest.raises(AttributeError, match=r"has no attribute 'train'; it has .*train_policy"):
        kleash.train  # noqa: B018


def test_overrides_are_checked_as_a_recipe_s_settings_are():
    recipe = kleash.load_recipe("quickstart", {"policy.steps": 3, "evaluation.num_prompts": None, "name": "mine"})
    assert (recipe.policy.steps, recipe.evaluation.num_prompts, recipe.name) == (3, None, "mine")
    assert recipe.policy.prompts_per_step == 128, "what the shipped recipe says stays"
    with pytest.raises(SettingsError, match=r"policy.stps = 3: unknown setting policy.stps; did you mean steps\?"):
        kleash.load_recipe("quickstart", {"policy.stps": 3})
    with pytest.raises(SettingsError, match=r"policy.steps = 'many': policy.steps = .many. should be a valid integer"):
        kleash.load_recipe("quickstart", {"policy.steps": "many"})


def test_a_function_stands_where_a_recipe_names_one():
    def likes(prompt, completion):
        return len(completion)

    recipe = kleash.load_recipe("quickstart", {"scorer.kind": "function", "scorer.function": likes})
    scores = kleash.score(recipe.scorer.function, ["why ?"], ["so"])
    assert list(scores.total) == [2.0]


def test_scores_need_an_answer_to_each_prompt():
    with pytest.raises(SettingsError, match=r"There are 2 prompts and 1 completions. Expected one answer to each"):
        kleash.score(len, ["a", "b"], ["c"])


@pytest.mark.slow
def test_ten_lines_on_the_sandbox(tmp_path):
    shown = run_python([str(ROOT / "examples" / "quickstart.py")], cwd=tmp_path).splitlines()
    assert "%" in shown[0]
    assert len(shown) == 4
    run = kleash.Run("notebook", tmp_path / "runs")
    assert len(run.metrics) == len(run.metrics["score_mean"]) == 3
    assert list(run.metrics["score_mean"].to_pandas()) == list(run.metrics["score_mean"])
    assert list(run.metrics.to_pandas()["step"]) == [0, 1, 2]
    with pytest.raises(KeyError, match="did you mean score_mean"):
        run.metrics["score_men"]
    assert run.policy.kind == "policy"
    assert run.reward.kind == "reward"
    assert {"prompt", "after"} <= run.samples[0].keys()
    assert run.report().is_file()
    assert "win rate against SFT" in run._repr_html_()
    assert "runs/notebook" in repr(run)


@pytest.mark.slow
def test_your_own_reward_and_your_own_algorithm_on_a_real_checkpoint(tmp_path):
    stories = ROOT / "tests" / "fixtures" / "stories260k"
    before, after = run_python([str(ROOT / "examples" / "own_reward.py"), stories], cwd=tmp_path).splitlines()
    rates = [float(line.split(": ")[1].split()[0]) for line in (before, after)]
    assert rates[1] > rates[0] + 0.2
    shown = run_python([str(ROOT / "examples" / "own_algorithm.py"), stories], cwd=tmp_path)
    assert shown.startswith("best_of_group: score")


def test_an_unfinished_stage_is_named(tmp_path):
    folder = tmp_path / "runs" / "young" / "round-000"
    folder.mkdir(parents=True)
    (folder.parent / "recipe.toml").write_text('name = "young"\n')
    run = kleash.Run("young", tmp_path / "runs")
    with pytest.raises(KleashError, match="has no finished reward stage"):
        _ = run.reward
    with pytest.raises(KleashError, match="has trained no policy yet"):
        _ = run.metrics
    assert repr(run).endswith("nothing finished yet)")
