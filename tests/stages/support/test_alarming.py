"""The `[alarms]` table: what it refuses before anything is computed, and whom it asks."""

import pytest

from kleash.errors import SettingsError
from kleash.functions import function_digest
from kleash.recipe import load_recipe
from kleash.records import Prompt
from kleash.sandbox.labellers import SimulatedLabellers
from kleash.sandbox.world import train_prompts
from kleash.stages.support.alarming import AlarmSettings, build_alarms
from stages.tiny_recipe import JUDGE


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("alarms.comparer=people", r"people cannot be asked while a policy trains; use judges, or `kleash evaluate"),
        ("alarms.action=roll_back", r"roll_back goes to the best checkpoint by the external signal; set alarms.comp"),
        ("alarms.thresholds.lenght=[1.0, 2.0]", r"there is no symptom 'lenght'; expected one of divergence, .*length"),
        ("alarms.thresholds.length=[2.0, 1.0]", r"length warns at 2.0 and stops at 1.0; expected 0 < warn <= stop"),
        ("alarms.action=halt", r"alarms.action = \"halt\" should be 'none', 'raise_beta', 'hold' or 'roll_back'"),
    ],
)
def test_impossible_alarms_are_refused_when_the_recipe_is_read(tmp_path, setting, message):
    (tmp_path / "recipe.toml").write_text("stages = []\n")
    with pytest.raises(SettingsError, match=message):
        load_recipe(tmp_path / "recipe.toml", [setting])


def test_thresholds_are_read_from_the_recipe(tmp_path):
    (tmp_path / "recipe.toml").write_text("[alarms]\nthresholds = { length = [0.5, 1.0] }\n")
    assert load_recipe(tmp_path / "recipe.toml").alarms.thresholds == {"length": (0.5, 1.0)}


def test_nobody_is_asked_unless_somebody_is_named():
    alarms = build_alarms(AlarmSettings(), seed=0)
    assert alarms.signal is None
    assert alarms.recorded() == {"alarms": AlarmSettings()}


def test_a_function_is_asked():
    signal = build_alarms(AlarmSettings(comparer=JUDGE), seed=0).signal
    assert signal.votes([Prompt("q")] * 2, ["a bcd", "a b"], ["a b", "abcde"]) == [1.0, 0.0]


def test_the_panel_is_asked_with_the_settings_number_of_raters():
    settings = AlarmSettings(comparer="simulated", panel="hurried", raters=3, comparisons_per_evaluation=20)
    signal = build_alarms(settings, seed=0).signal
    assert isinstance(signal.comparer, SimulatedLabellers)
    assert (signal.comparer.panel, signal.comparer.bias) == ("hurried", 0.0)
    prompts = train_prompts(20, seed=1)
    votes = signal.votes(prompts, ["i can not help with that."] * 20, ["i do not know."] * 20)
    assert {round(6 * vote) for vote in votes} <= set(range(7))
    assert any(0 < vote < 1 for vote in votes)


def test_whom_the_alarms_ask_is_recorded(tmp_path):
    """An edited function or another judge refuses a resume; the same judge elsewhere does not."""

    def recorded(model, base_url):
        file = tmp_path / "judges.toml"
        file.write_text(f'[[judges]]\nbase_url = "{base_url}"\nmodel = "{model}"\n')
        settings = AlarmSettings(comparer="judges", judges=file)
        return build_alarms(settings, seed=0).recorded()["functions"]["alarms.judges"]

    assert recorded("m", "http://127.0.0.1:1/v1") == recorded("m", "http://127.0.0.1:2/v1")
    assert recorded("m", "http://127.0.0.1:1/v1") != recorded("other", "http://127.0.0.1:1/v1")
    by_function = build_alarms(AlarmSettings(comparer=JUDGE), seed=0).recorded()
    assert by_function["functions"] == {"alarms.comparer": vars(function_digest(JUDGE))}
