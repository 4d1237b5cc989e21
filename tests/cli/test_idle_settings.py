"""Settings that would do nothing are refused by name: the table, and the ways that a recipe comes in."""

import re

import pytest

from kleash import library
from kleash.cli.recipes import settings_of
from kleash.errors import SettingsError
from kleash.idle_settings import IDLE, idle_settings, refuse_idle_settings
from kleash.recipe import Recipe, load_recipe
from kleash.settings import Settings
from kleash.stages.support.scoring import NamedTerm

ROWS = [(row.where, value, name) for row in IDLE for value in row.values or ("a file",) for name in row.names]


def with_setting(record, name, value):
    """A record with one setting of any value at all, by dotted name."""
    first, _, rest = name.partition(".")
    return record.model_copy(update={first: with_setting(getattr(record, first), rest, value) if rest else value})


@pytest.mark.parametrize(("where", "value", "name"), ROWS)
def test_what_does_nothing_is_refused_by_name_and_is_nobodys_fault_at_its_default(where, value, name):
    recipe = with_setting(Recipe(), where, value)
    assert name not in [found[0] for found in idle_settings(recipe)]
    table = recipe.setting(name)
    first = f"{name}.{next(iter(type(table).model_fields))}" if isinstance(table, Settings) else name
    recipe = with_setting(recipe, first, (NamedTerm(name="other"),) if name == "scorer.terms" else "changed")
    with pytest.raises(SettingsError) as refused:
        refuse_idle_settings(recipe)
    message = f"{name} is {recipe.setting(name)!r} and {where} is {value!r}, with which it does nothing."
    assert f"{message} Leave {name} out, or change {where}." in str(refused.value)
    elsewhere = with_setting(recipe, where, "my_module:OWN")
    assert (name, where) not in [found[::2] for found in idle_settings(elsewhere)] or value == "a file"


def test_a_setting_whose_description_names_its_case_stands_in_the_table():
    """DPO's own constant, GRPO's, the adaptive leash's ..."""
    says = re.compile(
        r"\b(DPO|IPO|KTO|GRPO|REINFORCE|PPO)(:|\)| l)|\((adaptive|scheduled)\)|kind = |^(judges|ensemble|simulated.*):"
    )
    named = {name for _, _, name in ROWS}
    spoken = [setting.name for setting in settings_of(Recipe) if says.search(setting.description)]
    assert len(spoken) > 20
    general = {"policy.pretraining_coefficient"}  # PPO-ptx is its name with any algorithm
    assert [name for name in spoken if name not in named and name not in general] == []


@pytest.fixture
def recipe_file(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('stages = ["world", "policy"]\n[scorer]\nkind = "rules"\n[policy.leash]\ngain = 0.3\n')
    return file


def test_a_file_or_two_overrides_that_contradict_are_refused(recipe_file, kleash, sandbox_model, tmp_path):
    with pytest.raises(SettingsError, match=r"^policy.leash.slice_limits is .* and policy.leash.kind is 'fixed', with"):
        load_recipe(recipe_file, ["policy.leash.kind=fixed", 'policy.leash.slice_limits={"*" = 1.0}'])
    recipe_file.write_text(recipe_file.read_text() + 'kind = "fixed"\n')
    with pytest.raises(SettingsError, match=r"policy.leash.gain is 0.3 and policy.leash.kind is 'fixed'"):
        load_recipe(recipe_file)
    changes = ("direct.algorithm=ipo", "direct.loss.label_smoothing=0.1", "direct.loss.robust=true")
    inputs = ("--reference", sandbox_model, "--preferences", tmp_path, "--into", tmp_path / "direct")
    refused = kleash("direct", *inputs, *(word for change in changes for word in ("--set", change)))
    assert refused.code == 2
    assert "direct.loss.label_smoothing is 0.1 and direct.algorithm is 'ipo'" in " ".join(refused.err.split())
    assert "direct.loss.robust is True and direct.algorithm is 'ipo'" in " ".join(refused.err.split())


def test_what_an_override_of_another_setting_made_idle_is_said(recipe_file, capsys):
    load_recipe(recipe_file, ["policy.leash.kind=fixed"])
    assert "policy.leash.gain is 0.3 and policy.leash.kind is 'fixed', with which it does" in capsys.readouterr().err
    library.load_recipe(recipe_file, {"policy.leash": {"kind": "scheduled", "gain": 0.2}})
    assert "gain" not in capsys.readouterr().err
    with pytest.raises(SettingsError, match=r"gain is 0.3 and policy.leash.kind is 'fixed'"):
        library.load_recipe(recipe_file, {"policy.leash": {"kind": "fixed", "gain": 0.3}})


def test_a_run_that_was_begun_so_goes_on_and_is_told(recipe_file, tmp_path, kleash):
    """Its settings are kept, and a changed recipe would be refused."""
    recipe_file.write_text(recipe_file.read_text() + 'kind = "fixed"\n')
    arguments = ("run", str(recipe_file), "--name", "old", "--runs-dir", str(tmp_path / "runs"))
    refused = kleash(*arguments)
    assert (refused.code, "policy.leash.gain is 0.3" in refused.err) == (2, True)
    assert not (tmp_path / "runs").exists()
    (tmp_path / "runs" / "old").mkdir(parents=True)
    (tmp_path / "runs" / "old" / "recipe.toml").touch()
    err = kleash(*arguments).err
    assert "policy.leash.gain is 0.3 and policy.leash.kind is 'fixed', with which it does nothing.\n" in err
    assert "Leave policy.leash.gain out" not in err


def test_answers_that_are_scaled_or_audited_otherwise_than_trained_on_are_spoken_of(recipe_file, kleash):
    recipe_file.write_text('stages = ["world", "sft", "candidates", "preferences", "reward", "audit", "policy"]\n')
    assert "Set them alike" not in kleash("recipe", "check", recipe_file).err
    changes = ("policy.max_new_tokens=128", "audit.max_new_tokens=128", "policy.temperature=0.8")
    err = kleash("recipe", "check", recipe_file, *(word for change in changes for word in ("--set", change))).err
    assert (
        "policy.max_new_tokens is 128 and candidates.max_new_tokens is 64, reward.normaliser_max_new_tokens is 64: the"
        in err
    )
    assert "policy.temperature is 0.8 and reward.normaliser_temperature is 1.0: the reward is trained, scaled or" in err
    no_reward = ("--set", 'stages=["world", "policy"]', "--set", "scorer.kind=own_components:LENGTH")
    assert "Set them alike" not in kleash("recipe", "check", recipe_file, *no_reward).err
