"""The recipe: strict on load, and refused when a stage lacks what it needs."""

import pytest

from kleash.errors import SettingsError
from kleash.recipe import Recipe, check_order, load_recipe


def written(tmp_path, text):
    (tmp_path / "mine.toml").write_text(text)
    return tmp_path / "mine.toml"


def test_a_recipe_is_read_with_its_tables_and_overrides(tmp_path):
    path = written(tmp_path, 'name = "mine"\n[policy]\nsteps = 7\n[policy.leash]\nbeta = 0.3\n')
    recipe = load_recipe(path, ["policy.leash.target_nats=5", 'preferences.panel="hurried"'])
    assert (recipe.name, recipe.policy.steps, recipe.policy.leash.beta) == ("mine", 7, 0.3)
    assert (recipe.policy.leash.target_nats, recipe.preferences.panel) == (5.0, "hurried")
    assert recipe.stages[0] == "world"


def test_a_misspelt_setting_is_refused_with_its_line_and_the_nearest_name(tmp_path):
    path = written(tmp_path, "[policy]\nsteps = 7\n[policy.leash]\ntarget_nat = 5\n")
    with pytest.raises(SettingsError, match=r"(?s)mine.toml.*4.*target_nat.*target_nats"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        (["sft"], "Stage sft needs data.demonstrations, which is not set. Set it, or put the world stage before it."),
        (["candidates"], "Stage candidates needs data.prompts, which is not set. Set it, or put the world stage"),
        (["policy"], "Stage policy needs data.prompts"),
        (["evaluation"], "Stage evaluation needs data.evaluation_prompts"),
        (["preferences"], "Stage preferences needs data.preferences, which is not set. Set it, or put the candidates"),
        (["pretrain"], "Stage pretrain needs data.documents, which is not set. Set it."),
        (["world", "suites"], "Stage suites needs suites.files, which is not set. Set it."),
        (["evaluation", "world"], "Stage evaluation needs data.evaluation_prompts"),
        (
            ["reward"],
            "Stage reward needs preferences, and no preferences stage comes before it. Add it to `stages`, or",
        ),
        (["world", "candidates", "direct", "preferences"], "Stage direct needs preferences, and no preferences stage"),
        (["audit"], "Stage audit needs a reward model, and no reward stage comes before it. Add it to `stages`"),
    ],
)
def test_a_stage_that_lacks_what_it_needs_is_named(tmp_path, stages, message):
    with pytest.raises(SettingsError) as refusal:
        load_recipe(written(tmp_path, f"stages = {stages}\n".replace("'", '"')))
    assert str(refusal.value).startswith(message)


def test_the_whole_recipe_and_data_of_ones_own_are_in_order():
    check_order(Recipe())
    own = {"demonstrations": "d.jsonl", "prompts": "p.jsonl", "evaluation_prompts": "e.jsonl"}
    check_order(Recipe(data=own, stages=("sft", "candidates", "preferences", "reward", "policy", "evaluation")))
    check_order(Recipe(data={"preferences": "p.jsonl"}, stages=("preferences", "direct")))


def test_picks_by_a_reward_model_need_a_round_before():
    picking = {"picks": ("best", "worst")}
    with pytest.raises(SettingsError, match=r"ask a scorer, and scorer.kind is 'reward_model'\..*Set rounds to 2"):
        check_order(Recipe(candidates=picking))
    check_order(Recipe(candidates=picking, rounds=2))
    check_order(Recipe(candidates=picking, scorer={"kind": "function", "function": "judge:score"}))


def test_an_unknown_stage_is_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"(?s)stages.*polcy"):
        load_recipe(written(tmp_path, 'stages = ["world", "polcy"]\n'))


@pytest.mark.parametrize("setting", ["top_k=40", "top_p=0.9"])
def test_training_samples_the_full_softmax_and_says_why(tmp_path, setting):
    path = written(tmp_path, "[policy]\nsteps = 7\n")
    name = setting.partition("=")[0]
    with pytest.raises(SettingsError, match=rf"policy: {name}: training samples the full softmax, for its gradient is"):
        load_recipe(path, [f"policy.{setting}"])
    assert getattr(load_recipe(path, [f"evaluation.{setting}"]).evaluation, name) in (40, 0.9)
