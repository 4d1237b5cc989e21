"""summary, report, lineage, verify, plugins: on a run that was made by hand."""

import json
import re
import shutil

import pytest

from kleash.artifacts import read
from kleash.collection.store.database import Database
from kleash.recipe import Recipe
from kleash.runs import settle_recipe
from kleash.settings import load_toml
from kleash.stages.summary import summarise, write_summary


def test_summary_of_an_unfinished_run_shows_what_there_is(kleash, small_run):
    (small_run / "recipe.toml").write_text('name = "small"\nstages = ["preferences", "policy", "evaluation"]\n')
    shown = kleash("summary", "small")
    assert shown.code == 0
    assert "beta at the end  0.1000" in shown.out
    assert "2 pairs, raters agree on 50\u202f%" in shown.out
    assert "Still to do: evaluation" in shown.out
    assert "peak memory" not in shown.out


def test_summary_json_is_json_and_nothing_else(kleash, small_run):
    (small_run / "summary.json").write_text('{"name": "small", "win_rate": {"value": NaN, "n": 0}, "slices": [1.5]}')
    shown = kleash("summary", "small", "--json")
    assert json.loads(shown.out) == {"name": "small", "win_rate": None, "slices": {}}
    assert shown.err == ""


def test_a_damaged_summary_says_how_to_get_another(kleash, small_run):
    (small_run / "summary.json").write_text('{"name": ')
    shown = kleash("summary", "small")
    assert shown.code == 2
    assert "Cannot read runs/small/summary.json" in shown.err
    assert "Remove it and run the recipe again" in shown.err


def test_lineage_reaches_from_the_policy_to_its_labels(kleash, small_run):
    shown = kleash("lineage", "small")
    lines = shown.out.splitlines()
    assert lines[0] == "Made from:"
    assert "preferences" in lines[2]
    assert lines[-1].startswith("policy ")
    assert lines[-1].endswith(" rests on 2 judgements by 1 raters")


def test_lineage_of_a_label_lists_what_it_entered(kleash, small_run):
    for label in ("c1", "ann"):
        lines = kleash("lineage", "small", "--label", label).out.splitlines()
        assert lines[0] == f"{label} entered:"
        assert [line.split()[0] for line in lines[1:]] == ["preferences", "policy"]


def test_an_unknown_label_is_an_error(kleash, small_run):
    shown = kleash("lineage", "small/policy", "--label", "bob")
    assert shown.code == 2
    assert shown.err.startswith("No artifact around small/policy holds a label 'bob'. Expected a comparison's id")


def test_verify_accepts_a_whole_run_and_exits_1_for_an_altered_one(kleash, small_run):
    assert kleash("verify", "small").code == 0
    (small_run / "round-000/policy/weights").write_text("1 2 4")
    shown = kleash("verify", "small")
    assert shown.code == 1
    assert "✗ runs/small/round-000/policy/weights was altered" in shown.out
    assert kleash("verify", "small/preferences").code == 0


@pytest.fixture
def told_run(kleash, small_run):
    """The small run with all that lies around artifacts, as this version writes it."""
    recipe = load_toml(small_run / "recipe.toml", Recipe)
    (small_run / "recipe.toml").unlink()
    settle_recipe(small_run, recipe)
    stages = {stage: read(small_run / "round-000" / stage) for stage in ("preferences", "policy")}
    ids = {f"round-000/{stage}": artifact.id for stage, artifact in stages.items()}
    write_summary(small_run, summarise(stages, recipe).model_copy(update={"artifacts": ids}))
    Database(small_run / "round-000" / "labels.sqlite").close()
    assert kleash("report", "small").code == 0
    assert kleash("verify", "small").code == 0
    return small_run


def replace_in(file, was, now):
    content = file.read_bytes()
    assert was in content
    file.write_bytes(content.replace(was, now, 1))


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("recipe.toml", lambda file: replace_in(file, b"seed = 0", b"seed = 1"), "recipe.toml was altered"),
        ("recipe.toml", lambda file: file.unlink(), "recipe.toml is missing"),
        ("summary.json", lambda file: replace_in(file, b'"agreement": 0.5', b'"agreement": 0.9'), "was altered"),
        ("summary.json", lambda file: file.write_text("{"), "Cannot read runs/small/summary.json"),
        ("report.html", lambda file: file.write_bytes(file.read_bytes()[:-9]), "report.html was altered"),
        ("round-000/labels.sqlite", lambda file: file.write_bytes(b"x" * 9000), "labels.sqlite is no whole label"),
        ("round-000/policy", shutil.rmtree, "round-000/policy is missing, or another: summary.json tells of"),
        ("round-000/preferences", shutil.rmtree, "round-000/preferences (preferences of"),
    ],
)
def test_verify_sees_all_that_lies_in_a_run(kleash, told_run, name, damage, said):
    damage(told_run / name)
    shown = kleash("verify", "small")
    assert shown.code == 1, shown.out
    assert any(line.startswith("✗") and said in line for line in shown.out.splitlines()), shown.out


def test_verify_lists_what_it_cannot_vouch_for(kleash, told_run):
    (told_run / "notes.txt").write_text("mine")
    (told_run / "round-000" / "evaluation.partial").mkdir()
    text = (told_run / "report.html").read_text()
    (told_run / "report.html").write_text(re.sub("<!-- kleash-seal.*-->", "", text))  # as an earlier version wrote it
    shown = kleash("verify", "small")
    assert shown.code == 0
    assert shown.out.splitlines()[:-1] == [
        "? runs/small/notes.txt: nothing is recorded of it",
        "? runs/small/report.html: nothing is recorded of it",
        "? runs/small/round-000/evaluation.partial: begun, and not finished",
        "? runs/small/round-000/labels.sqlite: labels may still change; what was learnt from is frozen in the "
        "preferences",
    ]
    assert "small is whole" in shown.out


def test_report_prints_where_it_is(kleash, small_run):
    shown = kleash("report", "small")
    assert shown.code == 0
    path = small_run / "report.html"
    assert shown.out == "runs/small/report.html\n"
    assert path.read_text().lower().startswith("<!doctype html>")


def test_plugins_lists_kinds_names_and_packages(kleash):
    rows = [line.split() for line in kleash("plugins").out.splitlines()]
    assert ["tracker", "wandb", "kleash", "kleash.tracking:WandbTracker"] in rows
