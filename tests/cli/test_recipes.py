"""recipe new, check, explain."""

import sys
from pathlib import Path

import pytest

from kleash.cli.recipes import settings_of
from kleash.locations import shipped_recipes
from kleash.recipe import Recipe, load_recipe

LABELLED_BY_JUDGES = ["preferences.comparer=judges", "preferences.judges=labellers.toml"]


def test_new_writes_a_recipe_that_loads(kleash, tmp_path):
    file = tmp_path / "deep" / "mine.toml"
    shown = kleash("recipe", "new", file)
    assert shown.code == 0
    recipe = load_recipe(file)
    assert recipe.name == "mine"
    assert recipe.data.preferences == Path("data/preferences.jsonl")


def test_new_from_another_copies_it_with_its_comments(kleash, tmp_path):
    file = tmp_path / "mine.toml"
    assert kleash("recipe", "new", file, "--from", "quickstart").code == 0
    assert file.read_text() == shipped_recipes()["quickstart"].read_text()


def test_new_never_writes_over_a_file(kleash, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("precious")
    shown = kleash("recipe", "new", file)
    assert shown.code == 2
    assert f"{file} exists already. Expected a file to be made. Choose another name" in shown.err
    assert file.read_text() == "precious"


def test_check_says_what_would_run(kleash, workplace):
    shown = kleash("recipe", "check", "tiny.toml")
    assert shown.code == 0, shown.err
    assert "✓ tiny.toml would run: world → sft → candidates" in shown.out
    assert ["base", "base"] in [line.split() for line in shown.out.splitlines()]


def test_check_counts_the_rows_of_the_recipe_s_files(kleash, workplace):
    Path("good.jsonl").write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "c"}\n')
    Path("own.toml").write_text('base = "base"\nstages = ["sft"]\n[data]\ndemonstrations = "good.jsonl"\n')
    assert "1 rows, format prompt-completion; bad rows left out: 1" in kleash("recipe", "check", "own.toml").out
    shown = kleash("recipe", "check", "own.toml", "--strict")
    assert shown.code == 2
    assert "data.demonstrations: 1 of the 2 rows of good.jsonl cannot be used" in shown.err


def test_check_takes_single_answers_for_kto_alone(kleash, workplace):
    rows = ['{"prompt": "a", "completion": "b", "label": 1}', '{"prompt": "a", "completion": "c", "label": 0}']
    Path("thumbs.jsonl").write_text("\n".join(rows))
    recipe = 'base="base"\nstages=["preferences", "{}"]\ndata.preferences = "thumbs.jsonl"\ndirect.algorithm = "kto"'
    Path("own.toml").write_text(recipe.format("direct"))
    assert "2 rows, format trl-unpaired" in kleash("recipe", "check", "own.toml").out
    Path("own.toml").write_text(recipe.format("reward"))
    assert "which holds no preferences" in kleash("recipe", "check", "own.toml").err


def test_check_reads_the_suites(kleash, workplace):
    Path("own.toml").write_text('base = "base"\nstages = ["suites"]\n[suites]\nfiles = ["safety", "lost.jsonl"]\n')
    shown = kleash("recipe", "check", "own.toml")
    assert shown.code == 2
    assert "suites.files, lost.jsonl: There is no suite lost.jsonl" in shown.err
    assert "suites.files, safety" not in shown.err


def test_check_names_everything_that_is_missing_at_once(kleash, workplace):
    kleash("recipe", "new", "mine.toml")
    shown = kleash("recipe", "check", "mine.toml")
    assert shown.code == 2
    assert shown.err.startswith("mine.toml cannot run yet. base: There is no model folder models/base.")
    for name in ("demonstrations", "prompts", "evaluation_prompts", "preferences"):
        assert f"\ndata.{name}: " in shown.err


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("policy.algorithm=pqo", "policy.algorithm: Unknown algorithm 'pqo'"),
        ("preferences.comparer=simulatd", "preferences.comparer: Unknown comparer 'simulatd'. Did you mean simulated?"),
        ("scorer.kind=function", """scorer.kind: scorer.kind is "function" and scorer.function is not set."""),
        ('trackers=["wanbd"]', "trackers.wanbd: Unknown tracker 'wanbd'. Did you mean wandb?"),
        (
            "evaluation.judge=no_such_module:score",
            "evaluation.judge: Cannot load scorer 'no_such_module:score'",
        ),
        ("scorer.kind=polite", "scorer.kind: Unknown scorer 'polite'"),
    ],
)
def test_check_finds_components_that_are_not_there(kleash, workplace, override, message):
    shown = kleash("recipe", "check", "tiny.toml", "--set", override)
    assert shown.code == 2
    assert message in shown.err


def test_check_wants_a_reward_model_where_one_scores(kleash, workplace):
    shown = kleash("recipe", "check", "tiny.toml", "--set", 'stages=["world", "sft", "policy"]')
    assert shown.code == 2
    assert "scorer.kind: scorer.kind is 'reward_model' and there is no reward model." in shown.err


@pytest.mark.parametrize(
    ("overrides", "row"),
    [
        (["evaluation.judge=proxy"], "UNPROVEN: it scores the answers while the policy trains"),
        (
            ["preferences.comparer=rw.py:happy", "evaluation.judge=rw.py:happy"],
            "rw.py:happy, UNPROVEN: it labelled the pairs that it learnt from",
        ),
        (
            ["preferences.comparer=rw.py:happy", "evaluation.judge=copy.py:happy"],
            "copy.py:happy, UNPROVEN: it labelled the pairs that it learnt from",
        ),
        (
            ["scorer.kind=function", "scorer.function=rw.py:happy", "alarms.comparer=rw.py:happy"],
            "rw.py:happy, UNPROVEN: it scores its answers while it trains",
        ),
        (
            [*LABELLED_BY_JUDGES, "alarms.comparer=judges", "alarms.judges=again.toml", "alarms.raters=2"],
            "judges, UNPROVEN: it labelled the pairs that it learnt from",
        ),
        ([*LABELLED_BY_JUDGES, "alarms.comparer=judges", "alarms.judges=others.toml"], ""),
        (["preferences.comparer=rw.py:happy", "evaluation.judge=other.py:happy"], ""),
        ([], ""),
    ],
)
def test_check_says_of_a_judge_that_trains_the_policy_that_it_proves_nothing(kleash, workplace, overrides, row):
    happy = "def happy(prompt, completion):\n    return completion.count('!')\n"
    for name, text in (("rw", happy), ("copy", happy), ("other", f"{happy}    # another file\n")):
        Path(f"{name}.py").write_text(text)
    judge = '[[judges]]\nbase_url = "http://localhost:{}/v1"\nmodel = "{}"\n'
    Path("labellers.toml").write_text(judge.format(1, "qwen"))
    Path("again.toml").write_text('rubric = "Be strict."\n' + judge.format(2, "gemma") + judge.format(3, "qwen"))
    Path("others.toml").write_text(judge.format(1, "gemma"))
    shown = kleash("recipe", "check", "tiny.toml", *(part for one in overrides for part in ("--set", one)))
    assert shown.code == 0, shown.err
    said = " ".join(shown.out.split())
    assert row in said
    assert ("UNPROVEN" in said) == bool(row)


def test_check_wants_a_direct_algorithm_that_exists(kleash, workplace):
    stages = 'stages=["world", "sft", "candidates", "preferences", "direct"]'
    shown = kleash("recipe", "check", "tiny.toml", "--set", stages, "--set", "direct.algorithm=dpq")
    assert "direct.algorithm: Unknown direct algorithm 'dpq'. Did you mean dpo? Known: dpo, ipo, kto." in shown.err


def test_explain_shows_type_limits_default_and_description(kleash):
    shown = kleash("recipe", "explain", "policy.leash.target_nats")
    [row] = [line for line in shown.out.splitlines() if line.strip().startswith("policy.")]
    assert " ".join(row.split()) == (
        "policy.leash.target_nats number, above 0 2.0 wanted KL to the reference, nats per sequence (adaptive)"
    )


def test_explain_lists_every_setting_of_the_recipe(kleash):
    names = [line.split()[0] for line in kleash("recipe", "explain").out.splitlines() if line[1:2].strip()]
    assert names[1:] == [entry.name for entry in settings_of(Recipe)]
    assert {"seed", "sft.fit.learning_rate", "policy.leash.kind", "scorer.function"} <= set(names)


def test_explain_names_the_nearest_setting(kleash):
    shown = kleash("recipe", "explain", "policy.leesh")
    assert shown.code == 2
    assert shown.err.startswith("There is no setting policy.leesh. Did you mean policy.leash?")


def test_types_are_told_in_a_reader_s_words():
    told = {entry.name: (entry.type, entry.default) for entry in settings_of(Recipe)}
    assert told["base"] == ("text or none", "none")
    assert told["policy.leash.kind"] == ("adaptive | fixed | scheduled", '"adaptive"')
    assert told["candidates.temperatures"] == ("list of numbers", "[1.0]")
    assert told["stages"][0].startswith("list of world | pretrain | sft")
    assert told["policy.leash.slice_limits"] == ("table of numbers", "{}")
    assert told["policy.check_ratio"] == ("true or false", "true")
    assert told["reward.smoothing"] == ("number, at least 0, below 0.5", "0.0")
    assert told["data.prompts"] == ("path or none", "none")


def test_check_looks_whether_a_trackers_package_is_installed(kleash, workplace, monkeypatch):
    assert kleash("recipe", "check", "tiny.toml", "--set", 'trackers=["mlflow"]').code == 0
    monkeypatch.setitem(sys.modules, "mlflow", None)
    shown = kleash("recipe", "check", "tiny.toml", "--set", 'trackers=["mlflow"]')
    assert shown.code == 2
    assert "trackers.mlflow: Tracker 'mlflow' needs the package mlflow, which cannot be imported" in shown.err


def test_check_says_where_a_step_asks_for_more_prompts_than_there_are(kleash, workplace):
    Path("judge.py").write_text("def score(prompt, completion):\n    return 0.0\n")
    Path("prompts.jsonl").write_text('{"prompt": "a"}\n{"prompt": "b"}\n')
    Path("own.toml").write_text(
        'base = "base"\nstages = ["policy"]\ndata.prompts = "prompts.jsonl"\npolicy.prompts_per_step = 3\n'
        'scorer.kind = "function"\nscorer.function = "judge.py:score"\n'
    )
    shown = kleash("recipe", "check", "own.toml")
    assert shown.code == 0, shown.err
    assert "policy.prompts_per_step is 3 and data.prompts has 2: every step asks each" in " ".join(shown.err.split())
    assert "prompts_per_step" not in kleash("recipe", "check", "own.toml", "--set", "policy.prompts_per_step=2").err


def test_check_plans_memory_by_role_and_time_by_stage(kleash, workplace):
    shown = kleash("recipe", "check", "tiny.toml", "--memory", "1KB")
    assert shown.code == 0, shown.err
    lines = [line.split() for line in shown.out.splitlines()]
    assert {"policy", "reference", "critic", "together"} <= {
        line[0] for line in lines if line and line[-1] in ("MB", "GB")
    }
    assert any(line[:1] == ["policy"] and line[-1] in ("s", "min") for line in lines), "seconds of its steps"
    assert "tokens (assumed, for no file of them is there yet)" in shown.out
    assert "More than 0 MB. It does not fit even with" in shown.out
    assert "  model.lora_rank = 16  # then " in shown.out
    assert "fit" not in kleash("recipe", "check", "tiny.toml", "--memory", "80GB").out
    refused = kleash("recipe", "check", "tiny.toml", "--memory", "much")
    assert (refused.code, "'much' is no amount of memory" in refused.err) == (2, True)


def test_check_plans_nothing_for_a_base_that_is_not_here_yet(kleash, workplace):
    shown = kleash("recipe", "check", "tiny.toml", "--set", "base=hub:nobody/nothing")
    assert "No plan of memory and time: no base is on this machine yet." in shown.out
