"""The figures: which panels there are, on one axis, in which units; and the margins' bins."""

from dataclasses import replace
from itertools import pairwise

import pytest
from fake_run import make_fake_run

from kleash.monitor.charts import (
    margin_bins,
    margin_figure,
    slice_accuracy_figure,
    small_figures,
    training_figure,
)
from kleash.monitor.findings import findings_of
from kleash.monitor.reader import read_run


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    return findings_of(read_run(make_fake_run(tmp_path_factory.mktemp("runs"))))


def titles(figure):
    return [note["text"] for note in figure["layout"]["annotations"] if "font-size" in note["text"]]


def test_reward_quality_kl_and_beta_share_one_step_axis(findings):
    figure = training_figure(findings)
    assert {trace["xaxis"] for trace in figure["data"]} == {"x"}
    assert [title.split("</b>")[0] for title in titles(figure)] == [
        "<b>Reward (the proxy)",
        "<b>External quality: gold",
        "<b>KL to the SFT model",
        "<b>Beta",
    ]
    assert "nats per answer (k1); band: target 1.50 ± 25" in titles(figure)[2]
    domains = [figure["layout"][name]["domain"] for name in ("yaxis", "yaxis2", "yaxis3", "yaxis4")]
    assert all(above[0] > below[1] for above, below in pairwise(domains))


def test_a_panel_without_measurements_is_left_out(findings):
    figure = training_figure(replace(findings, external=None, kl_target_nats=None))
    assert len(titles(figure)) == 3
    assert not any(shape["type"] == "rect" for shape in figure["layout"].get("shapes", ()))
    assert training_figure(replace(findings, external=None, updates=())) is None


def test_each_slice_has_its_hidden_lines_for_reward_and_kl(findings):
    hidden = [trace for trace in training_figure(findings)["data"] if trace.get("meta")]
    assert len(hidden) == 2 * 10
    assert all(trace["visible"] is False for trace in hidden)
    assert {trace["yaxis"] for trace in hidden} == {"y", "y3"}


def test_kept_weights_are_marked_where_they_were_taken(findings):
    figure = training_figure(replace(findings, kept_step=20))
    assert [note["x"] for note in figure["layout"]["annotations"] if note["text"] == "weights kept"] == [20]


def test_small_figures_name_their_units(findings):
    assert [(title, unit) for title, unit, _ in small_figures(findings)][:2] == [
        ("Entropy", "nats per token"),
        ("Answer length", "tokens"),
    ]


def test_a_direct_method_shows_what_it_recorded_of_the_pairs(tmp_path):
    findings = findings_of(read_run(make_fake_run(tmp_path, stages=("sft", "direct"))))
    assert training_figure(findings) is None
    assert [title for title, _, _ in small_figures(findings)] == ["accuracy", "logratio chosen nats", "loss"]


def test_a_slices_name_is_text_in_a_figure_too(tmp_path):
    run = make_fake_run(tmp_path, hostile_text="<b onclick=1>")
    findings = findings_of(read_run(run))
    drawn = [trace for trace in training_figure(findings)["data"] if trace.get("meta", {}).get("slice", "").count("<")]
    assert [trace["name"] for trace in drawn] == ["topic=&lt;b onclick=1&gt;"] * 2
    assert all("<b" not in trace["hovertemplate"] for trace in drawn)


def test_margins_are_binned_with_an_edge_at_zero_and_a_tie_is_not_right():
    edges, wrong, right = margin_bins([-1.0, -0.01, 0.0, 0.01, 2.0])
    assert 0.0 in edges
    assert (sum(wrong), sum(right)) == (3, 2)
    zero = edges.index(0.0)
    assert sum(wrong[zero:]) == 0
    assert sum(right[:zero]) == 0


@pytest.mark.parametrize("margins", [[0.5], [-0.5], [0.0], [-3.0, -1.0], [1e-9, 1e9]])
def test_every_margin_falls_into_a_bin(margins):
    edges, wrong, right = margin_bins(margins)
    assert sum(wrong) + sum(right) == len(margins)
    assert len(edges) == len(wrong) + 1


def test_reward_model_figures_are_drawn_from_what_there_is(findings):
    model = findings.reward_model
    assert margin_figure(replace(model, margins=())) is None
    assert slice_accuracy_figure(replace(model, slices={})) is None
    # The last row is drawn at the top: the worst slice.
    names = slice_accuracy_figure(model)["layout"]["yaxis"]["ticktext"]
    assert names[-1] == min(model.slices, key=lambda name: model.slices[name].value)
