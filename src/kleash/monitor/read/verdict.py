"""Say in plain words whether the trained policy answers better than the SFT model, and how that is known.

Pure: findings in, sentences out. A win by the verdict of the very reward model that was trained on is no win, and is
not called one. What else may be wrong with a run is looked for in `checks.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kleash.estimates import Estimate
from kleash.monitor.read.alarms import by_symptom
from kleash.monitor.read.findings import Findings
from kleash.results import GateSummary
from kleash.run_summary import RoundSummary
from kleash.web.wording import count, length_accuracy, listing, number, percent, percent_range

Mood = Literal["better", "worse", "unclear", "pending"]


@dataclass(frozen=True)
class RunVerdict:
    """One headline, "claim: reason", and the sentences that bear it out."""

    mood: Mood
    headline: str
    evidence: tuple[str, ...]


def verdict_of(findings: Findings) -> RunVerdict:
    """Say whether the trained policy answers better than the SFT model, at what cost, and how that is known."""
    rate = findings.overall.win_rate
    if rate is None:
        evidence = [*_alarm_evidence(findings), *_reward_model_evidence(findings)]
        return RunVerdict("pending", _pending_headline(findings), tuple(evidence))
    mood = mood_of(rate) if findings.judge != "proxy" and not findings.judge_trained else "unclear"
    claim = {"better": "Better:", "worse": "Worse:", "unclear": "Not told apart:"}[mood]
    if findings.judge == "proxy":
        claim = f"Unproven: by the verdict of its own {findings.reward_name}"
    elif findings.judge_trained:
        claim = f"Unproven: by a judge that {findings.judge_trained},"
    won = f"the policy wins {percent(rate.value)} of {comparisons(rate)} against its {findings.reference_name}"
    headline = f"{claim} {won}{_cost(findings.kl_nats)}."
    evidence = [_interval_evidence(rate), _judge_evidence(findings)]
    evidence += [*_alarm_evidence(findings), *_reward_model_evidence(findings)]
    return RunVerdict(mood, headline, tuple(evidence))


def mood_of(rate: Estimate) -> Literal["better", "worse", "unclear"]:
    """Judge a win rate by its interval: all of it above an even half, all below, or neither."""
    if rate.low is None or rate.high is None:
        return "unclear"
    return "better" if rate.low > 0.5 else "worse" if rate.high < 0.5 else "unclear"


def comparisons(rate: Estimate) -> str:
    return "the comparisons" if rate.n is None else f"{count(rate.n)} comparisons"


def unseen_pairs(rate: Estimate) -> str:
    return "unseen pairs" if rate.n is None else f"{count(rate.n)} unseen pairs"


def gate_in_words(gate: GateSummary | RoundSummary) -> str:
    """Say what became of a round at its gate; "" where it has not come to one."""
    if gate.moves is None:
        return ""
    if not gate.moves:
        return f"held back: {'; '.join(gate.reasons)}"
    return "moves" if gate.against else "moves, unseen: alarms.comparer names nobody to compare answers"


# ----------------------------------------------------------------------------------------------------------- inside
def _pending_headline(findings: Findings) -> str:
    if findings.method and findings.updates:
        text = f"Not evaluated yet: {count(len(findings.updates))} updates of training are recorded so far"
        if not findings.win_rates:
            return f"{text}."
        step, rate = findings.win_rates[0].points[-1]
        span = f" ({interval})" if (interval := percent_range(rate.low, rate.high)) else ""
        won = f"the policy won {percent(rate.value)}{span} against its {findings.reference_name}"
        name = findings.win_rates[0].name
        trained = findings.signals_trained.get(name)
        unproven = f"; unproven, as it {trained}" if trained else ""
        return f"{text}; at update {count(step)} {won} ({name}{unproven})."
    if findings.reward_model:
        accuracy = findings.reward_model.accuracy
        return f"No policy yet: the reward model orders {percent(accuracy.value)} of {unseen_pairs(accuracy)} rightly."
    return "Nothing is measured yet: this page fills as the stages finish."


def _cost(kl_nats: Estimate | None) -> str:
    """Say what a policy strayed from its reference; an estimate below zero is one of next to nothing."""
    if kl_nats is None:
        return ""
    if kl_nats.value <= 0:
        return ", at no KL to speak of"
    return f", at a cost of {number(kl_nats.value)} nats of KL per answer"


def _interval_evidence(rate: Estimate) -> str:
    shared = "Both models answered the same unseen prompts with the same sampling settings; a tie is half a win."
    span = percent_range(rate.low, rate.high)
    if not span:
        return f"No interval was recorded for the win rate, so chance is not ruled out. {shared}"
    if mood_of(rate) == "unclear":
        return f"The 95 % interval, {span}, includes an even 50 %: more prompts are needed to tell. {shared}"
    return f"The 95 % interval is {span} and excludes an even 50 %. {shared}"


def _judge_evidence(findings: Findings) -> str:
    before, after = findings.overall.judge_before, findings.overall.judge_after
    moved = ""
    if before is not None and after is not None:
        ends = number(before.value), number(after.value)
        verb = "rose" if after.value > before.value else "fell"
        moved = (
            f"; its mean stayed at {ends[0]}" if ends[0] == ends[1] else f"; its mean {verb} from {' to '.join(ends)}"
        )
        moved += " points"
    if findings.judge == "gold":
        return f"The judge is gold, the sandbox's true quality, which training never read{moved}."
    if findings.judge == "proxy":
        return (
            f"The judge is the {findings.reward_name} that trained it, so this says how well it was obeyed, not that "
            "the answers are better. Set evaluation.judge to something that training never saw."
        )
    if findings.judge_trained:
        return (
            f"The judge is {findings.judge}, which {findings.judge_trained}, so this says how well it was obeyed, not "
            "that the answers are better. Set evaluation.judge to something that training never saw."
        )
    return f"The judge is {findings.judge}{moved}."


def _alarm_evidence(findings: Findings) -> list[str]:
    stand = by_symptom(findings.alarms)
    stops = [symptom.replace("_", " ") for symptom, group in stand.items() if group[0].state == "stop"]
    if stops:
        return [f"The watch calls for a stop: {listing(stops)}."]
    return [f"The watch warns of {listing([symptom.replace('_', ' ') for symptom in stand])}."] if stand else []


def _reward_model_evidence(findings: Findings) -> list[str]:
    model = findings.reward_model
    if model is None:
        return []
    text = f"The reward model orders {percent(model.accuracy.value)} of {unseen_pairs(model.accuracy)} rightly"
    if model.longer_wins is None:
        return [text + "."]
    share, which = length_accuracy(model.longer_wins)
    return [f"{text}; always preferring the {which} answer would give {percent(share)}."]
