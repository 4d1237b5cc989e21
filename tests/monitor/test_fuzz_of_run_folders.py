"""Run folders with anything in their files: the report is written, or refused in words."""

import json
import random
import shutil
from contextlib import suppress

import pytest
from fake_run import make_fake_run

from kleash.errors import KleashError
from kleash.monitor.pages.report import write_report

RUNS_PER_SEED = 15
LEAVES = [None, True, -1, 10**30, float("inf"), "", "x", "\ud83d", [], {}, [{}], {"a": 1}]


def damaged(chance, value):
    """A JSON value with something in it put in another's place."""
    if chance.random() < 0.25 or not isinstance(value, dict | list) or not value:
        return chance.choice(LEAVES)
    if isinstance(value, list):
        index = chance.randrange(len(value))
        return [*value[:index], damaged(chance, value[index]), *value[index + 1 :]]
    name = chance.choice(sorted(value))
    return {**value, name: damaged(chance, value[name])}


def damage(chance, file):
    lines = file.read_text(encoding="utf-8").splitlines()
    if file.suffix == ".json":
        file.write_text(json.dumps(damaged(chance, json.loads("\n".join(lines)))))
    elif file.suffix == ".jsonl" and lines:
        index = chance.randrange(len(lines))
        with suppress(ValueError):
            lines[index] = json.dumps(damaged(chance, json.loads(lines[index])))
        file.write_text("\n".join(lines))
    else:
        file.write_text("\n".join(lines)[: chance.randrange(len(lines) * 9 + 1)])


@pytest.mark.parametrize("seed", range(4))
def test_a_report_is_written_or_refused_whatever_lies_in_the_folder(tmp_path, seed):
    run = make_fake_run(tmp_path / "whole")
    names = sorted(path.relative_to(run) for path in run.rglob("*") if path.is_file())
    for number in range(RUNS_PER_SEED):
        chance = random.Random(f"{seed} {number}")
        copy = tmp_path / "one" / str(number)
        shutil.copytree(run, copy)
        for name in chance.sample(names, k=chance.randint(1, 3)):
            damage(chance, copy / name)
        with suppress(KleashError):
            write_report(copy)


@pytest.mark.parametrize(
    "wrong", [{"id": 1.5}, {"files": {"a": 3}}, {"parents": {"x": None}, "origins": {}}, {"kind": []}]
)
def test_a_manifest_of_other_things_than_texts_is_named(tmp_path, wrong):
    run = make_fake_run(tmp_path)
    path = run / "round-000" / "sft" / "artifact.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "artifact": {**manifest["artifact"], **wrong}}))
    assert "is damaged" in write_report(run).read_text()
