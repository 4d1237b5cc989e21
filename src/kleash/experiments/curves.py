"""The record of an over-optimisation experiment: arms, their points, and `curves.json`. No torch here.

{"arms": [{"name", "seed", "kind", "about", "points": [{"step" or "n", "kl_nats", "proxy", "gold", ...}], "fit"}],
 "criteria": [{"name", "text", "passed": true | false | null, "figures", "seeds"}], ...}
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from kleash.maths.overoptimisation import fit_best_of_n, fit_ppo


@dataclass(frozen=True)
class Point:
    """One policy of an arm, measured on answers to prompts that nothing was trained on.

    at: the update, or n of best-of-n.  kl_nats: per answer, to the SFT policy.
    proxy: mean score the arm is trained on, in SD of the SFT policy's answers, less the SFT policy's own.
    gold: mean true reward less the SFT policy's, in SD of the SFT policy's answers; gold_low, gold_high: 95 %, paired.
    num_words, num_flattery: per answer, means.
    """

    at: int
    kl_nats: float
    proxy: float
    gold: float
    gold_low: float = math.nan
    gold_high: float = math.nan
    num_words: float = math.nan
    num_flattery: float = math.nan

    @property
    def distance(self) -> float:
        return math.sqrt(max(self.kl_nats, 0.0))


@dataclass(frozen=True)
class Curve:
    """One arm of one seed. points: in the order of training, the SFT policy first.  extra: further figures, by name."""

    name: str
    seed: int
    kind: str
    about: str
    points: tuple[Point, ...]
    extra: dict[str, float] = field(default_factory=dict)

    @property
    def peak(self) -> Point:
        return max(self.points, key=lambda point: point.gold)

    @property
    def end(self) -> Point:
        return self.points[-1]

    def up_to(self, kl_nats: float) -> Curve:
        """Return the curve as far as this KL."""
        kept = tuple(point for point in self.points if point.kl_nats <= kl_nats)
        return Curve(self.name, self.seed, self.kind, self.about, kept, self.extra)

    def gold_at(self, kl_nats: float) -> float | None:
        """Return gold at this KL, on the straight line in sqrt(KL) between the neighbours where training crossed it.

        None where it never came that far.
        """
        distance = math.sqrt(max(kl_nats, 0.0))  # an estimate of no KL may come out a little below 0
        for before, after in zip(self.points, self.points[1:], strict=False):
            if before.distance <= distance <= after.distance and after.distance > before.distance:
                share = (distance - before.distance) / (after.distance - before.distance)
                return before.gold + share * (after.gold - before.gold)
        return None


def as_json(curve: Curve) -> dict[str, Any]:
    """Return the curve as `curves.json` holds it, with its fitted law where enough points lie far enough out."""
    step = "n" if curve.kind == "best_of_n" else "step"
    points = []
    for point in curve.points:
        row = asdict(point)
        points.append({step: row.pop("at"), **{name: value for name, value in row.items() if math.isfinite(value)}})
    content = {"name": curve.name, "seed": curve.seed, "kind": curve.kind, "about": curve.about, "points": points}
    return content | {"fit": fit_json(curve), "extra": dict(curve.extra)}


def fit_json(curve: Curve) -> dict[str, Any] | None:
    """Return the over-optimisation law fitted to a curve: d (a - b log d) for PPO, d (a - b d) for best-of-n."""
    if curve.kind == "direct" or not has_points_for_a_fit(curve.points, curve.kind):
        return None
    fitted = (fit_best_of_n if curve.kind == "best_of_n" else fit_ppo)(
        [point.kl_nats for point in curve.points], [point.gold for point in curve.points]
    )
    return {"form": fitted.form, "a": fitted.a, "b": fitted.b, "r_squared": fitted.r_squared, "n": fitted.num_points}


def has_points_for_a_fit(points: Sequence[Point], kind: str) -> bool:
    least = 0.0 if kind == "best_of_n" else 1.0
    return len({point.kl_nats for point in points if point.kl_nats > 0 and point.kl_nats >= least}) >= 3
