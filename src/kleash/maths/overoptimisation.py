"""Over-optimisation laws: how gold reward bends while a policy moves away from its start. No torch here.

Distances are d = sqrt(KL(policy || initial policy)) in sqrt(nats). What best-of-n costs in KL is in `best_of_n.py`.
Source of the laws: Gao, Schulman & Hilton 2022, arXiv:2210.10760, section 3.1. Some summaries print the best-of-n law
for RL, which is wrong.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kleash.errors import DataError

Form = Literal["ppo", "best_of_n"]

# The PPO law's slope is infinite at 0: it is not meant for distances below about 1.
LEAST_PPO_DISTANCE = 1.0


@dataclass(frozen=True)
class Fit:
    """gold(d) - gold(0) = d (a - b log d) for PPO, d (a - b d) for best-of-n; r_squared over its num_points points.

    peak_low, peak_high: the 95 % interval of `peak_distance`, from Fieller's of a / b with independent errors of one
    size; from 0 to infinity where b cannot be told from 0, and so no peak from none.
    """

    form: Form
    a: float
    b: float
    r_squared: float
    num_points: int
    peak_low: float = 0.0
    peak_high: float = math.inf

    def gold(self, distance: float) -> float:
        """Return the law's gold reward at distance d > 0, less that at 0."""
        return distance * (self.a - self.b * (distance if self.form == "best_of_n" else math.log(distance)))

    @property
    def peak_distance(self) -> float:
        """The d with the highest gold: infinite if b <= 0, where the law never turns down, and never below 0."""
        if self.b <= 0:
            return math.inf
        return max(self.a / (2 * self.b), 0.0) if self.form == "best_of_n" else math.exp(self.a / self.b - 1)

    @property
    def peak_value(self) -> float:
        """Gold's gain over its start at the peak; infinite where the law never turns down."""
        peak = self.peak_distance
        if math.isinf(peak):
            return math.inf
        return self.gold(peak) if peak > 0 else 0.0

    @property
    def bends(self) -> bool:
        """Whether the measured points tell the peak from none."""
        return self.b > 0 and math.isfinite(self.peak_high)


def fit_ppo(kl_nats: ArrayLike, gold_gain: ArrayLike) -> Fit:
    """Fit d (a - b log d) by least squares to the checkpoints at d = sqrt(KL) >= 1; the law is linear in a and b.

    kl_nats: KL to the initial policy, nats per answer. gold_gain: gold reward less its value at KL 0.
    Raises DataError with fewer than two checkpoints that far out.
    """
    distance, gold = _points(kl_nats, gold_gain)
    is_far = distance >= LEAST_PPO_DISTANCE
    return _fit("ppo", distance[is_far], gold[is_far], least=LEAST_PPO_DISTANCE)


def fit_best_of_n(kl_nats: ArrayLike, gold_gain: ArrayLike) -> Fit:
    """Fit d (a - b d) by least squares to every point with KL above 0.

    kl_nats: of best-of-n, from `best_of_n_kl`. gold_gain: gold reward less its value at n = 1.
    Raises DataError with fewer than two such points.
    """
    distance, gold = _points(kl_nats, gold_gain)
    return _fit("best_of_n", distance[distance > 0], gold[distance > 0], least=0.0)


@dataclass(frozen=True)
class Straightness:
    """How straight a curve is. correlation: Pearson's, of distance and value; slope: of the best straight line.

    bend: of the best parabola, how far its middle lies above the chord of its ends (below: negative), as a share of
    the line's rise from the first point to the last.
    """

    correlation: float
    slope: float
    bend: float
    num_points: int


def straightness(kl_nats: ArrayLike, value: ArrayLike) -> Straightness:
    """Say how straight a value, the proxy reward by Gao's account, is over d = sqrt(KL).

    The correlation alone forgives a bend: a parabola from 0 to 1 has .97. A value that does not vary has NaN.
    Raises DataError with fewer than three different distances.
    """
    distance, y = _points(kl_nats, value)
    if len(np.unique(distance)) < 3:
        raise DataError(
            f"{len(np.unique(distance))} different KL values, expected three or more to tell a line from a bend. "
            "Pass more checkpoints."
        )
    reach = float(np.ptp(distance)) / 2
    # On [-1, 1] the line's rise is 2 l, and c + l x + q x^2 has its middle q below the chord of its ends.
    x = (distance - distance.min()) / reach - 1
    slope, _ = np.polyfit(x, y, 1)
    quadratic, _, _ = np.polyfit(x, y, 2)
    if np.ptp(y) == 0:
        return Straightness(math.nan, 0.0, math.nan, len(x))
    correlation = float(((x - x.mean()) * (y - y.mean())).mean()) / float(x.std() * y.std())
    bend = -float(quadratic) / (2 * float(slope)) if slope else math.nan
    return Straightness(correlation, float(slope) / reach, bend, len(x))


def _points(kl_nats: ArrayLike, value: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the distances and the values, checked to be as many of each and finite.

    An estimate of no KL may come out a little below 0: its distance is 0.
    """
    kl, y = np.asarray(kl_nats, dtype=float), np.asarray(value, dtype=float)
    if kl.shape != y.shape or kl.ndim != 1 or not (np.isfinite(kl).all() and np.isfinite(y).all()):
        raise DataError(
            f"KL of shape {kl.shape} and values of shape {y.shape}, expected two lists of finite numbers, as many of "
            "each. Leave out checkpoints where one of them was not measured."
        )
    return np.sqrt(np.maximum(kl, 0.0)), y


def _fit(form: Form, distance: NDArray[np.float64], gold: NDArray[np.float64], *, least: float) -> Fit:
    if len(np.unique(distance)) < 2:
        raise DataError(
            f"{len(np.unique(distance))} different distances sqrt(KL) "
            f"{'at or above' if least else 'above'} {least:g}, expected two or more to fit two coefficients. "
            "Pass more checkpoints, further from the start."
        )
    features = np.stack([distance, -distance * (distance if form == "best_of_n" else np.log(distance))], axis=1)
    coefficients = np.asarray(np.linalg.lstsq(features, gold, rcond=None)[0], dtype=np.float64)
    a, b = coefficients
    misfit = float(((features @ coefficients - gold) ** 2).sum())
    r_squared = 1 - misfit / float(((gold - gold.mean()) ** 2).sum()) if np.ptp(gold) > 0 else math.nan
    inverse = np.asarray(np.linalg.inv(features.T @ features), dtype=np.float64)
    ratios = _ratio_interval(coefficients, inverse, misfit, len(gold) - 2)
    # Both peaks rise with a / b: exp(a / b - 1) and a / 2b.
    peaks = [max(ratio / 2, 0.0) if form == "best_of_n" else math.exp(min(ratio - 1, 700.0)) for ratio in ratios]
    low, high = peaks if b > 0 and peaks else (0.0, math.inf)
    return Fit(form, float(a), float(b), r_squared, len(gold), low, high)


def _ratio_interval(
    coefficients: NDArray[np.float64], inverse: NDArray[np.float64], misfit: float, num_free: int
) -> list[float]:
    """Return the ends of the 95 % interval of a / b; none where it is unbounded, that is, where b may be 0.

    Source: Fieller 1954: all r for which a - r b cannot be told from 0.
    """
    from scipy.special import stdtrit

    if num_free < 1:
        return []
    a, b = coefficients
    (v_a, v_ab), (_, v_b) = inverse * (misfit / num_free) * float(stdtrit(num_free, 0.975)) ** 2
    # (a - r b)^2 <= v_a - 2 r v_ab + r^2 v_b, a parabola in r that opens upwards if b is told from 0.
    square, linear, constant = b * b - v_b, a * b - v_ab, a * a - v_a
    if square <= 0:
        return []
    half_width = math.sqrt(max(linear * linear - square * constant, 0.0)) / square
    return [float(linear / square - half_width), float(linear / square + half_width)]
