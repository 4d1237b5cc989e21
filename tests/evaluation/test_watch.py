"""The first watch: what it stops, what it rolls back, and what it lets pass."""

import math

import pytest

from kleash.evaluation.watch import BoundsWatch
from kleash.protocols import WatchDecision


def told(watch, kl=1.0, **metrics):
    return watch.observe(7, None, {"kl_nats_per_sequence": kl, "score_mean": 0.0, **metrics})


def test_ordinary_figures_pass():
    assert told(BoundsWatch(max_kl_nats=2.0)).action == "continue"
    assert told(BoundsWatch(), kl=1000.0).action == "continue"
    assert told(BoundsWatch(), kl=-0.4).action == "continue"


def test_kl_above_the_bound_stops_and_says_so():
    verdict = told(BoundsWatch(max_kl_nats=2.0), kl=2.5)
    assert verdict.action == "stop"
    assert verdict.reasons == ("KL is 2.50 nats per sequence at step 7, above the bound of 2.00",)


def test_kl_above_the_bound_goes_back_to_the_best_where_there_is_one():
    watch = BoundsWatch(max_kl_nats=2.0)
    watch.note_evaluation(3, WatchDecision(quality=1.0))
    assert told(watch, kl=2.5).action == "roll_back"


def test_a_negative_kl_is_a_fault():
    verdict = told(BoundsWatch(), kl=-0.6)
    assert verdict.action == "stop"
    assert verdict.reasons[0].startswith("mean KL is -0.600 nats at step 7; it cannot be negative")


@pytest.mark.parametrize("name", ["kl_nats_per_sequence", "score_mean", "policy_loss"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_figures_that_are_not_numbers_are_rolled_back(name, value):
    metrics = {"kl_nats_per_sequence": 1.0, name: value}
    verdict = BoundsWatch().observe(7, None, metrics)
    assert (verdict.action, verdict.reasons) == ("roll_back", (f"{name} is {value} at step 7",))


def test_an_external_score_is_passed_on_once_and_after_a_restart_too():
    watch = BoundsWatch()
    assert told(watch).quality is None
    watch.note_evaluation(3, WatchDecision(quality=0.4))
    other = BoundsWatch()
    other.load_state(watch.state())
    for one in (watch, other):
        assert [told(one).quality, told(one).quality] == [0.4, None]


def test_patience_counts_evaluations_without_a_better_score():
    watch = BoundsWatch(patience=2)
    best_steps = []
    for step, value in enumerate((1.0, 2.0, 2.0)):
        watch.note_evaluation(step, WatchDecision(quality=value))
        best_steps.append(watch.best_step)
    assert best_steps == [0, 1, 1]
    assert told(watch).action == "continue"
    watch.note_evaluation(3, WatchDecision(quality=1.5))
    verdict = told(watch)
    assert (verdict.action, verdict.reasons) == (
        "roll_back",
        ("no better external score in 2 evaluations; the best was at step 1",),
    )
    watch.note_evaluation(4, WatchDecision(quality=2.5))
    assert told(watch).action == "continue"
    assert (watch.best_step, watch.best_value) == (4, 2.5)
