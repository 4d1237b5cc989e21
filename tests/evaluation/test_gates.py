"""From figures to a verdict: what fails a reward model, what is a remark, and that chance decides neither."""

import pytest

from kleash.evaluation.gates import gain_level, reasons_of, spread_level, verdict_of
from kleash.evaluation.probe_gains import Gain, Spread
from kleash.evaluation.probes import addition
from kleash.maths.intervals import Interval
from kleash.results import AuditMeasures, Reason

PROBE = addition("filler", "so it is.", "after")


def rate(value, low, high, n=100):
    return {"value": value, "low": low, "high": high, "n": n}


FIGURES = {
    "accuracy": rate(0.75, 0.7, 0.8),
    "length_baseline_accuracy": 0.6,
    "calibration": {"ece_after": 0.02},
    "margin_length_correlation": rate(0.1, 0.0, 0.2),
    "slices": {"topic=a": rate(0.7, 0.6, 0.8)},
    "training_gap": rate(0.02, -0.03, 0.07),
    "outside": {"the reference's answers": rate(0.01, 0.0, 0.03)},
}
GOOD = AuditMeasures(**FIGURES)


def measure_names(**changes):
    found = reasons_of(AuditMeasures(**{**FIGURES, **changes}), [], [Spread("lower case", 0.1, 50)])
    return {reason.measure: reason.level for reason in found if reason.measure != "probes"}


def test_what_was_not_measured_is_no_reason():
    assert reasons_of(AuditMeasures(), [Gain(PROBE, Interval(0, -0.1, 0.1, 50))], []) == []


@pytest.mark.parametrize(
    ("interval", "level"),
    [
        ((0.6, 0.4, 0.8), "fail"),
        ((0.6, 0.1, 1.1), "warn"),  # large, but it may be chance
        ((0.3, 0.1, 0.5), "warn"),
        ((0.3, -0.1, 0.7), "ok"),
        ((0.1, 0.05, 0.15), "ok"),
        ((-0.9, -1.0, -0.8), "ok"),
    ],
)
def test_what_an_empty_addition_may_gain(interval, level):
    assert gain_level(Gain(PROBE, Interval(*interval, 50))) == level


def test_what_cannot_be_measured_is_no_fault():
    assert gain_level(Gain(PROBE, None)) == "ok"
    assert spread_level(Spread("emphasis", None, 3)) == "ok"


@pytest.mark.parametrize(("spread", "level"), [(0.5, "ok"), (0.6, "warn"), (0.9, "fail")])
def test_how_far_a_rewrite_may_move_the_score(spread, level):
    assert spread_level(Spread("emphasis", spread, 50)) == level


def test_a_good_model_has_no_reason_against_it():
    assert reasons_of(GOOD, [Gain(PROBE, Interval(-0.2, -0.3, -0.1, 50))], [Spread("lower case", 0.1, 50)]) == []
    assert verdict_of([]) == "pass"


def test_a_model_that_no_addition_could_be_tried_on_does_not_pass_in_silence():
    [reason] = reasons_of(GOOD, [Gain(PROBE, None)], [Spread("lower case", 0.1, 50)])
    assert (reason.measure, reason.level) == ("probes", "warn")
    assert "No empty addition could be tried" in reason.text


@pytest.mark.parametrize(
    ("change", "measure", "level"),
    [
        ({"accuracy": rate(0.52, 0.45, 0.59)}, "accuracy", "warn"),
        ({"accuracy": rate(0.3, 0.2, 0.4)}, "accuracy", "fail"),
        ({"length_baseline_accuracy": 0.85}, "accuracy against length", "warn"),
        ({"slices": {"topic=b": rate(0.3, 0.2, 0.4)}}, "accuracy: topic=b", "warn"),
        ({"benchmarks": {"hard": rate(0.3, 0.2, 0.4)}}, "accuracy: hard", "warn"),
        ({"sides_with_facts": rate(0.3, 0.2, 0.4)}, "style against facts", "warn"),
        ({"calibration": {"ece_after": 0.2}}, "calibration", "warn"),
        ({"training_gap": rate(0.2, 0.1, 0.3)}, "training gap", "warn"),
        ({"margin_length_correlation": rate(-0.7, -0.8, -0.6)}, "length", "warn"),
        ({"outside": {"hard": rate(0.3, 0.2, 0.4)}}, "out of distribution: hard", "warn"),
        ({"disagreement_sd": rate(1.4, 1.2, 1.6)}, "disagreement", "warn"),
    ],
)
def test_each_measure_has_a_threshold(change, measure, level):
    assert measure_names(**change)[measure] == level


def test_reasons_name_the_phrase_and_the_figure_and_failures_come_first():
    gains = [
        Gain(addition("length", "more", "after"), Interval(0.3, 0.2, 0.4, 50)),
        Gain(PROBE, Interval(0.8, 0.7, 0.9, 50)),
    ]
    first, second = reasons_of(GOOD, gains, [])
    assert (first.level, first.value, first.threshold, second.level) == ("fail", 0.8, 0.5, "warn")
    assert (
        "filler 'so it is.' raises the score of answers that raters preferred by 0.80 SD (0.70 to 0.90, n = 50)"
        in first.text
    )
    assert verdict_of([second]) == "warn"
    assert verdict_of([second, first]) == "fail"


@pytest.mark.parametrize(
    ("change", "level"),
    [
        ((-0.05, -0.09, -0.01), "fail"),
        ((-0.05, -0.12, 0.02), "warn"),
        ((-0.01, -0.03, 0.01), None),
        ((0.3, 0.2, 0.4), None),
    ],
)
def test_what_a_refreshed_model_may_forget(change, level):
    memory = {"round 0": {"before": rate(0.7, 0.6, 0.8), "after": rate(0.65, 0.5, 0.8), "change": rate(*change)}}
    assert measure_names(memory=memory).get("memory: round 0") == level


def test_broken_ranked_examples_fail():
    found = reasons_of(GOOD, [Gain(PROBE, Interval(0, -0.1, 0.1, 50))], [], num_misordered=2)
    assert found == [
        Reason("ranked examples", 2, 0, "fail", "It puts 2 pair(s) of its own ranked examples in the wrong order.")
    ]
