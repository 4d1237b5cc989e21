"""A machine without a Chromium fails the tests that look at pages; none of them is left out in silence."""

from pathlib import Path

import pytest

from browsing import NAMES, chromium

INSTALLER = Path(__file__).parents[1] / "scripts" / "install_chromium"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The only folder that programs are looked for in."""
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def add_program(path):
    path.touch(mode=0o755)
    return str(path)


@pytest.mark.parametrize("name", NAMES)
def test_a_chromium_is_found_under_any_of_its_names(folder, name):
    path = add_program(folder / name)
    assert chromium() == path


def test_ones_own_chromium_comes_first(folder, monkeypatch):
    add_program(folder / "chromium")
    monkeypatch.setenv("CHROMIUM", add_program(folder / "mine"))
    assert chromium() == str(folder / "mine")


def test_without_a_chromium_the_message_says_how_to_get_one(folder, monkeypatch):
    with pytest.raises(AssertionError, match=r"No Chromium called chromium or .*run scripts/install_chromium"):
        chromium()
    monkeypatch.setenv("CHROMIUM", "/no/such/browser")
    with pytest.raises(AssertionError, match="No Chromium called /no/such/browser"):
        chromium()


def test_the_installer_is_content_with_the_same_names():
    assert f"for name in {' '.join(NAMES)};" in INSTALLER.read_text()
