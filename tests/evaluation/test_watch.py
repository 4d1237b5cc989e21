"""The first watch: what it stops, what it rolls back, and what it lets pass."""

import math

import numpy as np
import pytest

from kleash.evaluation.watch import BoundsWatch
from kleash.protocols import WatchDecision


def told(watch, kl=1.0, *, answers=64, **metrics):
    return watch.observe(7, None, {"kl_nats_per_sequence": kl, "score_mean": 0.0, "answers": answers, **metrics})


def test_ordinary_figures_pass():
    assert told(BoundsWatch(max_kl_nats=2.0)).action == "continue"
    assert told(BoundsWatch(), kl=1000.0).action == "continue"
    assert told(BoundsWatch(), kl=-0.4).action == "continue"


def test_kl_above_the_bound_stops_and_says_so():
    verdict = told(BoundsWatch(max_kl_nats=2.0), kl=3.0)
    assert verdict.action == "stop"
    assert verdict.reasons == (
        "KL is 3.00 nats per sequence over 64 answers up to step 7, above the bound of 2.00 by more than 0.75",
    )


def test_kl_above_the_bound_goes_back_to_the_best_where_there_is_one():
    watch = BoundsWatch(max_kl_nats=2.0)
    watch.note_evaluation(3, WatchDecision(quality=1.0))
    assert told(watch, kl=3.0).action == "roll_back"


def test_a_negative_kl_is_a_fault():
    verdict = told(BoundsWatch(), kl=-0.6)
    assert verdict.action == "stop"
    assert verdict.reasons == (
        "mean KL is -0.600 nats over 64 answers up to step 7; it cannot be negative, and chance goes no lower than "
        "-0.216: log-probabilities disagree",
    )


# --------------------------------------------------------------------------------------------- few answers, and chance
def log_ratios(rng, num_answers, *, sampled, policy, reference):
    """k1 of answers of eight tokens, each a draw of ten; logarithms of the three distributions."""
    tokens = np.array([rng.choice(10, size=8, p=np.exp(sampled)) for _ in range(num_answers)])
    return (policy[tokens] - reference[tokens]).sum(axis=1)


def drawn(rng, scale):
    logits = rng.normal(size=10) * scale
    return logits - np.log(np.exp(logits).sum())


@pytest.mark.parametrize("answers", [1, 2, 4, 8, 64])
@pytest.mark.parametrize("scale", [0.1, 0.5, 1.5])
def test_right_log_probabilities_are_never_accused(answers, scale):
    rng = np.random.default_rng([answers, int(10 * scale)])
    for _ in range(4):
        watch, reference = BoundsWatch(), drawn(rng, 1.0)
        policy = reference + rng.normal(size=10) * scale
        policy -= np.log(np.exp(policy).sum())
        for _ in range(100):
            k1 = log_ratios(rng, answers, sampled=policy, policy=policy, reference=reference)
            assert told(watch, kl=float(k1.mean()), answers=answers).action == "continue"


@pytest.mark.parametrize(("answers", "most_steps"), [(1, 60), (2, 30), (8, 8), (64, 1)])
def test_wrong_log_probabilities_are_caught_however_few_the_answers(answers, most_steps):
    """The policy that is asked for log-probabilities is another than the one that answered: mean k1 is about -2."""
    rng = np.random.default_rng(answers)
    for _ in range(5):
        watch, sampled = BoundsWatch(), drawn(rng, 0.8)
        wrong = drawn(rng, 0.8)
        while (np.exp(sampled) * (sampled - wrong)).sum() * 8 < 2:
            wrong = drawn(rng, 0.8)
        actions = [
            told(watch, kl=float(k1.mean()), answers=answers).action
            for k1 in (
                log_ratios(rng, answers, sampled=sampled, policy=wrong, reference=sampled) for _ in range(most_steps)
            )
        ]
        assert "stop" in actions


def test_the_figures_of_small_batches_that_were_accused_pass():
    for kl, answers in ((-1.32, 2), (-0.69, 8), (-1.0, 4)):
        assert told(BoundsWatch(), kl=kl, answers=answers).action == "continue"


def test_a_large_kl_of_few_answers_stops_once_it_lasts():
    watch = BoundsWatch(max_kl_nats=6.0)
    assert [told(watch, kl=9.0, answers=2).action for _ in range(6)] == ["continue"] * 6
    assert told(watch, kl=9.0, answers=2).action == "stop"
    assert told(BoundsWatch(max_kl_nats=6.0), kl=30.0, answers=2).action == "stop"


def test_what_a_stretch_holds_survives_a_restart_and_older_checkpoints_hold_none():
    watch, other = BoundsWatch(max_kl_nats=6.0), BoundsWatch(max_kl_nats=6.0)
    for _ in range(6):
        told(watch, kl=9.0, answers=2)
    other.load_state(watch.state())
    assert told(other, kl=9.0, answers=2).action == "stop"
    other.load_state(
        {name: value for name, value in watch.state().items() if name not in ("below_zero", "above_bound")}
    )
    assert told(other, kl=9.0, answers=2).action == "continue"


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
