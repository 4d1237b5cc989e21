"""The script that makes the chat model's folder: what it does when all is there, and when a download is dropped."""

import importlib.machinery
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "fetch_smollm2"
# Stands for pip: fails so many times, then leaves a wheel where it was told to.
FAKE_PIP = """
import pathlib, sys
tries = pathlib.Path(__file__).with_name("tries")
tries.write_text(str(int(tries.read_text()) + 1 if tries.exists() else 1))
if int(tries.read_text()) <= {num_failures}:
    sys.exit(1)
assert "--no-deps" in sys.argv
pathlib.Path(sys.argv[sys.argv.index("--dest") + 1], "model.whl").touch()
"""


@pytest.fixture
def script():
    loader = importlib.machinery.SourceFileLoader("fetch_smollm2", str(SCRIPT))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("fetch_smollm2", loader))
    loader.exec_module(module)
    return module


@pytest.fixture
def failing_pip(tmp_path, monkeypatch):
    def fails(num_failures):
        (tmp_path / "pip.py").write_text(FAKE_PIP.format(num_failures=num_failures))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        return tmp_path / "tries"

    return fails


def test_a_folder_that_is_there_is_left_as_it_is(tmp_path, failing_pip):
    tries = failing_pip(99)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    done = subprocess.run([sys.executable, SCRIPT, tmp_path / "model"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'model'}\n")
    assert not tries.exists()


def test_a_dropped_download_is_tried_again(tmp_path, script, failing_pip, capfd):
    tries = failing_pip(2)
    (tmp_path / "download").mkdir()
    assert script.fetch(tmp_path / "download", wait_seconds=0.0) == tmp_path / "download" / "model.whl"
    assert tries.read_text() == "3"
    assert "try 2 of 5" in capfd.readouterr().err


def test_an_index_that_never_answers_is_said(tmp_path, script, failing_pip):
    tries = failing_pip(99)
    (tmp_path / "download").mkdir()
    with pytest.raises(SystemExit, match=r"could not be downloaded. Check the network and pip's settings"):
        script.fetch(tmp_path / "download", wait_seconds=0.0)
    assert tries.read_text() == str(script.NUM_TRIES)
