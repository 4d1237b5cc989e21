"""Best-of-n sampling and over-optimisation laws: what picking the best costs in KL, and how gold bends. No torch here.

Distances are d = sqrt(KL(policy || initial policy)) in sqrt(nats).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from kleash.errors import DataError, SettingsError

Law = Literal["best_of_n", "rl"]


def best_of_n_kl(n: int) -> float:
    """Return the KL of best-of-n to the policy it samples from: log n - (n - 1) / n nats, a bound where rewards tie.

    Raises SettingsError unless n >= 1. Source: Stiennon et al. 2020, arXiv:2009.01325, appendix G.3.
    """
    if n < 1:
        raise SettingsError(f"Best of {n} samples cannot be taken, expected n >= 1. Set n to 1 or more.")
    return math.log(n) - (n - 1) / n


def expected_best_of_n(rewards: ArrayLike, n: int, *, gold: ArrayLike | None = None) -> float:
    """Estimate the reward of the best of n samples from a larger pool, exactly over all its subsets of size n.

        sum_i C(i - 1, n - 1) / C(N, n) * r_(i),   r_(1) <= ... <= r_(N)

    gold: when given, the picked samples are worth this instead (chosen by `rewards`, valued by `gold`).
    Raises DataError unless 1 <= n <= pool size.
    Source: Nakano et al. 2021, arXiv:2112.09332, appendix I.
    """
    pool = np.asarray(rewards, dtype=float)
    if not 1 <= n <= len(pool):
        raise DataError(f"Best of {n} from a pool of {len(pool)}, expected 1 <= n <= pool. Sample a larger pool.")
    value = pool if gold is None else np.asarray(gold, dtype=float)
    num_subsets = math.comb(len(pool), n)
    order = np.argsort(pool, kind="stable")
    return float(sum(math.comb(place, n - 1) / num_subsets * value[item] for place, item in enumerate(order)))


@dataclass(frozen=True)
class OveroptimisationFit:
    """gold(d) - gold(0) = d (alpha - beta d) for best-of-n, d (alpha - beta log d) for RL; r_squared of the fit."""

    law: Law
    alpha: float
    beta: float
    r_squared: float

    def gold(self, distance: float) -> float:
        """Return the law's gold reward at distance d > 0, less that at 0."""
        return distance * (self.alpha - self.beta * (distance if self.law == "best_of_n" else math.log(distance)))

    def peak_distance(self) -> float:
        """Return the d with the highest gold; infinite if beta <= 0, where the law never turns (with alpha > 0)."""
        if self.beta <= 0:
            return math.inf
        return self.alpha / (2 * self.beta) if self.law == "best_of_n" else math.exp(self.alpha / self.beta - 1)


def fit_overoptimisation(distance: ArrayLike, gold_gain: ArrayLike, *, law: Law) -> OveroptimisationFit:
    """Fit alpha and beta by least squares; both laws are linear in them.

    distance: d > 0; the RL law's slope at 0 is infinite, so leave out d below about 1. gold_gain: gold less its value
    at d = 0. Some summaries print the best-of-n law for RL, which is wrong.
    Raises DataError below two points or for d <= 0, SettingsError for an unknown law.
    Source: Gao, Schulman & Hilton 2022, arXiv:2210.10760, section 3.1.
    """
    d, gold = np.asarray(distance, dtype=float), np.asarray(gold_gain, dtype=float)
    if d.shape != gold.shape or d.size < 2 or not (d > 0).all():
        raise DataError(
            f"Got {d.size} distances (smallest {d.min() if d.size else 'none'}) and {gold.size} gold rewards, "
            "expected as many of each, two or more, at distances above 0. "
            "Leave out the starting point and pass more checkpoints."
        )
    if law not in ("best_of_n", "rl"):
        raise SettingsError(f'Law is "{law}", expected "best_of_n" or "rl". Choose one of these.')
    features = np.stack([d, -d * (d if law == "best_of_n" else np.log(d))], axis=1)
    (alpha, beta), *_ = np.linalg.lstsq(features, gold, rcond=None)
    spread = float(((gold - gold.mean()) ** 2).sum())
    misfit = float(((features @ np.array([alpha, beta]) - gold) ** 2).sum())
    return OveroptimisationFit(law, float(alpha), float(beta), 1 - misfit / spread if spread > 0 else math.nan)
