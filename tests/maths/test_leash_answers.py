"""Leashes that answer to more than the KL: quality, single slices, and the learning rate in place of beta."""

import json
import math

import pytest

from kleash.errors import RunError, SettingsError
from kleash.maths.kl import SLICE_DECAY, AdaptiveLeash, RateLeash, ScheduledLeash, slice_pressure

TARGET = 1.5


# ------------------------------------------------------------------------------------------------------------- quality
def test_quality_that_rose_holds_the_leash_until_the_next_is_known():
    leash = AdaptiveLeash(0.1, target_nats=6.0, gain=0.5).observe(1.0, quality=0.5)
    betas = []
    for quality in (0.6, None, None, 0.6, None):
        leash = leash.observe(1.0, quality=quality)
        betas.append(leash.beta)
    assert betas == pytest.approx([0.09, 0.09, 0.09, 0.081, 0.0729])


def test_a_schedule_relaxes_only_while_quality_does_not_rise():
    leash, betas = ScheduledLeash(0.4, 0.0, num_updates=4), []
    for quality in (0.5, None, 0.6, None, 0.6, None, None, None):
        leash = leash.observe(1.0, quality=quality)
        betas.append(leash.beta)
    assert betas == pytest.approx([0.3, 0.2, 0.2, 0.2, 0.1, 0.0, 0.0, 0.0])


def test_a_schedule_that_tightens_waits_for_nothing():
    leash = ScheduledLeash(0.1, 0.4, num_updates=3, slice_limits={"*": 1.0}).observe(1.0, quality=0.1)
    assert leash.observe(1.0, quality=0.9, slice_kl_nats={"topic=sums": 9.0}).beta == pytest.approx(0.3)


# -------------------------------------------------------------------------------------------------------------- slices
def test_the_worst_slice_is_the_one_furthest_above_its_own_limit():
    limits = {"topic=sums": 2.0, "*": 10.0}
    assert slice_pressure({"topic=sums": 3.0, "topic=facts": 5.0}, limits) == pytest.approx(1.5)
    assert slice_pressure({"topic=facts": 40.0}, limits) == pytest.approx(4.0)
    assert slice_pressure({"topic=facts": 40.0}, {"topic=sums": 2.0}) == 0.0
    assert slice_pressure({}, limits) == 0.0


def test_a_slice_above_its_limit_raises_beta_though_the_whole_is_below_its_target():
    leash = AdaptiveLeash(0.1, target_nats=6.0, gain=0.5, slice_limits={"topic=sums": 2.0})
    assert leash.observe(1.0, slice_kl_nats={"topic=sums": 1.5, "topic=facts": 9.0}).beta == pytest.approx(0.09)
    assert leash.observe(1.0, slice_kl_nats={"topic=sums": 1.9}).beta == pytest.approx(0.0975)  # near it: half a step
    assert leash.observe(1.0, slice_kl_nats={"topic=sums": 2.2}).beta == pytest.approx(0.105)  # 2.2 / 2 - 1 = .1
    assert leash.observe(1.0, slice_kl_nats={"topic=sums": 9.0}).beta == pytest.approx(0.11)
    assert leash.observe(50.0, slice_kl_nats={"topic=sums": 2.1}).beta == pytest.approx(0.11)


def test_slices_count_by_their_running_mean():
    leash = AdaptiveLeash(0.1, target_nats=6.0, gain=0.5, slice_limits={"topic=sums": 2.0})
    leash = leash.observe(1.0, slice_kl_nats={"topic=sums": 1.0}).observe(1.0, slice_kl_nats={"topic=sums": 9.0})
    assert leash.slice_kl_nats == {"topic=sums": pytest.approx(SLICE_DECAY * 1.0 + (1 - SLICE_DECAY) * 9.0)}
    assert leash.beta == pytest.approx(0.09 * 1.1)
    assert leash.observe(1.0).slice_kl_nats == leash.slice_kl_nats
    assert leash.observe(1.0, slice_kl_nats={"topic=sums": 0.0}).beta > leash.beta  # 2.5 is still above its limit


def test_a_schedule_goes_back_while_a_slice_is_above_its_limit():
    leash, betas = ScheduledLeash(0.4, 0.0, num_updates=4, slice_limits={"*": 2.0}), []
    for kl_nats in (1.0, 1.0, 9.0, 9.0, 9.0, 0.0, 0.0, 0.0, 0.0, 0.0):
        leash = leash.observe(1.0, slice_kl_nats={"topic=sums": kl_nats})
        betas.append(round(leash.beta, 9))
    # running means: 1, 1, 5, 7, 8, 4, 2, 1, .5, .25
    assert betas == [0.3, 0.2, 0.3, 0.4, 0.4, 0.4, 0.3, 0.2, 0.1, 0.0]


def slices_in_closed_loop(leash, *, slope_of, num_updates=150):
    """Steer two equal slices by one beta: E[r] = slope x tilt, KL = tilt^2 / 2; return the last KLs and beta."""
    tilt_of = dict.fromkeys(slope_of, 0.0)
    for _ in range(num_updates):
        kl_of = {name: tilt**2 / 2 for name, tilt in tilt_of.items()}
        tilt_of = {name: tilt + 0.15 * (slope_of[name] - leash.beta * tilt) for name, tilt in tilt_of.items()}
        leash = leash.observe(sum(kl_of.values()) / len(kl_of), slice_kl_nats=kl_of)
    return {name: tilt**2 / 2 for name, tilt in tilt_of.items()}, leash.beta


@pytest.mark.parametrize("beta", [0.3, 3.0])
def test_closed_loop_holds_the_slice_that_drifts_to_its_limit(beta):
    slope_of = {"topic=sums": 2.0, "topic=facts": 0.5}
    free, free_beta = slices_in_closed_loop(AdaptiveLeash(beta, TARGET, gain=0.2, hold_updates=20), slope_of=slope_of)
    assert free["topic=sums"] > 1.7 * TARGET  # the mean is on target: the other slice hides the drift
    limited = AdaptiveLeash(beta, TARGET, gain=0.2, hold_updates=20, slice_limits={"topic=sums": TARGET})
    held, held_beta = slices_in_closed_loop(limited, slope_of=slope_of)
    assert held["topic=sums"] == pytest.approx(TARGET, rel=0.1)
    assert held_beta > free_beta


# ------------------------------------------------------------------------------------------------------- learning rate
def test_the_rate_falls_above_the_target_and_comes_back_below_it():
    leash, shares = RateLeash(0.05, target_nats=2.0, gain=1.0, floor=0.5), []
    for kl_nats in (1.0, 2.2, 9.0, 9.0, 9.0, 1.0, 1.0, 1.0, 1.0):
        leash = leash.observe(kl_nats)
        shares.append(leash.learning_rate_share)
    assert shares == pytest.approx([1.0, 0.9, 0.72, 0.576, 0.5, 0.6, 0.72, 0.864, 1.0])
    assert leash.beta == 0.05


def test_the_rate_does_not_come_back_while_quality_rises_but_does_fall():
    leash = RateLeash(0.05, target_nats=2.0, gain=1.0).observe(9.0, quality=0.5)
    assert leash.learning_rate_share == pytest.approx(0.8)
    rising = leash.observe(1.0, quality=0.6)
    assert rising.learning_rate_share == pytest.approx(0.8)
    assert rising.observe(9.0).learning_rate_share == pytest.approx(0.64)
    assert leash.observe(1.0, quality=0.4).learning_rate_share == pytest.approx(0.96)


def rate_in_closed_loop(leash, *, start_kl_nats=0.0, num_updates=120):
    """The Gaussian policy of test_kl.py, its step multiplied by the leash's share; return the KLs."""
    tilt, seen = math.sqrt(2 * start_kl_nats), []
    for _ in range(num_updates):
        seen.append(tilt**2 / 2)
        tilt += 0.15 * leash.learning_rate_share * (1 - leash.beta * tilt)
        leash = leash.observe(seen[-1])
    return seen


def test_a_brake_stops_at_the_target_what_would_have_run_far_past_it():
    assert rate_in_closed_loop(RateLeash(0.1, 1e9, gain=1.0))[-1] > 20 * TARGET
    kls = rate_in_closed_loop(RateLeash(0.1, TARGET, gain=1.0))
    assert max(kls) == kls[-1] < 2.1 * TARGET


def test_a_brake_does_not_pull_back_but_lets_beta_do_so():
    weak, strong = (rate_in_closed_loop(RateLeash(beta, TARGET, gain=0.2), start_kl_nats=4.0) for beta in (0.35, 0.6))
    assert all(kl_nats > 3.9 for kl_nats in weak)  # beta's own equilibrium, 4.1, is where it started
    assert strong[-1] < 2.0  # equilibrium 1.39


# --------------------------------------------------------------------------------------------------- state and refusal
@pytest.mark.parametrize(
    "leash",
    [
        ScheduledLeash(0.4, 0.1, num_updates=6, slice_limits={"topic=sums": 1.0}),
        AdaptiveLeash(0.1, target_nats=1.0, gain=0.3, slice_limits={"*": 1.0}),
        RateLeash(0.1, target_nats=0.2, gain=0.3, slice_limits={"*": 1.0}),
    ],
)
def test_a_leash_restored_from_json_goes_on_exactly(leash):
    def on(leash, figure):
        return leash.observe(figure, quality=figure, slice_kl_nats={"topic=sums": 4 * figure, "topic=facts": figure})

    for figure in (0.1, 0.3, 0.4):
        leash = on(leash, figure)
    restored = type(leash)(**json.loads(json.dumps(vars(leash))))
    assert restored == leash
    assert leash.is_improving
    assert on(restored, 0.2) == on(leash, 0.2) != leash


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: RateLeash(0.0, 6.0, 0.1), "beta is 0.0, expected a positive number"),
        (lambda: RateLeash(0.1, 6.0, 5.0), "gain is 5.0, expected from 0 to below 5 (1 / clip)"),
        (
            lambda: AdaptiveLeash(0.1, 6.0, 0.1, slice_limits={"topic=sums": 0.0}),
            'slice_limits."topic=sums" is 0.0, expected a positive number of nats. Change leash.slice_limits',
        ),
        (lambda: ScheduledLeash(0.4, 0.1, 3, slice_limits={"*": math.inf}), 'slice_limits."*" is inf, expected a'),
    ],
)
def test_impossible_settings_are_refused(make, complaint):
    with pytest.raises(SettingsError) as caught:
        make()
    assert complaint in str(caught.value)


def test_a_kl_that_is_no_number_stops_the_run():
    with pytest.raises(RunError, match=r"The measured KL is nan, expected a finite"):
        RateLeash(0.1, target_nats=1.0, gain=0.3).observe(math.nan)
