"""summary, report, lineage, verify, plugins: on a run that was made by hand."""

import json


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


def test_report_prints_where_it_is(kleash, small_run):
    shown = kleash("report", "small")
    assert shown.code == 0
    path = small_run / "report.html"
    assert shown.out == "runs/small/report.html\n"
    assert path.read_text().lower().startswith("<!doctype html>")


def test_plugins_lists_kinds_names_and_packages(kleash):
    rows = [line.split() for line in kleash("plugins").out.splitlines()]
    assert ["tracker", "wandb", "kleash", "kleash.tracking:WandbTracker"] in rows
