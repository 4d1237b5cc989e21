"""Settings: what is read, what is refused, and whether the complaint leads to the right line."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kleash.errors import SettingsError
from kleash.settings import Settings, check_settings, difference, dump_toml, load_toml


class Leash(Settings):
    target_nats: float = 6.0
    gain: float = 0.1


class Bucket(Settings):
    name: str
    weight: float = 1.0


class Policy(Settings):
    steps: int = 40
    leash: Leash = Leash()
    betas: tuple[float, float] = (0.9, 0.95)
    data: Path | None = None
    eos_token: str | int | None = None
    leash_or_beta: Leash | float = 0.1
    buckets: tuple[Bucket, ...] = ()


class Recipe(Settings):
    name: str
    policy: Policy = Policy()


RECIPE = """\
name = "x"   # line 1
[policy]
steps = 12

[policy.leash]
target_nats = 3
"""


@pytest.fixture
def recipe(tmp_path):
    def write(text):
        path = tmp_path / "x.toml"
        path.write_text(text)
        return path

    return write


def refusal(path, overrides=()):
    with pytest.raises(SettingsError) as caught:
        load_toml(path, Recipe, overrides)
    return str(caught.value)


def test_file_then_defaults_make_the_settings_and_only_what_was_written_counts_as_set(recipe):
    loaded = load_toml(recipe(RECIPE), Recipe)
    assert loaded == Recipe(name="x", policy=Policy(steps=12, leash=Leash(target_nats=3.0)))
    assert loaded.model_dump(exclude_unset=True) == {"name": "x", "policy": {"steps": 12, "leash": {"target_nats": 3}}}


def test_overrides_win_over_the_file_and_are_read_as_toml_or_else_as_text(recipe):
    overrides = ["policy.steps=7", "policy.betas=[0.5, 0.6]", "name=plain text", "policy.leash.gain=1e-2"]
    loaded = load_toml(recipe(RECIPE), Recipe, overrides)
    assert loaded.policy.steps == 7
    assert loaded.policy.betas == (0.5, 0.6)
    assert loaded.name == "plain text"
    assert loaded.policy.leash == Leash(target_nats=3.0, gain=0.01)


def test_unknown_setting_names_file_line_nearest_and_valid_names(recipe):
    path = recipe(RECIPE.replace("target_nats", "traget_nats"))
    assert refusal(path) == (
        f"{path}:6: unknown setting policy.leash.traget_nats; did you mean target_nats? Valid: target_nats, gain."
    )


def test_unknown_setting_that_belongs_to_another_table_is_pointed_there(recipe):
    path = recipe(RECIPE.replace("steps = 12", "gain = 1.0"))
    assert "x.toml:3: unknown setting policy.gain; did you mean policy.leash.gain?" in refusal(path)


def test_each_fault_is_reported_with_its_own_line(recipe):
    message = refusal(recipe(RECIPE.replace("12", '"twelve"').replace("= 3", "= true")))
    lines = message.splitlines()
    assert len(lines) == 2
    assert 'x.toml:3: policy.steps = "twelve" should be a valid integer. Correct the value.' in lines[0]
    assert "x.toml:6: policy.leash.target_nats = true should be a valid number" in lines[1]


def test_types_are_strict(recipe):
    assert 'policy.steps = "12" should be a valid integer' in refusal(recipe(RECIPE.replace("12", '"12"')))


def test_lines_are_found_in_dotted_inline_and_repeated_tables_and_not_in_long_strings(recipe):
    dotted = 'name = """\npolicy.leash.gian = 1\n"""\npolicy.leash.gian = 1\n'
    assert "x.toml:4: unknown setting policy.leash.gian" in refusal(recipe(dotted))
    inline = 'name = "x"\n[policy]\nleash = {gian = 1}\n'
    assert "x.toml:3: unknown setting policy.leash.gian" in refusal(recipe(inline))
    repeated = 'name = "x"\n[[policy.buckets]]\nname = "a"\n[[policy.buckets]]\nname = "b"\nwieght = 2\n'
    message = refusal(recipe(repeated))
    assert "x.toml:6: unknown setting policy.buckets.1.wieght; did you mean weight? Valid: name, weight." in message


def test_setting_of_several_possible_types_is_named_as_it_was_written(recipe):
    lines = refusal(recipe('name = "x"\n[policy]\neos_token = 1.5\n')).splitlines()
    assert [line.partition("x.toml")[2] for line in lines] == [
        ":3: policy.eos_token = 1.5 should be a valid string. Correct the value.",
        ":3: policy.eos_token = 1.5 should be a valid integer. Correct the value.",
    ]
    message = refusal(recipe('name = "x"\n[policy.leash_or_beta]\ngian = 1\n'))
    assert "x.toml:3: unknown setting policy.leash_or_beta.gian; did you mean gain?" in message


def test_missing_setting_names_the_table_it_belongs_to(recipe):
    assert "x.toml:4: setting policy.buckets.0.name is missing" in refusal(
        recipe('name = "x"\n\n# buckets\n[[policy.buckets]]\nweight = 2\n')
    )


def test_faulty_override_is_named_as_the_argument_it_came_from(recipe):
    path = recipe(RECIPE)
    assert refusal(path, ["policy.steps=soon"]).startswith("--set policy.steps=soon: policy.steps = ")
    assert "--set policy.stpes=3: unknown setting policy.stpes; did you mean steps?" in refusal(
        path, ["policy.stpes=3"]
    )
    assert "--set policy.steps: expected name=value" in refusal(path, ["policy.steps"])
    assert "--set name.first=1: name is a value, not a table" in refusal(path, ["name.first=1"])


def test_missing_file_and_broken_toml_are_named(recipe, tmp_path):
    assert f"No settings file at {tmp_path / 'none.toml'}" in refusal(tmp_path / "none.toml")
    assert "x.toml:2: not valid TOML" in refusal(recipe('name = "x"\npolicy = twelve\n'))
    (tmp_path / "latin.toml").write_bytes(b'name = "\xff"')
    assert "Cannot read settings from" in refusal(tmp_path / "latin.toml")


def test_settings_from_elsewhere_are_checked_the_same_way():
    assert check_settings({"name": "x"}, Recipe, source="manifest") == Recipe(name="x")
    with pytest.raises(SettingsError, match=r"manifest: unknown setting nam; did you mean name\?"):
        check_settings({"nam": "x", "name": "y"}, Recipe, source="manifest")


def test_difference_names_each_change_and_nothing_else():
    old = {"policy": {"steps": 40, "leash": {"gain": 0.1}}, "seed": 1, "gone": True}
    new = {"policy": {"steps": 60, "leash": {"gain": 0.1}}, "seed": 1, "text": "a"}
    assert difference(old, new) == ["gone: true -> (not set)", "policy.steps: 40 -> 60", 'text: (not set) -> "a"']
    assert difference(Recipe(name="x"), Recipe(name="x")) == []


KEYS = st.text(min_size=1, max_size=8)
VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(),
    st.lists(st.integers(0, 9), max_size=3),
)


@given(st.dictionaries(KEYS, st.one_of(VALUES, st.dictionaries(KEYS, VALUES, max_size=3)), max_size=4))
def test_written_toml_reads_back_equal(table):
    import tomllib

    assert tomllib.loads(dump_toml(table)) == table


def test_written_settings_load_back_as_the_same_settings(recipe):
    settings = Recipe(name="x", policy=Policy(steps=3, buckets=(Bucket(name="a"),)))
    assert load_toml(recipe(dump_toml(settings)), Recipe) == settings


def test_none_switches_a_setting_off_in_a_file_and_on_the_command_line(tmp_path):
    class Inner(Settings):
        bound: float | None = 3.0
        name: str = "none"

    class Outer(Settings):
        inner: Inner = Inner()

    path = tmp_path / "off.toml"
    path.write_text('[inner]\nbound = "none"\nname = "none"\n')
    settings = load_toml(path, Outer)
    assert settings.inner.bound is None
    assert settings.inner.name == "none"
    path.write_text("")
    assert load_toml(path, Outer, ["inner.bound=none"]).inner.bound is None
    path.write_text(dump_toml(settings))
    assert load_toml(path, Outer) == settings
