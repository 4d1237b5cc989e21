"""Plug-ins: found by name, by entry point or by module:attribute, and a clear word when they are not."""

import importlib
import sys

import pytest

from kleash.algorithms.direct import DIRECT_ALGORITHMS
from kleash.algorithms.online import ONLINE_ALGORITHMS
from kleash.errors import SettingsError
from kleash.plugins import BUILT_INS, list_plugins, resolve
from kleash.tracking import TensorBoardTracker


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a package with one module and one entry point, as pip would lay it out."""
    monkeypatch.syspath_prepend(tmp_path)

    def output_dir(package, entry_name, code, attribute="make"):
        (tmp_path / f"{package}.py").write_text(code)
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[kleash.plugins]\n{entry_name} = {package}:{attribute}\n")
        importlib.invalidate_caches()

    return output_dir


def test_built_ins_come_through_the_same_door():
    assert resolve("tracker", "tensorboard") is TensorBoardTracker


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in BUILT_INS.items() for name in names])
def test_every_built_in_resolves(kind, name):
    component = resolve(kind, name)
    assert callable(component) or component.name == name


def test_every_row_of_the_tables_is_a_built_in():
    for kind, table in (("algorithm", ONLINE_ALGORITHMS), ("direct_algorithm", DIRECT_ALGORITHMS)):
        assert {name: resolve(kind, name) for name in BUILT_INS[kind]} == table


def test_installed_package_adds_its_own(install):
    install("politeness", "scorer.polite", "def make(): return 'polite'")
    assert resolve("scorer", "polite")() == "polite"
    (plugin,) = [plugin for plugin in list_plugins() if plugin.package == "politeness"]
    assert (plugin.kind, plugin.name, plugin.target) == ("scorer", "polite", "politeness:make")


def test_listing_imports_nothing(install):
    install("explosive", "scorer.boom", "raise RuntimeError('boom')")
    assert "boom" in [plugin.name for plugin in list_plugins()]
    assert "explosive" not in sys.modules


def test_own_function_beside_the_recipe_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_scorers.py").write_text("class Scorers:\n    @staticmethod\n    def short(x): return -len(x)\n")
    assert resolve("scorer", "my_scorers:Scorers.short")("abc") == -3


def test_unknown_name_is_answered_with_the_nearest_and_all_known():
    expected = (
        r"Unknown tracker 'wandbb'\. Did you mean wandb\? Known: mlflow, tensorboard, wandb\. "
        r"Use one of them, or name your own as module:attribute\."
    )
    with pytest.raises(SettingsError, match=expected):
        resolve("tracker", "wandbb")
    with pytest.raises(SettingsError, match=r"Unknown gadget 'x'\. Known: none\."):
        resolve("gadget", "x")


def test_plugin_that_does_not_import_names_its_package(install):
    install("brokenpack", "scorer.broken", "import not_there_at_all")
    expected = (
        r"Cannot load scorer 'broken' of package brokenpack \(brokenpack:make\): ModuleNotFoundError: .*Update or uni"
    )
    with pytest.raises(SettingsError, match=expected):
        resolve("scorer", "broken")


def test_missing_attribute_of_an_own_module_is_named():
    with pytest.raises(
        SettingsError, match=r"Cannot load scorer 'json:lods' .*AttributeError.*Correct the name or the"
    ):
        resolve("scorer", "json:lods")


def test_name_claimed_twice_is_refused(install):
    install("rival", "tracker.wandb", "make = 1")
    expected = r"tracker 'wandb' is claimed by kleash and rival\..*kleash.tracking:WandbTracker or rival:make"
    with pytest.raises(SettingsError, match=expected):
        resolve("tracker", "wandb")


def test_badly_named_entry_point_is_refused(install):
    install("nameless", "polite", "make = 1")
    with pytest.raises(SettingsError, match=r"Package nameless names a plug-in 'polite'\. A name must be kind\.name"):
        list_plugins()
