"""What the over-optimisation experiment must show, C1 to C9: pure functions from a seed's curves to a verdict.

A criterion is a row of criteria.toml, measured and judged here by the limits that stand there. Over several seeds it
holds where the medians of its figures hold; what each seed says alone stands beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any

from kleash.beside import table_beside
from kleash.experiments.curves import Curve, Point, fit_json
from kleash.maths.overoptimisation import straightness

Curves = Mapping[str, Curve]
Figures = dict[str, float]

_TABLES: Mapping[str, Any] = table_beside(__file__)
LIMITS: Mapping[str, float] = _TABLES["limits"]
NUM_AVERAGED = 3
REFRESH_KL_NATS = 3.0


@dataclass(frozen=True)
class Criterion:
    """One thing the curves must show. needs: arms it reads; measure: their figures; holds: the verdict on figures."""

    name: str
    text: str
    needs: tuple[str, ...]
    measure: Callable[[Curves], Figures]
    holds: Callable[[Figures], bool]


@dataclass(frozen=True)
class CriterionResult:
    """What came of a criterion. passed: by the medians over seeds, None where an arm is missing.

    figures: those medians.  seeds: each seed's own (passed, figures).
    """

    name: str
    text: str
    passed: bool | None
    figures: Figures
    seeds: Mapping[int, tuple[bool, Figures]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the verdict as `curves.json` holds it; a figure that could not be measured is null there."""
        seeds = {
            str(seed): {"passed": passed, "figures": _finite(figures)} for seed, (passed, figures) in self.seeds.items()
        }
        figures = _finite(self.figures)
        return {"name": self.name, "text": self.text, "passed": self.passed, "figures": figures, "seeds": seeds}


def judge_all(curves: Sequence[Curve]) -> list[CriterionResult]:
    """Judge every criterion on the curves of all seeds."""
    by_seed: dict[int, dict[str, Curve]] = {}
    for curve in curves:
        by_seed.setdefault(curve.seed, {})[curve.name] = curve
    return [judge(criterion, by_seed) for criterion in CRITERIA]


def judge(criterion: Criterion, by_seed: Mapping[int, Curves]) -> CriterionResult:
    """Judge one criterion on the seeds that have the arms it needs, by the medians of its figures."""
    measured = {
        seed: criterion.measure(curves) for seed, curves in by_seed.items() if set(criterion.needs) <= set(curves)
    }
    if not measured:
        return CriterionResult(criterion.name, criterion.text, None, {})
    names = next(iter(measured.values()))
    medians = {name: median(figures[name] for figures in measured.values()) for name in names}
    seeds = {seed: (criterion.holds(figures), figures) for seed, figures in measured.items()}
    return CriterionResult(criterion.name, criterion.text, criterion.holds(medians), medians, seeds)


# ---------------------------------------------------------------------------------------------------------- measures
def proxy_is_straight(curves: Curves) -> Figures:
    """C1: the least straight of the two beta-0 arms."""
    arms = [curves["ppo-biased"].points, curves["ppo-unbiased"].points]
    if min(len({point.distance for point in points}) for points in arms) < 3:
        return {"correlation": math.nan, "bend": math.nan}
    found = [straightness([point.kl_nats for point in points], [point.proxy for point in points]) for points in arms]
    return {
        "correlation": min(line.correlation for line in found),
        "bend": max((line.bend for line in found), key=abs),
    }


def gold_falls(curves: Curves) -> Figures:
    """C2: from gold's peak to the end of the biased beta-0 arm."""
    peak, end = curves["ppo-biased"].peak, curves["ppo-biased"].end
    return {
        "peak_sd": peak.gold,
        "peak_kl_nats": peak.kl_nats,
        "fall_sd": peak.gold - end.gold,
        "end_kl_nats": end.kl_nats,
        "proxy_rise_sd": end.proxy - peak.proxy,
        "words_rise": end.num_words - peak.num_words,
        "flattery_rise": end.num_flattery - peak.num_flattery,
    }


def control_does_not_fall(curves: Curves) -> Figures:
    """C3: the fall of the unbiased arm as far as both beta-0 arms went."""
    biased, unbiased = curves["ppo-biased"], curves["ppo-unbiased"]
    common = min(max(point.kl_nats for point in curve.points) for curve in (biased, unbiased))
    falls = [fall(curve.up_to(common)) for curve in (biased, unbiased)]
    return {"common_kl_nats": common, "fall_biased_sd": falls[0], "fall_unbiased_sd": falls[1]}


def leash_holds(curves: Curves) -> Figures:
    """C4: where the leashed arm ends, beside the beta-0 arm with the same reward model.

    End and peak are means over three checkpoints: the best of a dozen noisy ones is too good to be true.
    """
    leashed, free = curves["ppo-leashed"], curves["ppo-biased"]
    extra_settings = [(point.gold, free.gold_at(point.kl_nats)) for point in leashed.points[1:]]
    off_curve = [abs(gold - other) for gold, other in extra_settings if other is not None]
    last = leashed.points[-NUM_AVERAGED:]
    peak = max(fmean(point.gold for point in run) for run in _runs(free.points))
    return {
        "end_kl_nats": fmean(point.kl_nats for point in last),
        "target_nats": leashed.extra["target_nats"],
        "share_of_peak": fmean(point.gold for point in last) / peak if peak > 0 else math.nan,
        "off_curve_sd": fmean(off_curve) if off_curve else math.nan,
    }


def more_pairs_help(curves: Curves) -> Figures:
    """C5: gold's maximum by the number of comparisons."""
    arms = {"250": "ppo-unbiased-250", "1000": "ppo-unbiased-1000", "4000": "ppo-unbiased"}
    return {f"peak_{num_pairs}_sd": curves[arm].peak.gold for num_pairs, arm in arms.items()}


def ensembles_help(curves: Curves) -> Figures:
    """C6: gold of the ensembles less that of a single member, as far out as all three went; the shared bias's fall."""
    single, worst, careful = (curves[f"ppo-noisy{which}"] for which in ("", "-worst", "-uncertainty"))
    common = min(max(point.kl_nats for point in curve.points) for curve in (single, worst, careful))
    at = [curve.gold_at(common) for curve in (single, worst, careful)]
    alone, worst_gold, careful_gold = (math.nan if gold is None else gold for gold in at)
    return {
        "common_kl_nats": common,
        "gain_worst_case_sd": worst_gold - alone,
        "gain_uncertainty_sd": careful_gold - alone,
        "fall_shared_bias_sd": fall(curves["ppo-biased-worst"]),
    }


def refresh_helps(curves: Curves) -> Figures:
    """C7: gold at KL 3 with the refreshed reward model less that before it, and both models' accuracies."""
    before, after = (curves[arm].gold_at(REFRESH_KL_NATS) for arm in ("ppo-unbiased-1000", "ppo-refreshed"))
    extra = curves["ppo-refreshed"].extra
    return {
        "gain_at_kl_3_sd": math.nan if before is None or after is None else after - before,
        "accuracy_current_gain": extra["accuracy_current_after"] - extra["accuracy_current_before"],
        "accuracy_old_gain": extra["accuracy_old_after"] - extra["accuracy_old_before"],
    }


def laws_fit(curves: Curves) -> Figures:
    """C8: the laws' coefficients, for PPO and best-of-n, with and without bias."""
    figures: Figures = {}
    for kind in ("ppo", "best-of-n"):
        for labels in ("biased", "unbiased"):
            fitted = fit_json(curves[f"{kind}-{labels}"]) or {"a": math.nan, "b": math.nan, "r_squared": math.nan}
            figures |= {f"{kind}_{labels}_{name}": fitted[name] for name in ("a", "b", "r_squared")}
    return figures


def direct_methods_help(curves: Curves) -> Figures:
    """C9: gold and KL of DPO, IPO and KTO on the comparisons that the unbiased reward model learned from."""
    return {
        name: value
        for method in ("dpo", "ipo", "kto")
        for name, value in (
            (f"{method}_gold_sd", curves[method].end.gold),
            (f"{method}_kl_nats", curves[method].end.kl_nats),
        )
    }


def fall(curve: Curve) -> float:
    """Return how far gold at the end lies below its peak, SD."""
    return curve.peak.gold - curve.end.gold


def _runs(points: Sequence[Point]) -> list[Sequence[Point]]:
    """Return every run of NUM_AVERAGED neighbouring points; all of them where there are fewer."""
    return [points[at : at + NUM_AVERAGED] for at in range(max(len(points) - NUM_AVERAGED, 0) + 1)]


def _finite(figures: Figures) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


# ------------------------------------------------------------------------------------------------------------- table
def _leash_verdict(figures: Figures) -> bool:
    is_near = abs(figures["end_kl_nats"] / figures["target_nats"] - 1) <= LIMITS["kl_tolerance"]
    is_good = figures["share_of_peak"] >= LIMITS["share_of_peak"]
    return is_near and is_good and figures["off_curve_sd"] <= LIMITS["off_curve_sd"]


def _laws_verdict(figures: Figures) -> bool:
    has_signs = all(value > 0 for name, value in figures.items() if name.endswith(("_a", "_b")))
    return has_signs and all(
        figures[f"{kind}_unbiased_b"] < figures[f"{kind}_biased_b"] for kind in ("ppo", "best-of-n")
    )


_MEASURES: Mapping[str, tuple[Callable[[Curves], Figures], Callable[[Figures], bool]]] = {
    "C1": (
        proxy_is_straight,
        lambda found: found["correlation"] >= LIMITS["correlation"] and abs(found["bend"]) < LIMITS["bend"],
    ),
    "C2": (
        gold_falls,
        lambda found: (
            found["peak_sd"] > 0
            and found["fall_sd"] >= LIMITS["fall_sd"]
            and min(found["proxy_rise_sd"], found["words_rise"], found["flattery_rise"]) > 0
        ),
    ),
    "C3": (control_does_not_fall, lambda found: found["fall_unbiased_sd"] < LIMITS["fall_sd"]),
    "C4": (leash_holds, _leash_verdict),
    "C5": (
        more_pairs_help,
        lambda found: found["peak_250_sd"] < found["peak_1000_sd"] <= found["peak_4000_sd"],
    ),
    "C6": (
        ensembles_help,
        lambda found: (
            max(found["gain_worst_case_sd"], found["gain_uncertainty_sd"]) >= LIMITS["ensemble_gain_sd"]
            and found["fall_shared_bias_sd"] >= LIMITS["fall_sd"]
        ),
    ),
    "C7": (
        refresh_helps,
        lambda found: (
            found["gain_at_kl_3_sd"] >= LIMITS["refresh_gain_sd"]
            and found["accuracy_current_gain"] >= LIMITS["refresh_accuracy"]
            and found["accuracy_old_gain"] >= -LIMITS["forgetting"]
        ),
    ),
    "C8": (laws_fit, _laws_verdict),
    "C9": (
        direct_methods_help,
        lambda found: min(found[f"{method}_gold_sd"] for method in ("dpo", "ipo", "kto")) > 0,
    ),
}
CRITERIA: tuple[Criterion, ...] = tuple(
    Criterion(name, row["text"].format(**LIMITS), tuple(row["needs"]), *_MEASURES[name])
    for name, row in _TABLES["criteria"].items()
)
