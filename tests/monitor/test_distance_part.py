"""One run's over-optimisation picture: shown when something external was measured, with the sentence on the peak."""

import pytest
from fake_run import make_fake_run
from test_comparing import bent

from kleash.monitor.pages.comparing import ComparedCheckpoint, RunCurves, curves_of, distance_part, standing
from kleash.monitor.pages.rendering import fragment
from kleash.monitor.pages.report import render
from kleash.monitor.read.measures import MAX_DOTS
from kleash.monitor.read.reader import read_run


def test_both_curves_start_at_nothing_and_the_law_goes_with_the_quality():
    curves = bent(noise=0.005)
    found = distance_part(curves)
    html, figure = fragment("parts/distance.html", distance=found), found.figure
    reward, quality, law, peak = figure["data"]
    assert (reward["y"][0], quality["y"][0]) == (0.0, 0.0)
    assert reward["line"]["dash"] != "solid"
    assert quality["y"][1] == pytest.approx(curves.checkpoints[1].quality["score"].value + 0.2)
    fit = standing(curves).fit
    assert (peak["x"][0], peak["y"][0]) == (pytest.approx(fit.peak_distance), pytest.approx(fit.peak_value))
    assert law["y"][0] == pytest.approx(fit.a)  # at d = 1 the logarithm is nothing
    assert 'class="standing past-peak"' in html


def test_of_many_checkpoints_no_more_are_drawn_than_a_browser_draws_at_once():
    whole = bent(distances=[0.002 * index for index in range(1, 1000)])
    quality = distance_part(whole).figure["data"][1]
    assert len(quality["x"]) <= MAX_DOTS
    assert quality["x"][-1] == pytest.approx(whole.checkpoints[-1].distance)


def test_without_a_bend_there_is_no_law_to_draw():
    found = distance_part(bent(distances=(1.40, 1.43, 1.46, 1.5), noise=0.1))
    assert len(found.figure["data"]) == 2
    assert "No peak can be told from none yet" in found.standing.text


@pytest.mark.parametrize(
    "checkpoints", [(), (ComparedCheckpoint(0, 0.0, 0.0), ComparedCheckpoint(10, 4.0, 1.0)), bent().checkpoints[:2]]
)
def test_too_little_to_see_is_not_shown(checkpoints):
    assert distance_part(RunCurves("r", checkpoints=checkpoints)) is None


def test_the_report_has_it_for_a_run_that_was_judged_and_not_for_one_that_was_not(tmp_path):
    judged = read_run(make_fake_run(tmp_path, name="judged", story="hacked"))
    assert distance_part(curves_of(judged, "judged")).standing.text in render(judged)
    alone = read_run(make_fake_run(tmp_path, name="alone", stages=("sft", "reward")))
    assert "How far it went" not in render(alone)
