"""The table of stages, walked: by recipe, by command and by library, the same settings make the same artifact."""

import json
from pathlib import Path

import pytest

import kleash
from kleash.artifacts import read
from kleash.cli import main
from kleash.errors import SettingsError
from kleash.plugins import resolve
from kleash.recipe import Recipe
from kleash.stages.round import Round, run_rounds
from kleash.stages.table import PROVIDERS, RECIPE_STAGES, STAGES
from kleash.stages.wiring import SERVICES, inputs_asked_for, make
from stages.tiny_recipe import tiny_context, tiny_recipe

FILES = ("demonstrations", "prompts", "evaluation_prompts")
EVERY_STAGE = (
    *("sft", "candidates", "preferences", "reward", "audit", "best_of_n", "rft", "policy", "direct", "evaluation"),
    "suites",
)


@pytest.fixture(scope="session")
def recipe(base, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    (folder / "books.txt").write_text("the cat sat on the mat. the dog ran to the tree. " * 40)
    suite = [{"id": str(n), "prompt": f"is {n} big?", "check": {"kind": "refuses"}} for n in range(3)]
    (folder / "suite.jsonl").write_text("".join(json.dumps(row) + "\n" for row in suite))
    own = tiny_recipe(
        base,
        {**data, "documents": str(folder / "books.txt")},
        stages=("pretrain", *EVERY_STAGE),
        pretrain={"vocabulary_size": 300, "hidden_size": 16, "num_layers": 1, "num_heads": 2, "fit": {"max_steps": 2}},
        scorer={"accept_failed_audit": "a tiny random model"},
        audit={"max_new_tokens": 6},
        best_of_n={"n": 8, "max_new_tokens": 24},
        suites={"files": [str(folder / "suite.jsonl")], "max_new_tokens": 6},
        policy={"watch": {}, "pretraining_coefficient": 0.5, "pretraining_rows_per_step": 2},
        refresh={"reference": "average"},
        model={"device": "cpu"},
    )
    return own.model_copy(update={"rounds": 2})


@pytest.fixture(scope="session")
def rounds(recipe, tmp_path_factory):
    return run_rounds(recipe, tmp_path_factory.mktemp("walked"), tiny_context())


def test_the_walk_goes_through_every_row(rounds):
    first, second = rounds
    by_recipe = {*first.artifacts, *second.artifacts, "world"}
    assert by_recipe == set(STAGES), "the world is walked in tests/cli, where there is one"


@pytest.mark.parametrize("name", sorted(STAGES))
def test_a_row_names_what_is_there(name):
    stage = STAGES[name]
    assert callable(resolve("stage", stage.function))
    Recipe().setting(stage.settings)
    assert set(stage.services) <= set(SERVICES)
    for row in stage.inputs:
        assert row.origin in STAGES or hasattr(Round, row.origin), f"{name}: a run has no {row.origin}"
        assert not row.when or not Recipe().setting(row.when), "off unless somebody asks for it"
    assert not stage.about or stage.examples


def test_recipes_name_what_does_not_only_come_later():
    assert set(STAGES) - set(RECIPE_STAGES) == {"replay", "average"}
    assert {provider for _, provider, _ in PROVIDERS.values()} - {""} <= set(STAGES)


@pytest.mark.parametrize("name", ["pretrain", *EVERY_STAGE])
def test_a_stage_by_command_and_by_library_makes_the_artifact_of_the_run(name, recipe, rounds, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = rounds[0]
    expected, at = first.artifacts[name], {stage: artifact.path for stage, artifact in first.artifacts.items()}
    (tmp_path / "walked.toml").write_text(kleash.settings.dump_toml(recipe))
    data = {file: Path(getattr(recipe.data, file)) for file in FILES}
    commands = {
        "pretrain": ["pretrain", "--documents", recipe.data.documents],
        "sft": ["sft", "--base", at["pretrain"], "--demonstrations", data["demonstrations"]],
        "candidates": ["candidates", "--policy", at["sft"], "--prompts", data["prompts"]],
        "preferences": ["preferences", "--candidates", at["candidates"]],
        "reward": ["reward", "--base", at["sft"], "--preferences", at["preferences"]],
        "audit": ["audit", at["reward"], "--preferences", at["preferences"], "--reference", at["sft"]],
        "best_of_n": [
            *("best-of-n", "--policy", at["sft"], "--reward", at["reward"], "--prompts", data["prompts"]),
        ],
        "rft": ["sft", "--base", at["sft"], "--demonstrations", at["best_of_n"] / "demonstrations.jsonl"],
        "policy": [
            *("policy", "--reference", at["sft"], "--reward", at["reward"], "--audit", at["audit"]),
            *("--prompts", data["prompts"]),
        ],
        "direct": ["direct", "--reference", at["sft"], "--preferences", at["preferences"]],
        "evaluation": [
            *("evaluate", at["policy"], "--reference", at["sft"], "--prompts", data["evaluation_prompts"]),
            *("--reward", at["reward"]),
        ],
        "suites": ["evaluate", at["policy"], "--reference", at["sft"], "--suite", recipe.suites.files[0]],
    }
    # Without the recipe's first round being told apart: a command is always a first round.
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in [*commands[name], "--recipe", "walked.toml", "--into", "by-command"]])
    assert end.value.code == 0
    assert read(tmp_path / "by-command").id == expected.id
    library = {
        "sft": lambda **more: kleash.train_sft(at["pretrain"], data["demonstrations"], **more),
        "reward": lambda **more: kleash.train_reward(first.artifacts["sft"], at["preferences"], **more),
        "audit": lambda **more: kleash.audit_reward(at["reward"], at["preferences"], reference=at["sft"], **more),
        "policy": lambda **more: kleash.train_policy(
            at["sft"], prompts=data["prompts"], scorer=at["reward"], audit=at["audit"], **more
        ),
        "direct": lambda **more: kleash.train_direct(at["sft"], first.artifacts["preferences"], **more),
        "evaluation": lambda **more: kleash.evaluate(
            at["policy"], at["sft"], data["evaluation_prompts"], scorer=at["reward"], **more
        ),
    }
    if name in library:
        assert library[name](recipe="walked.toml", output_dir="by-library").id == expected.id


# ------------------------------------------------------------------------------------ one setting, one behaviour (F1)
MIX = {"pretraining_coefficient": 0.5}
MIX_MESSAGE = "policy needs data.demonstrations, which is not set, because policy.pretraining_coefficient is 0.5"


def test_a_pretraining_mix_without_texts_is_refused_by_the_recipe_and_by_the_stage(base, data, tmp_path):
    prompts_only = {"prompts": data["prompts"]}
    tables = {"policy": MIX, "scorer": {"kind": "function", "function": "judge:score"}}
    recipe = tiny_recipe(base, prompts_only, stages=("policy",), **tables)
    with pytest.raises(SettingsError, match=MIX_MESSAGE):
        kleash.recipe.check_order(recipe)
    inputs = {"reference": base, "prompts": data["prompts"]}
    with pytest.raises(SettingsError, match=r"no demonstrations. Expected some, because policy.pretraining"):
        make("policy", recipe, tiny_context(), inputs, tmp_path / "policy")
    assert not list(tmp_path.iterdir())


def test_the_recipe_s_own_texts_serve_a_command_that_names_none(base, data):
    recipe = tiny_recipe(base, data, stages=("policy",), policy=MIX)
    inputs = {"reference": base, "prompts": data["prompts"]}
    assert inputs_asked_for(STAGES["policy"], recipe, inputs)["texts_to_keep"] == Path(data["demonstrations"])


def test_texts_that_no_setting_asks_for_are_said_to_be_unused(base, data, capsys):
    recipe = tiny_recipe(base, data, stages=("policy",))
    inputs = {"reference": base, "prompts": data["prompts"], "texts_to_keep": Path(data["demonstrations"])}
    assert "texts_to_keep" not in inputs_asked_for(STAGES["policy"], recipe, inputs)
    assert capsys.readouterr().err == "policy.pretraining_coefficient is 0.0, so --demonstrations is not used.\n"
