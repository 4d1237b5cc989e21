"""Best-of-n sampling: what picking the best is worth and costs in KL. No torch here.

How gold bends under it is fitted in `overoptimisation.py`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from kleash.errors import DataError, SettingsError


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
    return float(sum(math.comb(index, n - 1) / num_subsets * value[item] for index, item in enumerate(order)))
