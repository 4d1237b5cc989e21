"""Runs laid beside each other: what of a run becomes a point over sqrt(KL), and where the run is said to stand."""

import math
from dataclasses import replace

import pytest
from fake_run import make_fake_run

from kleash.estimates import Estimate
from kleash.maths.overoptimisation import fit_ppo
from kleash.monitor.pages.comparing import (
    ComparedCheckpoint,
    RunCurves,
    compared,
    comparison_table,
    curves_of,
    gains,
    standing,
)
from kleash.monitor.read.reader import RoundFolder, RunFolder, StageFolder, read_run

HOSTILE = '<img src=x onerror="alert(1)">'


def run_of(tmp_path, *, metrics=(), evaluations=(), judged=(), people=()):
    rows = {
        "policy": {"metrics": metrics, "evaluations": evaluations},
        "evaluation": {"checkpoints": judged},
        "people": {"checkpoints": people},
    }
    stages = {name: StageFolder(name, tmp_path / name, None, files) for name, files in rows.items()}
    return RunFolder("r", tmp_path, "", {}, {}, (RoundFolder(0, stages),))


def bent(*, a=1.5, b=0.9, distances=(0.5, 1.0, 1.4, 1.8, 2.2, 2.6), noise=0.0, measure="score"):
    """Curves of a run whose gold follows the law, above a start of -0.2."""
    points = [ComparedCheckpoint(0, 0.0, 0.0, {measure: Estimate(-0.2)})]
    for index, d in enumerate(distances, start=1):
        gain = d * (a - b * math.log(d)) + noise * (-1) ** index
        points.append(ComparedCheckpoint(10 * index, d * d, d, {measure: Estimate(gain - 0.2)}))
    return RunCurves("r", checkpoints=tuple(points))


def test_a_checkpoint_takes_its_kl_from_its_own_answers_or_the_updates_around_it(tmp_path):
    metrics = [{"step": step, "score_mean": 0.1 * step, "kl_nats_per_sequence": float(step)} for step in range(20)]
    evaluations = [
        {"step": 0, "score_mean": 0.0},
        {"step": 10, "score_mean": 0.8, "kl_nats_per_sequence": 9.5},
        {"step": 15, "score_mean": 0.9},
        {"step": 20, "score_mean": 1.0},
    ]
    found = curves_of(run_of(tmp_path, metrics=metrics, evaluations=evaluations), "r").checkpoints
    # 15: the mean of updates 13 to 17. 20: nothing was trained after it, so the last updates 17 to 19 speak for it.
    assert [(one.step, one.kl_nats, one.proxy) for one in found] == [
        (0, 0.0, 0.0),
        (10, 9.5, 0.8),
        (15, 15.0, 0.9),
        (20, 18.0, 1.0),
    ]
    assert found[1].distance == pytest.approx(math.sqrt(9.5))


def test_panel_and_people_are_measures_of_their_own_and_people_go_before_ai_judges(tmp_path):
    evaluations = [
        {"step": 0, "kl_nats_per_sequence": 0.0},
        {"step": 10, "kl_nats_per_sequence": 1.0, "external/win_rate": 0.7, "external/n": 50},
    ]
    people = [
        {"step": 10, "rater_kind": "ai", "win_rate": {"value": 0.9, "low": 0.8, "high": 0.95, "n": 40}},
        {"step": 10, "rater_kind": "person", "win_rate": {"value": 0.6, "low": 0.5, "high": 0.7, "n": 40}},
    ]
    curves = curves_of(run_of(tmp_path, evaluations=evaluations, people=people), "r")
    assert curves.measures == ["people", "AI judges", "alarms' panel"]
    assert {name: found.value for name, found in curves.checkpoints[1].quality.items()} == {
        "people": 0.6,
        "AI judges": 0.9,
        "alarms' panel": 0.7,
    }
    # A win rate starts at an even half, whether or not the start was judged against itself.
    assert gains(curves, "people") == ([1.0], [pytest.approx(0.1)])


def test_a_slice_has_curves_of_its_own(tmp_path):
    metrics = [{"step": 0, "score_mean": 1.0, "slice/topic=sums/score_mean": 0.3}]
    evaluations = [
        {
            "step": 10,
            "kl_nats_per_sequence": 1.0,
            "score_mean": 1.0,
            "slice/topic=sums/kl_nats_per_sequence": 2.0,
            "slice/topic=sums/score_mean": 0.4,
            "external/win_rate": 0.7,
            "slice/topic=sums/external/win_rate": 0.2,
        }
    ]
    run = run_of(tmp_path, metrics=metrics, evaluations=evaluations)
    assert curves_of(run, "r").slices == ("topic=sums",)
    curves = curves_of(run, "r", slice_name="topic=sums")
    (found,) = curves.checkpoints
    assert (found.kl_nats, found.proxy, found.quality["alarms' panel"].value) == (2.0, 0.4, 0.2)
    assert list(curves.reward[1]) == [0.3]


def test_a_run_beyond_its_peak_is_told_so():
    curves = bent(noise=0.005)
    found = standing(curves)
    kl, gain = gains(curves, "score")
    assert found.fit == fit_ppo(kl, gain)
    assert found.is_past_peak
    assert found.text.startswith(f"Past the predicted peak at √KL {found.fit.peak_distance:.2f} (95 % interval ")
    assert found.text.endswith("the newest checkpoint is at 2.60.")


def test_a_run_before_its_peak_is_told_where_it_will_be():
    found = standing(bent(a=3.0, noise=0.002))
    assert not found.is_past_peak
    assert found.text.startswith("Before the predicted peak at √KL 10.32 (95 % interval 10.")


def test_a_peak_within_whose_interval_the_run_is_is_not_past():
    found = standing(bent(noise=0.08))
    assert found.fit.peak_distance < found.now < found.fit.peak_high
    assert not found.is_past_peak
    assert found.text.startswith("Beyond the predicted peak at √KL ")
    assert "but within its interval" in found.text


def test_a_law_that_only_falls_has_its_peak_before_it_holds():
    assert standing(bent(a=0.1, b=1.0)).text.startswith("Past the peak: the law falls from √KL 1 on")


def test_noise_is_no_bend():
    text = standing(bent(distances=(1.40, 1.43, 1.46, 1.5), noise=0.1)).text
    assert text == "No peak can be told from none yet: the checkpoints lie too close together, or on no bend."


def test_too_few_checkpoints_are_counted():
    assert standing(bent(distances=(0.3, 1.1, 1.4))).text == "2 checkpoints at 1 nat of KL or more; the law takes 4."


def test_a_few_votes_of_people_do_not_hide_what_the_panel_can_tell():
    panel = bent(noise=0.005, measure="alarms' panel")
    voted = [
        replace(found, quality=found.quality | ({"people": Estimate(0.6)} if found.step in (0, 40) else {}))
        for found in panel.checkpoints
    ]
    found = standing(replace(panel, checkpoints=tuple(voted)))
    assert (found.measure, found.fit) == ("alarms' panel", standing(panel).fit)
    assert standing(replace(panel, checkpoints=tuple(voted[:3]))).measure == "people"


def test_without_an_external_measure_nothing_is_said_of_a_peak():
    found = standing(RunCurves("r", checkpoints=(ComparedCheckpoint(0, 0.0, 0.0), ComparedCheckpoint(10, 4.0, 1.0))))
    assert (found.measure, found.fit) == ("", None)
    assert found.text.startswith("No external quality was measured")


def test_the_hacked_run_stands_past_its_peak_and_the_healthy_one_does_not(tmp_path):
    runs = [
        curves_of(read_run(make_fake_run(tmp_path, name=story, story=story)), story) for story in ("hacked", "healthy")
    ]
    assert [standing(run).is_past_peak for run in runs] == [True, False]
    table = comparison_table(runs)
    assert table.count("past-peak") == 1
    assert "by gold" in table


def test_each_measure_that_a_run_has_gets_its_chart():
    live = compared([bent(), bent(measure="people")])
    # score and people are the first two measures; nobody asked AI judges or the panel, and no update was recorded.
    assert sorted(live.figures) == ["measure-0", "measure-1", "proxy"]
    law, peak = [
        trace for trace in live.figures["measure-0"]["data"] if trace["hovertemplate"] != "%{text}<extra>r</extra>"
    ]
    assert law["line"]["dash"] == "dot"
    assert peak["x"][0] == pytest.approx(standing(bent()).fit.peak_distance)


def test_nothing_chosen_is_an_empty_comparison():
    assert compared([]).figures == {}
    assert compared([]).html == {}


def test_a_hostile_name_is_text():
    live = compared([RunCurves(HOSTILE, reward=([0, 1], [0.0, 1.0]), checkpoints=bent().checkpoints)])
    assert HOSTILE not in live.html["compared"]
    assert "&lt;img" in live.html["compared"]
    assert HOSTILE not in str(live.figures)
