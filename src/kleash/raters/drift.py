"""Since when a judge that labels is no longer good enough: rolling figures over its verdicts, in order. Pure.

`monitoring.py` measures a judge over a week or all time and has the band; a judge that was good for long hides in such
figures that it no longer is. Here the figures rest on the latest verdicts alone, and a change point says since when.
Among many looks one is bad by chance, so a judge is out of its band only with the whole interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from kleash.maths.intervals import wilson_interval
from kleash.raters.monitoring import BandSettings, JudgeFigures, PairKey, agreement_with, demotion, length_preference
from kleash.records import Comparison, Judgement
from kleash.settings import Settings


class DriftSettings(Settings):
    """How AI judges are watched while they label."""

    demotes: bool = Field(True, description="a judge that leaves its band is asked no more; false = only say so")
    window: int = Field(60, ge=1, description="figures rest on so many of the latest items that show them")
    every: int = Field(50, ge=1, description="verdicts between two looks at a judge")
    drops: Literal["later", "drift", "all"] = Field(
        "drift",
        description="a demoted judge's verdicts that no longer count: those after the look, since the drift, all",
    )
    min_left: int = Field(50, ge=0, description="stop if fewer comparisons have a verdict once a judge is demoted")


@dataclass(frozen=True)
class Look:
    """What a judge's latest verdicts were like once it had given so many."""

    num_verdicts: int
    figures: JudgeFigures


@dataclass(frozen=True)
class Drift:
    """A judge out of its band.

    found_after, began_after: how many verdicts it had given at the look that found it, and before the drift began.
    """

    judge: str
    reasons: tuple[str, ...]
    found_after: int
    began_after: int


@dataclass(frozen=True)
class JudgedFact:
    """What one verdict adds to a share: 1 for, 0 against, between them for a ranking of several.

    position: the verdict's place in the judge's order.
    """

    position: int
    value: float


Facts = Mapping[str, Sequence[JudgedFact]]
# Whether a judge that gets worse has more or less of it.
_WORSE_IS_MORE = {"agreement_without_ties": False, "flip_rate": True, "length_preference": True}


def facts_of(
    verdicts: Sequence[Judgement], majority: Mapping[PairKey, int], comparisons: Mapping[str, Comparison]
) -> Facts:
    """Return what each verdict of one judge, in order, adds to its agreement, flips and preference for length.

    majority: what people say (`monitoring.majority_choices`).
    A flip is read from the verdict's flag, so that it is known without the calls.
    """
    facts: dict[str, list[JudgedFact]] = {name: [] for name in _WORSE_IS_MORE}
    for position, verdict in enumerate(verdicts):
        shares = {
            "agreement_without_ties": agreement_with(majority, [verdict], with_ties=False),
            "length_preference": length_preference([verdict], comparisons),
        }
        for name, share in shares.items():
            if share.n:
                facts[name].append(JudgedFact(position, share.value))
        if verdict.outcome != "skipped":
            facts["flip_rate"].append(JudgedFact(position, float("position_flip" in verdict.flags)))
    return facts


def looks(judge: str, facts: Facts, *, num_verdicts: int, settings: DriftSettings, is_over: bool) -> list[Look]:
    """Look at a judge after each `settings.every` verdicts and, once the labelling is over, after the last.

    The places of the looks depend on the verdicts alone, so that a labelling that was stopped ends the same.
    """
    places = list(range(settings.every, num_verdicts + 1, settings.every))
    if is_over and num_verdicts and num_verdicts not in places:
        places.append(num_verdicts)
    return [Look(index, _figures(judge, facts, index, settings.window)) for index in places]


def find_drift(
    judge: str, facts: Facts, *, num_verdicts: int, band: BandSettings, settings: DriftSettings, is_over: bool
) -> Drift | None:
    """Return the first look at which a judge is out of its band, and since when it was; None if it stayed inside."""
    for look in looks(judge, facts, num_verdicts=num_verdicts, settings=settings, is_over=is_over):
        outside = {
            name: demotion(JudgeFigures(judge, "", **{name: getattr(look.figures, name)}), band, by_interval=True)
            for name in _WORSE_IS_MORE
        }
        reasons = [reason for sentences in outside.values() for reason in sentences]
        if reasons:
            began = min(
                _began(facts[name], look.num_verdicts, worse_is_more=_WORSE_IS_MORE[name])
                for name, sentences in outside.items()
                if sentences
            )
            return Drift(judge, tuple(reasons), look.num_verdicts, began)
    return None


def change_point(values: Sequence[float], *, worse_is_more: bool) -> int:
    """Return how many facts came before their rate changed for the worse; 0 if it was bad from the start.

        argmax_k  l(x_1..k) + l(x_k+1..n),    l(x) = n (p ln p + (1 - p) ln(1 - p)),   p = mean of x

    over the splits whose later rate is the worse one. A split must gain more than ln n over a single rate.
    Source: likelihood ratio of one change in a series of coin throws, Hinkley and Hinkley 1970; the penalty is BIC's.
    """
    n, total, before = len(values), sum(values), 0.0
    best, num_before = _log_likelihood(total, n) + math.log(max(n, 1)), 0
    for k, value in enumerate(values[:-1], start=1):
        before += value
        is_worse = (before / k < (total - before) / (n - k)) == worse_is_more
        likelihood = _log_likelihood(before, k) + _log_likelihood(total - before, n - k)
        if is_worse and likelihood > best:
            best, num_before = likelihood, k
    return num_before


def _began(facts: Sequence[JudgedFact], index: int, *, worse_is_more: bool) -> int:
    """Return how many verdicts came before the drift: all up to the last that still spoke for the judge's good time."""
    seen = [fact for fact in facts if fact.position < index]
    num_good = change_point([fact.value for fact in seen], worse_is_more=worse_is_more)
    return seen[num_good - 1].position + 1 if num_good else 0


def _figures(judge: str, facts: Facts, index: int, window: int) -> JudgeFigures:
    latest = {
        name: [fact.value for fact in of_figure if fact.position < index][-window:] for name, of_figure in facts.items()
    }
    shares = {name: wilson_interval(sum(values), len(values)) for name, values in latest.items()}
    return JudgeFigures(judge, week="", **shares)  # type: ignore[arg-type]


def _log_likelihood(successes: float, n: int) -> float:
    """Return n (p ln p + (1 - p) ln(1 - p)) for a rate of successes / n; a rate of 0 or 1 explains itself fully."""
    # Sums of shares may overshoot by a rounding error.
    parts = (max(successes, 0.0), max(n - successes, 0.0))
    return sum(part * math.log(part / n) for part in parts if part > 0)
