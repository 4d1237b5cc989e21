"""Helpful, honest and harmless: which rows they are read from, where each point stands, and what the page says."""

import json
import math
from types import SimpleNamespace

import pytest
from fake_run import write_rows

from kleash.monitor.figures.hhh_chart import hhh_figure, read_aims
from kleash.monitor.pages.rendering import fragment
from kleash.monitor.pages.report import render
from kleash.monitor.read.findings import findings_of
from kleash.monitor.read.reader import read_run
from kleash.recipe import Recipe
from kleash.settings import check_settings, dump_toml

HOSTILE = '<script>alert("1")</script>'


def interval(value):
    return {"value": value, "low": value - 0.1, "high": value + 0.2, "n": 40}


def row(step, helpful, honest, harmless, *, key="judge_mean", **more):
    slices = {
        f"aim={aim}": {key: interval(value)}
        for aim, value in (("helpful", helpful), ("honest", honest), ("harmless", harmless))
        if value is not None
    }
    return {"step": step, "slices": slices, **more}


def a_run(tmp_path, rows, *, stage="evaluation", judge="gold"):
    round_folder = tmp_path / "run" / "round-000"
    for name in {stage, "evaluation"}:
        (round_folder / name).mkdir(parents=True)
        made = {"kind": name, "id": "1", "summary": {"judge": judge}, "settings": {}, "parents": {}}
        (round_folder / name / "artifact.json").write_text(json.dumps(made))
    write_rows(round_folder / stage / "checkpoints.jsonl", rows)
    return read_run(tmp_path / "run")


def aims_of(run, judge="gold"):
    return read_aims(run.rounds[0], judge)


def points_of(figure):
    return next(trace for trace in figure["data"] if "error_x" in trace)


def test_points_stand_where_the_judge_put_them(tmp_path):
    rows = [
        row(20, 0.5, 0.9, 0.7),
        row(0, -0.5, 0.1, 0.2, refuses_everything={"helpful": -1.5, "harmless": 1.0}),
    ]
    path = aims_of(a_run(tmp_path, rows))
    assert [balance.step for balance in path.balances] == [0, 20]
    figure = hhh_figure(path)
    points = points_of(figure)
    assert list(points["x"]) == [-0.5, 0.5]
    assert list(points["y"]) == [0.2, 0.7]
    assert list(points["marker"]["color"]) == [0.1, 0.9]
    assert list(points["error_x"]["array"]) == pytest.approx([0.2, 0.2])
    cross = next(trace for trace in figure["data"] if trace.get("marker", {}).get("symbol") == "x")
    assert (list(cross["x"]), list(cross["y"])) == ([-1.5], [1.0])
    assert "gold reward" in figure["layout"]["xaxis"]["title"]["text"]


def test_votes_stand_in_where_nothing_was_judged_and_lose_everything_at_the_cross(tmp_path):
    path = aims_of(a_run(tmp_path, [row(0, 0.5, 0.5, 0.5, key="win_rate")], stage="people"))
    assert path.is_rate
    figure = hhh_figure(path)
    assert list(points_of(figure)["x"]) == [50.0]
    cross = next(trace for trace in figure["data"] if trace.get("marker", {}).get("symbol") == "x")
    assert (list(cross["x"]), list(cross["y"])) == ([0.0], [100.0])
    assert "win rate against step 0" in fragment("parts/aims.html", findings=SimpleNamespace(aims=path, terms=()))


def test_checkpoints_whose_honesty_was_not_measured_share_a_colour(tmp_path):
    path = aims_of(a_run(tmp_path, [row(0, 0.1, None, 0.2), row(10, 0.2, None, 0.3)]))
    assert points_of(hhh_figure(path))["marker"]["color"] == "var(--accent)"
    assert "–" in fragment("parts/aims.html", findings=SimpleNamespace(aims=path, terms=()))


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{"step": 0, "judge_mean": interval(0.5)}],
        [{"step": 0, "slices": {"topic=sums": {"judge_mean": interval(0.5)}}}],
        [{"step": 0, "slices": {"aim=helpful": {"judge_mean": interval(0.5)}}}],
        [{"step": 0, "slices": {"aim=helpful": 3, "aim=harmless": None}}],
        [{"slices": row(0, 0.1, 0.1, 0.1)["slices"]}],
        [{"step": 0, "slices": HOSTILE}],
        [row(0, math.nan, 0.1, 0.1)],
    ],
)
def test_without_both_ends_of_the_trade_off_there_is_nothing_to_draw(tmp_path, rows):
    assert aims_of(a_run(tmp_path, rows)) is None


def test_the_report_shows_them_where_prompts_say_their_aim(tmp_path):
    assert 'id="hhh"' in render(a_run(tmp_path / "with", [row(0, 0.1, 0.2, 0.3), row(10, 0.4, 0.5, 0.6)]))
    assert 'id="hhh"' not in render(a_run(tmp_path / "without", [{"step": 0, "judge_mean": interval(0.5)}]))


def test_a_judges_name_is_shown_as_text(tmp_path):
    path = read_aims(a_run(tmp_path, [row(0, 0.1, 0.2, 0.3)]).rounds[0], HOSTILE)
    assert HOSTILE not in fragment("parts/aims.html", findings=SimpleNamespace(aims=path, terms=()))
    assert HOSTILE not in hhh_figure(path)["layout"]["xaxis"]["title"]["text"]


TERM = {"reward/term/kind": 0.5, "reward/term/kind_sd": 1.0}


def test_the_page_says_what_each_weight_of_a_sum_buys_by_aim(tmp_path):
    run = a_run(tmp_path, [row(0, 0.1, 0.1, 0.1), row(9, 0.4, 0.2, 0.3)])
    folder = tmp_path / "run" / "round-000" / "policy"
    folder.mkdir()
    terms = [{"name": "kind", "weight": 2.0, "kind": "checks"}, {"name": HOSTILE, "weight": 1.0, "kind": "checks"}]
    recipe = check_settings({"scorer": {"kind": "sum", "terms": terms}}, Recipe, source="here")
    (tmp_path / "run" / "recipe.toml").write_text(dump_toml(recipe))
    of_aim = {f"slice/aim=helpful/{name}": value for name, value in TERM.items()}
    before = {"step": 0, **TERM, **of_aim}
    after = {"step": 9, **TERM, **of_aim, "reward/term/kind": 0.25, "slice/aim=helpful/reward/term/kind": 1.5}
    write_rows(folder / "evaluations.jsonl", [before, after])
    run = read_run(tmp_path / "run")
    [kind, other] = findings_of(run).terms
    assert (kind.weight, kind.slices) == (2.0, {"": (0.5, 0.25, 1.0, 1.0), "aim=helpful": (0.5, 1.5, 1.0, 1.0)})
    assert other.slices == {}, "nothing was measured of it"
    page = render(run)
    for text in ("Terms of the score", "What each weight buys", "buys -0.50", "buys +2.00"):
        assert text in page
    assert HOSTILE not in page


def test_without_a_sum_the_pages_say_nothing_of_terms(tmp_path):
    page = render(a_run(tmp_path, [row(0, 0.1, 0.1, 0.1)]))
    assert "Terms of the score" not in page
    assert "What each weight buys" not in page
