"""The figures beside the training curves: their units, and the margins' bins."""

from dataclasses import replace

import pytest
from fake_run import make_fake_run

from kleash.monitor.figures.charts import (
    margin_bins,
    margin_figure,
    slice_accuracy_figure,
    small_figures,
)
from kleash.monitor.read.findings import findings_of
from kleash.monitor.read.reader import read_run


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    return findings_of(read_run(make_fake_run(tmp_path_factory.mktemp("runs"))))


def test_small_figures_name_their_units(findings):
    assert [(title, unit) for title, unit, _ in small_figures(findings)][:2] == [
        ("Entropy", "nats per token"),
        ("Answer length", "tokens"),
    ]


def test_the_learning_rate_is_shown_only_where_the_leash_acts_on_it(findings):
    def titles(shares):
        updates = [{**row, "learning_rate_share": share} for row, share in zip(findings.updates, shares, strict=False)]
        return [title for title, _, _ in small_figures(replace(findings, updates=updates))]

    assert "Learning rate" in titles([1.0, 0.8, 0.9])
    assert "Learning rate" not in titles([1.0, 1.0, 1.0])
    assert "Learning rate" not in [title for title, _, _ in small_figures(findings)]


def test_a_loss_is_drawn_with_that_of_the_rows_held_out(findings):
    sft = [dict(row) for row in findings.training["sft"]]
    assert "Loss of sft" not in [title for title, _, _ in small_figures(findings)], "nobody looked"
    for row in sft[9::10]:
        row["heldout/loss_nats_per_token"] = row["loss_nats_per_token"] + 0.1
    [(title, unit, figure), *_] = small_figures(replace(findings, training={**findings.training, "sft": sft}))
    assert (title, unit) == ("Loss of sft", "nats per token, ● on rows held out")
    line, dots = figure["data"]
    assert len(line["x"]) == 220
    assert dots["x"] == list(range(9, 220, 10))
    assert dots["y"][0] == pytest.approx(sft[9]["loss_nats_per_token"] + 0.1)


def test_a_direct_method_shows_what_it_recorded_of_the_pairs(tmp_path):
    findings = findings_of(read_run(make_fake_run(tmp_path, stages=("sft", "direct"))))
    assert [title for title, _, _ in small_figures(findings)] == ["accuracy", "logratio chosen nats", "loss"]


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
    assert margin_figure([], height=200) is None
    assert slice_accuracy_figure(replace(model, slices={})) is None
    # The last row is drawn at the top: the worst slice.
    names = slice_accuracy_figure(model)["layout"]["yaxis"]["ticktext"]
    assert names[-1] == min(model.slices, key=lambda name: model.slices[name].value)
