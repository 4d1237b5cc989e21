"""Say in plain words which method to use on these preferences, from the figures of every method and seed.

Two methods are told apart only where their intervals over seeds and prompts are; among those that are not, what
is cheaper, stays closer to the SFT policy and varies less over seeds is the better choice. The words are in
templates/words/advice.md of the monitor.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from kleash.experiments.methods import METHODS, MethodResult
from kleash.monitor.pages.rendering import fragment

MUCH_FASTER = 0.5
UNSTEADY = 0.04
HARDLY_MOVED = 0.1
"""Of the best method's KL: a method that trails and went less far may lack nothing but a higher learning rate."""


@dataclass(frozen=True)
class MethodStanding:
    """One method over all seeds: means, and for the win rate an interval and the standard deviation over seeds.

    win_rate_low, win_rate_high: 95 %, of the mean over seeds, from each seed's own interval over prompts and the
    spread between seeds, whichever is wider.
    """

    method: str
    num_seeds: int
    win_rate: float
    win_rate_low: float
    win_rate_high: float
    seed_sd: float
    gain: float
    kl_nats: float
    length_ratio: float
    passes: float
    passes_per_answer: float
    seconds: float
    peak_rss_mb: float
    note: str


def standings(results: Sequence[MethodResult]) -> list[MethodStanding]:
    """Return each method's standing, the best win rate first."""
    of_method: dict[str, list[MethodResult]] = defaultdict(list)
    for result in results:
        of_method[result.method].append(result)
    return sorted((_standing(name, group) for name, group in of_method.items()), key=lambda one: -one.win_rate)


def _standing(name: str, group: Sequence[MethodResult]) -> MethodStanding:
    rates = [one.figures.win_rate for one in group]
    values = [rate.value for rate in rates]
    mean, sd = fmean(values), stdev(values) if len(values) > 1 else 0.0
    over_prompts = fmean((rate.bounds[1] - rate.bounds[0]) / 2 for rate in rates) / len(rates) ** 0.5
    half = max(over_prompts, 1.96 * sd / len(values) ** 0.5)
    return MethodStanding(
        method=name,
        num_seeds=len(group),
        win_rate=mean,
        win_rate_low=mean - half,
        win_rate_high=mean + half,
        seed_sd=sd,
        gain=fmean(one.figures.judge_difference.value for one in group),
        kl_nats=fmean(one.figures.kl_nats_per_sequence.value for one in group),
        length_ratio=fmean(one.figures.length_after / max(one.figures.length_before, 1e-9) for one in group),
        passes=fmean(one.passes for one in group),
        passes_per_answer=fmean(one.passes_per_answer for one in group),
        seconds=fmean(one.seconds for one in group),
        peak_rss_mb=fmean(one.peak_rss_mb for one in group),
        note=group[0].note,
    )


def advice(table: Sequence[MethodStanding]) -> list[str]:
    """Return sentences, the most important first; each rests on figures in the table."""
    trained = [one for one in table if one.passes > 0]
    best = trained[0] if trained else None
    groups: dict[str, Any] = {"best": best, "choice": None}
    if best and best.win_rate_low > 0.5:
        equals = [one for one in trained if one.win_rate_high >= best.win_rate_low and one.win_rate_low > 0.5]
        slow = MUCH_FASTER * best.seconds
        choice = min(equals, key=lambda one: (one.seconds > slow and one is not best, one.kl_nats))
        behind = [one for one in trained if one.win_rate_high < best.win_rate_low]
        groups |= {
            "choice": choice,
            "equals": [one for one in equals if one is not choice],
            "behind": behind,
            "still": [one for one in behind if one.kl_nats < HARDLY_MOVED * best.kl_nats],
            "harmful": [one for one in trained if one.win_rate_high < 0.5],
            "unsteady": [one for one in trained if one.num_seeds > 1 and one.seed_sd > UNSTEADY],
            "free": next((one for one in table if one.method == "best_of_n"), None),
        }
    text = fragment("words/advice.md", methods=METHODS, **groups)
    return [line for line in text.splitlines() if line]
