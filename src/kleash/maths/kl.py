"""How far a policy has gone from its reference, and the leash that holds it: KL estimators and the coefficient beta.

What beta does to a reward stands in `advantages.token_rewards`. Leashes are frozen records: `observe` returns the next
one, and the fields of a leash are plain JSON, all that a checkpoint needs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Protocol, Self, TypeVar

import torch
from torch import Tensor

from kleash.errors import RunError, SettingsError
from kleash.maths.masked import masked_sum, select
from kleash.maths.shapes import check_shapes

KLEstimator = Literal["k1", "k2", "k3"]
NO_SLICES: Mapping[str, float] = {}
ANY_SLICE = "*"
# A batch holds few answers of each slice, so a running mean over batches is what is held against the slice's limit. A
# longer memory lags behind the policy, and the closed loop swings: at .8 by 30 %.
SLICE_DECAY = 0.5


def kl_per_token(logprob_BT: Tensor, reference_logprob_BT: Tensor, *, estimator: KLEstimator = "k1") -> Tensor:
    """Estimate KL(policy || reference) at each token that the policy sampled, in nats.

        d = log p - log p_ref;   k1 = d;   k2 = d^2 / 2;   k3 = exp(-d) - 1 + d

    k1 and k3 are unbiased, k2 is not; k2 and k3 are never negative. Gradients flow, and it matters where an estimator
    stands: k1 in the reward (detached) and k2 in the loss give the gradient of the reverse KL, k3 in the loss that of
    the *forward* KL, k1 in the loss none at all. For the drift from old to current policy on old samples,
    pass (old, current).
    Raises SettingsError for an unknown estimator.
    Source: Schulman 2020, joschu.net/blog/kl-approx.html.
    """
    check_shapes("B T", logprob_BT=logprob_BT, reference_logprob_BT=reference_logprob_BT)
    d_BT = logprob_BT - reference_logprob_BT
    if estimator == "k1":
        return d_BT
    if estimator == "k2":
        return d_BT.square() / 2
    if estimator == "k3":
        return torch.expm1(-d_BT) + d_BT
    raise SettingsError(f'KL estimator is "{estimator}", expected "k1", "k2" or "k3". Choose one of these.')


def kl_per_sequence(
    logprob_BT: Tensor, reference_logprob_BT: Tensor, mask_BT: Tensor, *, estimator: KLEstimator = "k1"
) -> Tensor:
    """Add up the estimates over each sequence's tokens that count, (B,) in nats; its mean is `kl_nats_per_sequence`."""
    check_shapes("B T", logprob_BT=logprob_BT, reference_logprob_BT=reference_logprob_BT, mask_BT=mask_BT)
    kept_BT, kept_reference_BT = select(logprob_BT, mask_BT), select(reference_logprob_BT, mask_BT)
    return masked_sum(kl_per_token(kept_BT, kept_reference_BT, estimator=estimator), mask_BT, dim=1)


class Leash(Protocol):
    """The strength beta of the pull towards the reference, and how it answers to what is measured."""

    @property
    def beta(self) -> float:
        """The coefficient for the next update, reward's unit per nat."""

    @property
    def learning_rate_share(self) -> float:
        """What the next update's learning rate is multiplied by."""

    def observe(
        self, kl_nats: float, *, quality: float | None = None, slice_kl_nats: Mapping[str, float] = NO_SLICES
    ) -> Self:
        """Return the leash for the next update, after one whose rollouts had this KL, nats per sequence.

        kl_nats: k1 summed over tokens, averaged over sequences.  quality: an external signal, higher is better, where
        one was measured since the last call; while it rises, no leash slackens.  slice_kl_nats: each slice's own KL,
        {"dimension=value": nats}, to be held against the limits of a leash that has some.
        Raises RunError if the KL is not finite.
        """

    def tightened(self, factor: float) -> Self:
        """Return the leash with beta multiplied by `factor`, as an alarm may ask."""


@dataclass(frozen=True)
class FixedLeash:
    """The same beta throughout; beta >= 0, and 0 is no leash at all."""

    learning_rate_share: ClassVar[float] = 1.0
    beta: float

    def __post_init__(self) -> None:
        _require(self.beta >= 0 and math.isfinite(self.beta), "beta", self.beta, "zero or a positive number")

    def observe(
        self, kl_nats: float, *, quality: float | None = None, slice_kl_nats: Mapping[str, float] = NO_SLICES
    ) -> FixedLeash:
        """Return this leash: it answers to nothing."""
        _require_finite(kl_nats)
        return self

    def tightened(self, factor: float) -> FixedLeash:
        return replace(self, beta=self.beta * factor)


@dataclass(frozen=True)
class ScheduledLeash:
    """A straight line from beta_start to beta_end over num_updates, then constant: strong early, relaxed later.

    It relaxes with care: while `quality` rises it stays where it is, and while a slice's KL is above its limit it goes
    back the way it came. A schedule that tightens answers to neither.
    slice_limits: the most KL of a slice, {"dimension=value": nats per sequence}; "*" is every slice not named. What
    stands below num_updates is state; num_observed: steps taken along the line.
    """

    learning_rate_share: ClassVar[float] = 1.0
    beta_start: float
    beta_end: float
    num_updates: int
    num_observed: int = 0
    last_quality: float | None = None
    is_improving: bool = False
    slice_limits: Mapping[str, float] = field(default_factory=dict)
    slice_kl_nats: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("beta_start", "beta_end"):
            value = getattr(self, name)
            _require(value >= 0 and math.isfinite(value), name, value, "zero or a positive number")
        _require(self.num_updates >= 1, "num_updates", self.num_updates, "at least 1")
        _require_limits(self.slice_limits)

    @property
    def beta(self) -> float:
        """The coefficient for the next update: beta_start for the first, beta_end from update num_updates + 1 on."""
        share = min(self.num_observed / self.num_updates, 1.0)
        return self.beta_start + share * (self.beta_end - self.beta_start)

    def observe(
        self, kl_nats: float, *, quality: float | None = None, slice_kl_nats: Mapping[str, float] = NO_SLICES
    ) -> ScheduledLeash:
        """Take one step along the line, whatever the KL; where relaxing must wait, take none, or one back."""
        noted = _noted(self, kl_nats, quality, slice_kl_nats)
        step = 1
        if self.beta_end < self.beta_start and slice_pressure(noted.slice_kl_nats, self.slice_limits) > 1:
            step = -1 if self.num_observed else 0
        elif self.beta_end < self.beta_start and noted.is_improving:
            step = 0
        return replace(noted, num_observed=min(self.num_observed, self.num_updates) + step)

    def tightened(self, factor: float) -> ScheduledLeash:
        return replace(self, beta_start=self.beta_start * factor, beta_end=self.beta_end * factor)


@dataclass(frozen=True)
class AdaptiveLeash:
    """A beta that steers the KL to a target, in small multiplicative steps.

        e = clip(KL / target - 1, -clip, clip);   beta <- max(beta * (1 + gain * e), floor)

    target_nats: KL per sequence to hold. gain: how fast; a tenfold change in U updates needs gain of at least
    ln 10 / (clip * U), .19 for 60 updates. The published "horizon" hides a gain: episodes per update / horizon.
    hold_updates: how often at most, over the whole run, beta is *not* lowered because KL is still rising by itself.
    Without it the rule winds up: it lowers beta all the way while KL climbs to the target, and KL overshoots. 0, the
    default, is the published rule exactly.
    A rising `quality` holds beta as well: no need to slacken a leash on which answers are still getting better.
    slice_limits: the most KL of a slice, {"dimension=value": nats per sequence}; "*" is every slice not named. The
    KL_slice / limit of the worst slice takes the place of KL / target where it is larger: its drift raises beta.
    last_kl_nats, last_quality, is_improving, num_held and slice_kl_nats are state. Raises SettingsError for settings
    out of range.
    Source: Ziegler et al. 2019, arXiv:1909.08593, section 2.2. Differs: floor, hold, quality and slices are ours.
    """

    learning_rate_share: ClassVar[float] = 1.0
    beta: float
    target_nats: float
    gain: float
    clip: float = 0.2
    floor: float = 1e-4
    hold_updates: int = 0
    last_kl_nats: float | None = None
    last_quality: float | None = None
    num_held: int = 0
    is_improving: bool = False
    slice_limits: Mapping[str, float] = field(default_factory=dict)
    slice_kl_nats: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require_law(self)
        _require(self.hold_updates >= 0, "hold_updates", self.hold_updates, "zero or a positive number")

    def observe(
        self, kl_nats: float, *, quality: float | None = None, slice_kl_nats: Mapping[str, float] = NO_SLICES
    ) -> AdaptiveLeash:
        """Return the leash for the next update. Call it after the update, with the KL of the rollouts just used."""
        noted = _noted(self, kl_nats, quality, slice_kl_nats)
        beta, num_held = max(self.beta * (1.0 + self.gain * _error(noted, kl_nats)), self.floor), self.num_held
        if beta < self.beta:
            # Before the first update KL is zero: the first observation counts as a rise from there.
            is_rising = kl_nats > (self.last_kl_nats or 0.0)
            if noted.is_improving:
                beta = self.beta
            elif is_rising and num_held < self.hold_updates:
                beta, num_held = self.beta, num_held + 1
        return replace(noted, beta=beta, last_kl_nats=kl_nats, num_held=num_held)

    def tightened(self, factor: float) -> AdaptiveLeash:
        return replace(self, beta=max(self.beta * factor, self.floor))


@dataclass(frozen=True)
class RateLeash:
    """A beta that stays, and a learning rate that falls while the KL is above its target and comes back below it.

        share <- clip(share * (1 - gain * e), floor, 1)     with e of `AdaptiveLeash`, slices included

    It brakes, and does not pull: a policy past the target stays about there, and comes back only as far as beta pulls
    it. While `quality` rises, the rate does not come back. The share acts on the critic's rate as well.
    learning_rate_share, last_quality, is_improving and slice_kl_nats are state. Raises SettingsError for settings out
    of range.
    """

    beta: float
    target_nats: float
    gain: float
    clip: float = 0.2
    floor: float = 1e-3
    learning_rate_share: float = 1.0
    last_quality: float | None = None
    is_improving: bool = False
    slice_limits: Mapping[str, float] = field(default_factory=dict)
    slice_kl_nats: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require_law(self)

    def observe(
        self, kl_nats: float, *, quality: float | None = None, slice_kl_nats: Mapping[str, float] = NO_SLICES
    ) -> RateLeash:
        """Return the leash for the next update. Call it after the update, with the KL of the rollouts just used."""
        noted = _noted(self, kl_nats, quality, slice_kl_nats)
        share = self.learning_rate_share * (1.0 - self.gain * _error(noted, kl_nats))
        if noted.is_improving:
            share = min(share, self.learning_rate_share)
        return replace(noted, learning_rate_share=min(max(share, self.floor), 1.0))

    def tightened(self, factor: float) -> RateLeash:
        return replace(self, beta=self.beta * factor)


HeedfulT = TypeVar("HeedfulT", ScheduledLeash, AdaptiveLeash, RateLeash)


def slice_pressure(slice_kl_nats: Mapping[str, float], limits: Mapping[str, float]) -> float:
    """Return KL / limit of the slice that is furthest above its own, 0 where no slice has a limit."""
    return max((kl_nats / _limit_of(name, limits) for name, kl_nats in slice_kl_nats.items()), default=0.0)


def _limit_of(name: str, limits: Mapping[str, float]) -> float:
    return limits.get(name, limits.get(ANY_SLICE, math.inf))


def _noted(leash: HeedfulT, kl_nats: float, quality: float | None, slice_kl_nats: Mapping[str, float]) -> HeedfulT:
    """Return the leash with what was measured taken in, before it answers to it."""
    _require_finite(kl_nats)
    slices = _running_means(leash.slice_kl_nats, slice_kl_nats, leash.slice_limits)
    if quality is None:
        return replace(leash, slice_kl_nats=slices)
    is_improving = leash.last_quality is not None and quality > leash.last_quality
    return replace(leash, slice_kl_nats=slices, last_quality=quality, is_improving=is_improving)


def _running_means(
    before: Mapping[str, float], measured: Mapping[str, float], limits: Mapping[str, float]
) -> dict[str, float]:
    """Move the running mean of each slice that has a limit; a slice that a batch lacks keeps its own."""
    moved = {
        name: SLICE_DECAY * before.get(name, kl_nats) + (1 - SLICE_DECAY) * kl_nats
        for name, kl_nats in measured.items()
        if math.isfinite(_limit_of(name, limits))
    }
    return {**before, **moved}


def _error(leash: AdaptiveLeash | RateLeash, kl_nats: float) -> float:
    """Return e: how far the KL is from its target or the worst slice from its limit, whichever is further on."""
    ratio = max(kl_nats / leash.target_nats, slice_pressure(leash.slice_kl_nats, leash.slice_limits))
    return min(max(ratio - 1.0, -leash.clip), leash.clip)


def _require_law(leash: AdaptiveLeash | RateLeash) -> None:
    for name in ("beta", "target_nats", "floor", "clip"):
        value = getattr(leash, name)
        _require(value > 0 and math.isfinite(value), name, value, "a positive number")
    _require(0 <= leash.gain * leash.clip < 1, "gain", leash.gain, f"from 0 to below {1 / leash.clip:g} (1 / clip)")
    _require_limits(leash.slice_limits)


def _require_limits(limits: Mapping[str, float]) -> None:
    for name, limit in limits.items():
        _require(limit > 0 and math.isfinite(limit), f'slice_limits."{name}"', limit, "a positive number of nats")


def _require(holds: bool, name: str, value: float, expected: str) -> None:
    if not holds:
        raise SettingsError(f"Leash setting {name} is {value}, expected {expected}. Change leash.{name} in the recipe.")


def _require_finite(kl_nats: float) -> None:
    if not math.isfinite(kl_nats):
        raise RunError(
            f"The measured KL is {kl_nats}, expected a finite number of nats. "
            "The policy or the reference gives impossible log-probabilities: lower the learning rate and resume."
        )
