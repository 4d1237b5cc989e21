"""`import kleash`: quick, lazy, and the lines of the README work as they stand."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import kleash
from kleash.errors import DataError, KleashError, SettingsError

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


# -------------------------------------------------------------------------------- what is given is used as it is meant
STORIES = ROOT / "tests" / "fixtures" / "stories260k"
ONE_UPDATE = {"steps": 1, "prompts_per_step": 2, "max_new_tokens": 4}


def letters(prompt, completion):
    return len(completion)


def test_a_policy_is_trained_as_it_was_loaded_unless_told_otherwise(tmp_path):
    policy = kleash.load_policy(STORIES, device="cpu", dtype="bfloat16_autocast")
    given = {"prompts": ["Once upon"] * 4, "scorer": letters, "settings": ONE_UPDATE}
    as_loaded = kleash.train_policy(policy, **given, output_dir=tmp_path / "as-loaded")
    assert as_loaded.settings["model"]["dtype"] == "bfloat16_autocast"
    otherwise = {"model.dtype": "float32"}
    told = kleash.train_policy(policy, **given, overrides=otherwise, output_dir=tmp_path / "told")
    assert (told.settings["model"]["dtype"], told.settings["model"]["device"]) == ("float32", "cpu")


def test_one_text_is_not_taken_for_a_prompt_a_letter():
    with pytest.raises(
        SettingsError, match=r"prompts is the text 'Once upon'. Expected a list of prompts. Put it into"
    ):
        kleash.generate(STORIES, "Once upon")
    with pytest.raises(SettingsError, match="Expected a list of prompts"):
        kleash.score(letters, "why ?", ["so"])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [("question", "good", "bad")],
            r"Row 0 of pairs is \('question', 'good', 'bad'\). Expected a record, a mapping",
        ),
        ([{"prompt": "a", "chosen": "b", "rejected": "c"}, 5], r"Row 1 of pairs is 5"),
        (7, r"pairs is 7. Expected a file, an artifact, or a list of rows"),
    ],
)
def test_rows_of_no_known_kind_are_named(tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        kleash.train_direct(STORIES, rows, output_dir=tmp_path / "dpo")
    assert not list(tmp_path.iterdir()), "nothing is written before all rows are known"


def test_the_metrics_of_a_run_under_way_are_those_of_now(tmp_path):
    folder = tmp_path / "runs" / "young" / "round-000" / "policy.partial"
    folder.mkdir(parents=True)
    (tmp_path / "runs" / "young" / "recipe.toml").write_text('name = "young"\n')
    run = kleash.Run("young", tmp_path / "runs")
    for num_updates in (1, 2):
        rows = [f'{{"step": {step}, "score_mean": {step}.5}}\n' for step in range(num_updates)]
        (folder / "metrics.jsonl").write_text("".join(rows))
        assert run.metrics["score_mean"] == tuple(step + 0.5 for step in range(num_updates))
