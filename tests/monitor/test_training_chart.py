"""The training figure: which panels there are, on one axis, in which units, and what is marked in all of them."""

from dataclasses import replace
from itertools import pairwise

import pytest
from fake_run import alarm_rows, make_fake_run, share

from kleash.estimates import estimate
from kleash.monitor.figures.training_chart import training_figure
from kleash.monitor.read.alarms import read_alarms
from kleash.monitor.read.external_quality import ExternalCurve
from kleash.monitor.read.findings import findings_of
from kleash.monitor.read.reader import read_run


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    return findings_of(read_run(make_fake_run(tmp_path_factory.mktemp("runs"))))


@pytest.fixture(scope="module")
def hacked(tmp_path_factory):
    return findings_of(read_run(make_fake_run(tmp_path_factory.mktemp("runs"), story="hacked")))


def titles(figure):
    return [note["text"] for note in figure["layout"]["annotations"] if "font-size" in note["text"]]


def names_of(figure):
    return [title.split("</b>")[0].removeprefix("<b>") for title in titles(figure)]


def test_every_panel_shares_one_axis_of_updates(findings):
    figure = training_figure(findings)
    assert {trace["xaxis"] for trace in figure["data"]} == {"x"}
    assert names_of(figure) == [
        "Reward (the proxy)",
        "Win rate against the SFT model",
        "External quality: gold",
        "KL to the SFT model",
        "KL per token",
        "Beta",
    ]
    assert "nats per answer (k1); band: target 1.50 ± 25" in titles(figure)[3]
    axes = ["yaxis", *(f"yaxis{index}" for index in range(2, 7))]
    domains = [figure["layout"][name]["domain"] for name in axes]
    assert all(above[0] > below[1] for above, below in pairwise(domains))
    assert all(0 <= low < high <= 1 for low, high in domains)


def test_a_panel_without_measurements_is_left_out(findings):
    figure = training_figure(replace(findings, external=None, win_rates=(), kl_target_nats=None))
    assert names_of(figure) == ["Reward (the proxy)", "KL to the SFT model", "KL per token", "Beta"]
    assert not any(shape["type"] == "rect" for shape in figure["layout"].get("shapes", ()))
    assert training_figure(replace(findings, external=None, win_rates=(), updates=())) is None


def test_alarms_are_rows_of_a_panel_and_first_ones_upright_lines(hacked):
    figure = training_figure(hacked)
    assert names_of(figure)[0] == "Alarms"
    texts = [text for trace in figure["data"] if trace["yaxis"] == "y" for text in trace["text"]]
    assert "proxy external divergence: stop<br>all prompts<br>topic=false premise" in texts
    uprights = [shape["x0"] for shape in figure["layout"]["shapes"] if shape.get("yref") == "paper"]
    assert uprights == [10, 40]


def test_the_name_of_a_late_alarm_ends_before_its_mark(hacked):
    first, *_ = alarm_rows()
    late = {"symptom": "flattery", "step": hacked.updates[-1]["step"]}
    alarms = read_alarms([first, first | late])
    panel = [trace for trace in training_figure(replace(hacked, alarms=alarms))["data"] if trace["yaxis"] == "y"]
    sides = next(trace["textposition"] for trace in panel if trace["mode"] == "text")
    assert set(sides) == {"middle left", "middle right"}


def test_an_alarm_that_ended_the_run_is_marked(hacked):
    *others, last = alarm_rows()
    alarms = read_alarms([*others, last | {"action": "roll_back"}])
    notes = training_figure(replace(hacked, alarms=alarms))["layout"]["annotations"]
    assert [note["x"] for note in notes if note["text"] == "ended by alarm"] == [40]


def test_each_source_of_win_rates_has_its_own_sign(findings):
    people = ExternalCurve("people", ((20, estimate(share(0.6, 60))),))
    figure = training_figure(replace(findings, win_rates=(*findings.win_rates, people)))
    assert "● alarms' panel, ◆ gold, ■ people" in titles(figure)[1].replace("&#x27;", "'")
    drawn = {trace["name"]: trace["marker"]["symbol"] for trace in figure["data"] if trace.get("yaxis") == "y2"}
    assert drawn["people"] == "square"


def test_on_request_one_slice_is_drawn_and_else_all_are_there_hidden(findings):
    hidden = [trace for trace in training_figure(findings)["data"] if trace.get("meta")]
    assert len([trace for trace in hidden if trace["meta"]["slice"] == "topic=facts"]) == 2
    assert len([trace for trace in hidden if trace["meta"]["slice"] == "topic=false premise"]) == 3
    assert all(trace["visible"] is False for trace in hidden)
    shown = [t for t in training_figure(findings, slices=["topic=false premise"])["data"] if t.get("meta")]
    assert {trace["yaxis"] for trace in shown} == {"y", "y2", "y4"}
    assert not any("visible" in trace for trace in shown)


def test_kept_weights_are_marked_where_they_were_taken(findings):
    figure = training_figure(replace(findings, kept_step=20))
    assert [note["x"] for note in figure["layout"]["annotations"] if note["text"] == "weights kept"] == [20]


def test_names_from_a_run_are_text_in_a_figure_too(tmp_path):
    findings = findings_of(read_run(make_fake_run(tmp_path, story="hacked", hostile_text="<b onclick=1>")))
    figure = training_figure(findings)
    drawn = [trace for trace in figure["data"] if trace.get("meta", {}).get("slice", "").count("<")]
    assert [trace["name"] for trace in drawn] == ["topic=&lt;b onclick=1&gt;"] * 2
    assert "<b onclick" not in str([{**trace, "meta": None} for trace in figure["data"]])


def test_a_direct_method_has_no_main_figure(tmp_path):
    assert training_figure(findings_of(read_run(make_fake_run(tmp_path, stages=("sft", "direct"))))) is None
