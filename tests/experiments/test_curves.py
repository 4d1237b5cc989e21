"""Curves: where gold peaks, what lies between two checkpoints, and the way to JSON."""

import json

import pytest

from experiments.made_curves import KLS, curve, good_curves, law
from kleash.experiments.curves import Point, as_json, fit_json


def test_gold_between_two_checkpoints_lies_on_the_line_in_sqrt_kl():
    made = curve("ppo-biased", [0.0, 1.0, 3.0], kls=[0.0, 1.0, 9.0])
    assert made.gold_at(1.0) == 1.0
    assert made.gold_at(4.0) == pytest.approx(2.0)  # sqrt(4) is half-way between 1 and 3
    assert made.gold_at(9.0) == 3.0
    assert made.gold_at(9.1) is None


def test_a_curve_that_turns_back_is_read_where_training_first_crossed_the_kl():
    made = curve("ppo-leashed", [0.0, 1.0, 5.0], kls=[0.0, 4.0, 1.0])
    assert made.gold_at(1.0) == pytest.approx(0.5)


def test_up_to_keeps_the_checkpoints_that_went_no_further():
    made = curve("ppo-biased", [0.0, 0.3, 0.6, 0.5, 0.2, -0.1, -0.5])
    assert [point.kl_nats for point in made.up_to(4.0).points] == KLS[:5]
    assert made.peak.gold == 0.6
    assert made.end.gold == -0.5


def test_a_kl_estimated_below_zero_has_distance_zero():
    assert Point(1, -0.01, 0.0, 0.0).distance == 0.0
    assert curve("ppo-biased", [0.5, 1.0], kls=[0.0, 1.0]).gold_at(-0.01) == 0.5


@pytest.mark.parametrize("name", ["ppo-refreshed", "best-of-n-biased", "dpo"])
def test_a_curve_is_strict_json_and_leaves_out_what_was_not_measured(name):
    made = good_curves()[name]
    content = json.loads(json.dumps(as_json(made), allow_nan=False))
    assert ("n" in content["points"][0]) == (made.kind == "best_of_n")
    assert [point["gold"] for point in content["points"]] == [point.gold for point in made.points]
    assert "gold_low" not in content["points"][0]
    assert content["extra"] == made.extra


def test_the_law_of_the_arms_kind_is_fitted():
    fitted = fit_json(curve("ppo-unbiased", law(0.9, 0.3)))
    assert (fitted["form"], fitted["n"]) == ("ppo", 5)
    assert (fitted["a"], fitted["b"]) == pytest.approx((0.9, 0.3))
    best = fit_json(good_curves()["best-of-n-biased"])
    assert best["form"] == "best_of_n"
    assert (best["a"], best["b"]) == pytest.approx((1.0, 0.4))


def test_no_law_is_fitted_to_two_points_or_to_a_direct_method():
    assert fit_json(curve("ppo-unbiased", [0.0, 0.2, 0.4], kls=KLS[:3])) is None
    assert fit_json(curve("dpo", [0.0] * 7, kind="direct")) is None
