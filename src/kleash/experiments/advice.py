"""Say in plain words which method to use on these preferences, from the figures of every method and seed.

Pure. Two methods are told apart only where their intervals over seeds and prompts are; among those that are not, what
is cheaper, stays closer to the SFT policy and varies less over seeds is the better choice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from kleash.experiments.methods import METHODS, MethodResult

NAMES = {
    "ppo": "PPO",
    "rloo": "RLOO",
    "grpo": "GRPO",
    "dpo": "DPO",
    "ipo": "IPO",
    "kto": "KTO",
    "sft_on_chosen": "SFT on the chosen answers",
    "best_of_n": "best-of-n",
}
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
    if not trained:
        return ["No method was trained: there is nothing to recommend."]
    best = trained[0]
    if best.win_rate_low <= 0.5:
        return [
            f"None of the methods is told apart from the SFT policy: the best, {NAMES[best.method]}, wins "
            f"{_rate(best)}. Look at the labels before the method: agreement, and the reward model's audit."
        ]
    equals = [one for one in trained if one.win_rate_high >= best.win_rate_low and one.win_rate_low > 0.5]
    choice = min(equals, key=lambda one: (one.seconds > MUCH_FASTER * best.seconds and one is not best, one.kl_nats))
    sentences = [_choice_sentence(choice, best)]
    sentences += _equals_sentences(choice, equals)
    behind = [one for one in trained if one.win_rate_high < best.win_rate_low]
    if behind:
        sentences.append("Clearly behind: " + ", ".join(f"{NAMES[one.method]} ({_rate(one)})" for one in behind) + ".")
    still = [one for one in behind if one.kl_nats < HARDLY_MOVED * best.kl_nats]
    if still:
        shown = ", ".join(f"{NAMES[one.method]} ({one.kl_nats:.2f} nats)" for one in still)
        sentences.append(
            f"Hardly left the SFT policy: {shown}, where {NAMES[best.method]} went {best.kl_nats:.1f}; raise "
            "the learning rate before you conclude anything about the method."
        )
    for one in trained:
        if one.win_rate_high < 0.5:
            sentences.append(f"Do not use {NAMES[one.method]} here: it loses to the SFT policy, {_rate(one)}.")
    unsteady = [one for one in trained if one.num_seeds > 1 and one.seed_sd > UNSTEADY]
    if unsteady:
        shown = ", ".join(f"{NAMES[one.method]} ({100 * one.seed_sd:.1f} points)" for one in unsteady)
        sentences.append(f"Varies over seeds: {shown}; train more than one and keep the best by an external judge.")
    free = next((one for one in table if one.method == "best_of_n"), None)
    if free is not None:
        sentences.append(_best_of_n_sentence(free, best))
    return sentences


# ------------------------------------------------------------------------------------------------------------ inside
def _choice_sentence(choice: MethodStanding, best: MethodStanding) -> str:
    what = (
        f"Use {NAMES[choice.method]} ({METHODS[choice.method].about}): it wins {_rate(choice)} against the SFT policy"
    )
    what += f" at {choice.kl_nats:.1f} nats of KL, in {choice.seconds:.0f} s of training"
    if choice is best:
        return f"{what}; no method does better."
    return (
        f"{what}; {NAMES[best.method]} has a higher figure ({_rate(best)}) that is not told apart from it, for "
        f"{best.seconds:.0f} s and {best.kl_nats:.1f} nats."
    )


def _equals_sentences(choice: MethodStanding, equals: Sequence[MethodStanding]) -> list[str]:
    others = [one for one in equals if one is not choice]
    if not others:
        return []
    shown = ", ".join(
        f"{NAMES[one.method]} ({_rate(one)}, {one.kl_nats:.1f} nats, {one.seconds:.0f} s)" for one in others
    )
    return [f"Not told apart from it by win rate: {shown}."]


def _best_of_n_sentence(free: MethodStanding, best: MethodStanding) -> str:
    cost = f"each answer costs {free.passes_per_answer:.0f} passes instead of 1"
    if free.win_rate_low > best.win_rate_high:
        return f"Best-of-n without any training wins more, {_rate(free)}, but {cost}: use it where answers are few."
    if free.win_rate_high >= best.win_rate_low:
        return f"Best-of-n without any training is not told apart from the best method, {_rate(free)}, but {cost}."
    return f"Best-of-n without any training wins {_rate(free)}, and {cost}: training pays."


def _rate(one: MethodStanding) -> str:
    return f"{100 * one.win_rate:.0f} % ({100 * one.win_rate_low:.0f} to {100 * one.win_rate_high:.0f} %)"
