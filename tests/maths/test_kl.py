import json
import math

import pytest
import torch

from bandit import categorical_kl, tilted_policy
from kleash.errors import RunError, SettingsError, ShapeError
from kleash.maths.kl import (
    AdaptiveLeash,
    FixedLeash,
    ScheduledLeash,
    kl_per_sequence,
    kl_per_token,
)


def logprobs(seed: int) -> torch.Tensor:
    return torch.randn(3, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 2


def test_estimators_by_hand():
    policy, reference = torch.tensor([[0.5]]).log(), torch.tensor([[0.25]]).log()
    assert kl_per_token(policy, reference).item() == pytest.approx(math.log(2))
    assert kl_per_token(policy, reference, estimator="k2").item() == pytest.approx(math.log(2) ** 2 / 2)
    assert kl_per_token(policy, reference, estimator="k3").item() == pytest.approx(0.5 - 1 + math.log(2))


def test_estimators_match_a_loop():
    p, q = logprobs(1), logprobs(2)
    formulas = {"k1": lambda d: d, "k2": lambda d: d * d / 2, "k3": lambda d: math.exp(-d) - 1 + d}
    for estimator, formula in formulas.items():
        estimate = kl_per_token(p, q, estimator=estimator)
        for b in range(3):
            for t in range(4):
                assert estimate[b, t].item() == pytest.approx(formula(p[b, t].item() - q[b, t].item()))


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_a_policy_has_no_distance_from_itself(estimator):
    assert not kl_per_token(logprobs(1), logprobs(1), estimator=estimator).any()


def test_k3_stays_exact_where_policies_nearly_agree():
    tiny = kl_per_token(torch.tensor([[-1.0]]), torch.tensor([[-1.0 - 1e-3]]), estimator="k3")
    assert tiny.item() == pytest.approx(5e-7, rel=0.01)


def test_unknown_estimator_is_refused():
    with pytest.raises(SettingsError, match=r'KL estimator is "k4", expected "k1", "k2" or "k3"\. Choose'):
        kl_per_token(logprobs(1), logprobs(2), estimator="k4")


def test_a_sequence_sums_what_counts():
    mask = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 1, 1]], dtype=torch.bool)
    p, q = logprobs(1), logprobs(2)
    expected = [sum((p[b, t] - q[b, t]).item() for t in range(4) if mask[b, t]) for b in range(3)]
    assert kl_per_sequence(p, q, mask).tolist() == pytest.approx(expected)
    padded = [torch.nn.functional.pad(x, (0, 3)) for x in (p, q, mask)]
    assert kl_per_sequence(*padded).tolist() == pytest.approx(expected)
    with pytest.raises(ShapeError, match="mask_BT has shape"):
        kl_per_sequence(p, q, mask[:2])


def test_expected_estimates_are_the_exact_kl():
    p, q = logprobs(1).log_softmax(-1), logprobs(2).log_softmax(-1)
    for estimator in ("k1", "k3"):
        expected = (p.exp() * kl_per_token(p, q, estimator=estimator)).sum(-1)
        torch.testing.assert_close(categorical_kl(p, q), expected)


def test_no_other_policy_beats_the_tilted_one():
    reference = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64).log()
    reward = torch.tensor([0.0, 1.0, 0.5, 2.0], dtype=torch.float64)
    optimum = tilted_policy(reference, reward, beta=0.7)
    assert optimum.objective.item() == pytest.approx((optimum.expected_reward - 0.7 * optimum.kl_nats).item())
    for seed in range(20):
        noise = torch.randn(4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        other = (optimum.logprob_V + 0.3 * noise).log_softmax(0)
        objective = (other.exp() * reward).sum() - 0.7 * categorical_kl(other[None], reference[None])[0]
        assert objective < optimum.objective


def test_a_fixed_leash_answers_to_nothing():
    leash = FixedLeash(0.05)
    assert leash.observe(100.0, quality=-1.0) == leash
    assert leash.tightened(2.0).beta == pytest.approx(0.1)


def test_a_scheduled_leash_runs_down_a_straight_line_and_stays():
    leash, betas = ScheduledLeash(0.4, 0.1, num_updates=3), []
    for _ in range(5):
        betas.append(leash.beta)
        leash = leash.observe(1.0)
    assert betas == pytest.approx([0.4, 0.3, 0.2, 0.1, 0.1])
    assert leash.tightened(2.0).beta == pytest.approx(0.2)


@pytest.mark.parametrize("kl_nats", [0.0, 3.0, 5.9, 6.0, 6.1, 50.0])
def test_the_plain_law_by_its_formula(kl_nats):
    error = max(-0.2, min(0.2, kl_nats / 6.0 - 1))
    leash = AdaptiveLeash(0.15, target_nats=6.0, gain=0.3)
    assert leash.observe(kl_nats).beta == pytest.approx(0.15 * (1 + 0.3 * error))


def test_beta_stays_above_its_floor():
    leash = AdaptiveLeash(0.011, target_nats=6.0, gain=1.0, floor=0.01)
    for _ in range(5):
        leash = leash.observe(0.0)
    assert leash.beta == 0.01
    assert leash.tightened(0.1).beta == 0.01
    assert leash.tightened(3.0).beta == pytest.approx(0.03)


def test_a_rising_kl_holds_beta_but_not_for_ever():
    leash = AdaptiveLeash(0.1, target_nats=6.0, gain=0.5, hold_updates=2)
    betas = []
    for kl_nats in (1.0, 2.0, 3.0):
        leash = leash.observe(kl_nats)
        betas.append(leash.beta)
    assert betas == pytest.approx([0.1, 0.1, 0.09])


def test_a_kl_that_does_not_rise_slackens_the_leash_at_once():
    leash = AdaptiveLeash(0.1, target_nats=6.0, gain=0.5, hold_updates=9).observe(2.0)
    assert leash.observe(2.0).beta == pytest.approx(0.09)
    assert leash.observe(1.0).beta == pytest.approx(0.09)


def test_a_rising_kl_above_target_tightens_the_leash():
    leash = AdaptiveLeash(0.1, target_nats=6.0, gain=0.5, hold_updates=9).observe(2.0)
    assert leash.observe(20.0).beta == pytest.approx(0.11)


def test_the_leash_does_not_slacken_while_quality_improves():
    leash = AdaptiveLeash(0.1, target_nats=6.0, gain=0.5).observe(1.0, quality=0.5)
    assert leash.beta == pytest.approx(0.09)
    assert leash.observe(1.0, quality=0.6).beta == pytest.approx(0.09)
    assert leash.observe(1.0, quality=0.5).beta == pytest.approx(0.081)
    assert leash.observe(1.0).observe(1.0, quality=0.6).beta == pytest.approx(0.081)
    assert leash.observe(50.0, quality=0.6).beta == pytest.approx(0.099)


def closed_loop(leash: AdaptiveLeash, *, start_kl_nats: float = 0.0, num_updates: int = 120) -> list[float]:
    """Steer gradient ascent on E[r] - beta * KL for a Gaussian policy with unit-variance reward; return the KLs.

    With tilt x: E[r] = x, KL = x^2 / 2; it settles at x = 1 / beta, and takes some 1 / (.15 beta) updates to get there.
    """
    tilt, seen = math.sqrt(2 * start_kl_nats), []
    for _ in range(num_updates):
        seen.append(tilt**2 / 2)
        tilt += 0.15 * (1 - leash.beta * tilt)
        leash = leash.observe(seen[-1])
    return seen


TARGET = 1.5


@pytest.mark.parametrize("beta", [0.58, 1.0, 2.0, 3.0])
def test_closed_loop_from_below_settles_without_overshooting(beta):
    kls = closed_loop(AdaptiveLeash(beta, TARGET, gain=0.2, hold_updates=20))
    assert max(kls) < 1.35 * TARGET
    assert all(abs(kl / TARGET - 1) < 0.25 for kl in kls[-20:])


@pytest.mark.parametrize("start_kl_nats", [3.0, 4.0])
def test_closed_loop_from_above_settles_without_overshooting(start_kl_nats):
    kls = closed_loop(AdaptiveLeash(0.58, TARGET, gain=0.2, hold_updates=20), start_kl_nats=start_kl_nats)
    assert min(kls) > 0.65 * TARGET
    assert all(abs(kl / TARGET - 1) < 0.25 for kl in kls[-20:])


def test_the_plain_law_winds_up_where_the_hold_does_not():
    assert max(closed_loop(AdaptiveLeash(0.58, TARGET, gain=0.2))) > 1.35 * TARGET


@pytest.mark.parametrize(
    "leash",
    [
        FixedLeash(0.1),
        ScheduledLeash(0.4, 0.1, num_updates=3),
        AdaptiveLeash(0.1, target_nats=1.0, gain=0.3, hold_updates=3),
    ],
)
def test_a_leash_restored_from_json_goes_on_exactly(leash):
    for kl_nats in (0.1, 0.3, 0.2):
        leash = leash.observe(kl_nats, quality=kl_nats)
    restored = type(leash)(**json.loads(json.dumps(vars(leash))))
    assert restored == leash
    assert restored.observe(0.25, quality=0.1) == leash.observe(0.25, quality=0.1)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: FixedLeash(-0.1), "Leash setting beta is -0.1, expected zero or a positive number. Change leash.beta"),
        (lambda: ScheduledLeash(math.nan, 0.1, 3), "beta_start is nan, expected zero or a positive number"),
        (lambda: ScheduledLeash(0.1, 0.1, 0), "num_updates is 0, expected at least 1"),
        (lambda: AdaptiveLeash(0.0, 6.0, 0.1), "beta is 0.0, expected a positive number"),
        (lambda: AdaptiveLeash(0.1, 0.0, 0.1), "target_nats is 0.0, expected a positive number"),
        (lambda: AdaptiveLeash(0.1, 6.0, 5.0), "gain is 5.0, expected from 0 to below 5 (1 / clip)"),
        (lambda: AdaptiveLeash(0.1, 6.0, 0.1, floor=0.0), "floor is 0.0, expected a positive number"),
        (lambda: AdaptiveLeash(0.1, 6.0, 0.1, hold_updates=-1), "hold_updates is -1, expected zero or a positive"),
    ],
)
def test_impossible_settings_are_refused(make, complaint):
    with pytest.raises(SettingsError) as caught:
        make()
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    "leash", [FixedLeash(0.1), ScheduledLeash(0.4, 0.1, 3), AdaptiveLeash(0.1, target_nats=1.0, gain=0.3)]
)
def test_a_kl_that_is_no_number_stops_the_run(leash):
    with pytest.raises(RunError, match=r"The measured KL is nan, expected a finite .*lower the learning rate"):
        leash.observe(math.nan)
