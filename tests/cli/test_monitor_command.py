"""`kleash monitor`: it serves a folder of runs without torch, and says what is wrong with a folder that is none."""

import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from starlette.testclient import TestClient

from kleash.cli import main

PAGES_WITHOUT_TORCH = """
import sys
from pathlib import Path
from starlette.testclient import TestClient
from kleash.monitor.app import create_app

client = TestClient(create_app(Path(sys.argv[1])), base_url="http://localhost")
for address in ("/", "/data/runs", "/run/mine", "/data/run/mine", "/samples/mine", "/data/samples/mine"):
    assert client.get(address).status_code == 200, address
assert "torch" not in sys.modules
"""


@pytest.fixture
def runs(tmp_path):
    """A folder with a run that has only begun."""
    (tmp_path / "mine" / "round-000" / "policy.partial").mkdir(parents=True)
    (tmp_path / "mine" / "recipe.toml").write_text('stages = ["policy"]\n')
    row = '{"step": 0, "score_mean": 0.5, "kl_nats_per_sequence": 0.1}\n'
    (tmp_path / "mine" / "round-000" / "policy.partial" / "metrics.jsonl").write_text(row)
    return tmp_path


def test_a_folder_that_is_not_there_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["monitor", str(tmp_path / "nowhere")])
    told = " ".join(capsys.readouterr().err.split())
    assert "there is no such folder. Expected one that `kleash run` writes into. Name it, or start a run first." in told


@pytest.mark.parametrize(
    ("options", "allowed", "refused"),
    [
        ([], ["localhost", "127.0.0.1:8322"], ["evil.example", "127.0.0.2", "192.168.1.5"]),
        (["--host", "localhost"], ["localhost", "127.0.0.1"], ["evil.example", "127.0.0.2"]),
        (["--host", "127.0.0.2"], ["127.0.0.2:8322", "localhost"], ["evil.example", "127.0.0.3"]),
        (["--host", "::1"], ["[::1]:8322", "localhost"], ["evil.example"]),
        (["--host", "0.0.0.0"], ["192.168.1.5:8322", "localhost"], ["evil.example", "box.home"]),
        (["--host", "0.0.0.0", "--allow-host", "box.home"], ["box.home", "10.0.0.1"], ["evil.example"]),
        (["--allow-host", "box.home"], ["box.home", "localhost"], ["evil.example", "192.168.1.5"]),
    ],
)
def test_it_goes_by_no_strangers_name_wherever_it_listens(runs, monkeypatch, options, allowed, refused):
    apps = []
    monkeypatch.setattr("uvicorn.run", lambda app, **_: apps.append(app))
    with pytest.raises(SystemExit, match="0"):
        main(["monitor", str(runs), *options])
    client = TestClient(apps[0], base_url="http://localhost")
    found = {host: client.get("/", headers={"Host": host}).status_code for host in allowed + refused}
    assert found == dict.fromkeys(allowed, 200) | dict.fromkeys(refused, 400)


@pytest.mark.slow
def test_it_serves_the_runs_until_it_is_ended(runs):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "kleash", "monitor", str(runs), "--port", str(port)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert f"http://127.0.0.1:{port}" in process.stderr.readline()
            assert "mine" in _page(f"http://127.0.0.1:{port}/", process)
        finally:
            process.terminate()


@pytest.mark.slow
def test_its_pages_do_without_torch(runs):
    done = subprocess.run([sys.executable, "-c", PAGES_WITHOUT_TORCH, str(runs)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def _page(address, process):
    while True:
        try:
            with urllib.request.urlopen(address) as answer:
                return answer.read().decode()
        except urllib.error.URLError as error:
            if process.poll() is not None:
                raise AssertionError("the monitor ended") from error
