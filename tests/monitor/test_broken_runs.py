"""Any one broken run is shown as damaged, with the reason, and harms no other; commands about it say so in words.

A few damaged folders by default; KLEASH_FUZZ=300 makes that many.
"""

import json
import os
import random
import shutil

import pytest
from fake_run import make_fake_run
from starlette.testclient import TestClient

from kleash.cli import main
from kleash.monitor.app import create_app

NUM_CASES = int(os.environ.get("KLEASH_FUZZ", "16"))
PAGES = [f"{data}/{page}/broken" for data in ("", "/data") for page in ("run", "samples", "aims", "audit", "labellers")]
PAGES += ["/lineage/broken", "/data/lineage/broken", "/compare?run=broken", "/data/compare?run=broken"]
COMMANDS = ("summary", "lineage", "verify", "report")
ODD = [
    None,
    True,
    -1,
    10**400,
    1.5,
    float("nan"),
    "x",
    "\x1b[2J",
    "9" * 5000,
    [],
    [[]],
    {},
    {"a": {}},
    [None],
    "é" * 300,
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of every stage, to be damaged."""
    return make_fake_run(tmp_path_factory.mktemp("whole"), name="whole")


@pytest.fixture
def runs(tmp_path, whole):
    """A folder with a copy of the run, to be damaged, beside a run that stays whole."""
    shutil.copytree(whole, tmp_path / "broken", symlinks=True)
    make_fake_run(tmp_path, name="other", stages=("sft", "reward"))
    return tmp_path


@pytest.fixture
def client(runs):
    return TestClient(create_app(runs), base_url="http://localhost")


def change(path, **values):
    manifest = json.loads(path.read_text())
    manifest["artifact"] |= values
    path.write_text(json.dumps(manifest))


def policy_of(runs):
    return runs / "broken" / "round-000" / "policy"


def origins_as_list(runs):
    change(policy_of(runs) / "artifact.json", origins=[])


def deep_manifest(runs):
    (policy_of(runs) / "artifact.json").write_text('{"artifact": ' * 100_000)


def own_parent(runs):
    own = json.loads((policy_of(runs) / "artifact.json").read_text())["artifact"]["id"]
    change(policy_of(runs) / "artifact.json", parents={"me": own}, origins={"me": {"kind": "policy", "path": "."}})


def summary_list(runs):
    (runs / "broken" / "summary.json").write_text("[1]")


def summary_odd(runs):
    text = {"slices": {"a": 3}, "win_rate": [], "rounds": [1], "seconds": 3, "unfinished": 3, "audit": {}}
    (runs / "broken" / "summary.json").write_text(json.dumps(text))


def metrics_without_step(runs):
    (policy_of(runs) / "metrics.jsonl").write_text('{"score_mean": "x"}\n[3]\n{"step": "1"}\n{"step": [1]}\n')


def metrics_pipe(runs):
    (policy_of(runs) / "metrics.jsonl").unlink()
    os.mkfifo(policy_of(runs) / "metrics.jsonl")


def recipe_none(runs):
    (runs / "broken" / "recipe.toml").write_text("policy = 3\nstages = 5\nseed = ")


DAMAGES = [origins_as_list, deep_manifest, own_parent, summary_list, summary_odd, metrics_without_step]
DAMAGES += [metrics_pipe, recipe_none]
SEEN_ON_THE_LIST = {origins_as_list, deep_manifest, summary_list, metrics_pipe, recipe_none}


def check_pages(client):
    for address in PAGES:
        answer = client.get(address)
        assert answer.status_code in (200, 404, 422), (address, answer.text)
        if answer.status_code == 422:
            assert "damaged" in answer.text
    table = client.get("/")
    assert table.status_code == client.get("/data/runs").status_code == 200
    assert client.get("/run/other").status_code == client.get("/lineage/other").status_code == 200
    return table.text


def check_commands(runs, capsys):
    for command in COMMANDS:
        with pytest.raises(SystemExit) as end:
            main([command, "broken", "--runs-dir", str(runs)])
        assert end.value.code in (0, 1, 2), command
    with pytest.raises(SystemExit, match="0"):
        main(["lineage", "other", "--runs-dir", str(runs)])
    assert "\x1b" not in "".join(capsys.readouterr())


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_broken_run_is_shown_as_damaged_and_the_others_as_ever(client, runs, capsys, damage):
    damage(runs)
    table = check_pages(client)
    assert ("damaged" in table) == (damage in SEEN_ON_THE_LIST)
    check_commands(runs, capsys)


def test_a_run_that_is_its_own_parent_is_told_so(client, runs, capsys):
    own_parent(runs)
    assert "artifacts name each other as what they were made from" in client.get("/lineage/broken").text
    with pytest.raises(SystemExit, match="2"):
        main(["lineage", "broken", "--runs-dir", str(runs)])
    assert "artifacts name each other" in capsys.readouterr().err


def test_a_whole_run_is_whole(client):
    assert "damaged" not in check_pages(client)


def damage_somewhere(folder, chance):
    """Damage one file of a run in one of many ways, its content or what it is."""
    files = sorted(path for path in folder.rglob("*.json*") if path.is_file() and not path.is_symlink())
    path = chance.choice([*files, folder / "recipe.toml"])
    way = chance.randrange(7)
    if way == 0:
        path.unlink()
    elif way == 1:
        path.write_bytes(path.read_bytes()[: chance.randrange(path.stat().st_size + 1)])
    elif way == 2:
        path.write_text(json.dumps(chance.choice(ODD)) + "\n")
    elif way == 3:
        path.unlink()
        chance.choice([os.mkfifo, os.mkdir, lambda link: os.symlink("nowhere", link)])(path)
    elif path.suffix == ".toml":
        path.write_text(path.read_text() + f"\n[policy.x]\nsteps = {json.dumps(chance.choice(['x', [], -1]))}\n")
    else:
        lines = path.read_text().split("\n") if path.suffix == ".jsonl" else [path.read_text()]
        line = chance.randrange(len(lines))
        try:
            content = json.loads(lines[line])
        except ValueError:
            content = {}
        for _ in range(chance.randrange(1, 4)):
            put_somewhere(content, chance)
        lines[line] = json.dumps(content)
        path.write_text("\n".join(lines))


def put_somewhere(content, chance):
    """Put something odd in one of the places of nested JSON, or take the place out."""
    while isinstance(content, dict | list) and content:
        place = chance.choice(list(content) if isinstance(content, dict) else range(len(content)))
        inner = content[place]
        if not isinstance(inner, dict | list) or not inner or chance.random() < 0.3:
            if chance.random() < 0.2:
                del content[place]
            else:
                content[place] = chance.choice(ODD)
            return
        content = inner


@pytest.mark.parametrize("start", range(4))
def test_no_damage_ends_in_a_traceback(tmp_path, whole, capsys, start):
    make_fake_run(tmp_path, name="other", stages=("sft", "reward"))
    client = TestClient(create_app(tmp_path), base_url="http://localhost")
    for case in range(start, NUM_CASES, 4):
        shutil.rmtree(tmp_path / "broken", ignore_errors=True)
        shutil.copytree(whole, tmp_path / "broken", symlinks=True)
        chance = random.Random(case)
        for _ in range(chance.randrange(1, 4)):
            damage_somewhere(tmp_path / "broken", chance)
        if not (tmp_path / "broken" / "recipe.toml").is_file():
            continue  # no run any more, or one without a recipe
        check_pages(client)
        check_commands(tmp_path, capsys)
