"""The gate at the end of a round: does its policy become the current one, from which the next round goes on?

Every policy accepted so far answers the same prompts, and whoever gives the alarms their external signal compares the
answers: people's stand-in, never the sandbox's gold, for what decides where training goes on is part of training. The
policy is held back when it is beaten by the current one, overall or on a slice that the average hides, or when its
reward model lost what it knew of earlier rounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import Field

from kleash.artifacts import Artifact, read
from kleash.data.batches import derived_seed
from kleash.data.prompts import drawn
from kleash.estimates import Rate
from kleash.evaluation.external_signal import rate_of
from kleash.formats import read_prompts
from kleash.maths.intervals import Interval
from kleash.progress import progress
from kleash.records import Prompt, group_by_slice
from kleash.results import AuditSummary, GateSummary
from kleash.rollout.local import SamplingSettings, answer_prompts
from kleash.stages.context import Plan, StageContext, as_artifact
from kleash.stages.support.alarming import NO_ALARMS, AlarmSetup
from kleash.stages.support.encoding import prompts_that_fit


class GateSettings(SamplingSettings):
    """How a round's policy is compared with the ones before it."""

    num_prompts: int = Field(250, ge=1, description="prompts that every policy answers")
    min_slice_prompts: int = Field(20, ge=2, description="smaller slices cannot hold a policy back")
    temperature: float = Field(1.0, gt=0, description="of all policies")


def decide_gate(
    context: StageContext,
    settings: GateSettings,
    *,
    policy: Path | Artifact,
    earlier: Mapping[str, Path | Artifact],
    current: str,
    prompts: Path,
    output_dir: Path,
    alarm_setup: AlarmSetup = NO_ALARMS,
    audit: Artifact | None = None,
) -> Artifact:
    """Compare a round's policy with those accepted before it and say whether it takes their place.

    earlier: accepted policies by round, the SFT model among them.  current: the round among them to go on from so far.
    alarm_setup: its signal compares; without one only the audit speaks.  audit: of the reward model that trained the
    policy.
    """
    policies = {name: as_artifact(model, "model") for name, model in {"policy": policy, **earlier}.items()}
    parents = {**policies, "prompts": as_artifact(prompts, "prompts")}
    signal = alarm_setup.signal
    if audit is not None:
        parents["audit"] = audit
    budget = signal.num_comparisons if signal else 0
    extra_settings = {"current": current, "budget": budget, **alarm_setup.raters}
    plan: Plan = {"kind": "gate", "parents": parents, "settings": settings, "extra_settings": extra_settings}
    if done := context.find_finished(output_dir, **plan):
        return done
    with context.write_artifact(output_dir, **plan) as draft:
        against: dict[str, Interval] = {}
        slices: dict[str, Interval] = {}
        if signal is not None:
            chosen, answers = answers_of(context, settings, policies, prompts)
            for name in earlier:
                votes = signal.votes(chosen, answers[name], answers["policy"])
                against[name] = rate_of(votes)
                if name == current:
                    slices = slice_rates(chosen, votes, min_prompts=settings.min_slice_prompts)
        reasons = reasons_to_hold(against.get(current), slices, current=current, audit=audit)
        draft.summary |= GateSummary(
            moves=not reasons,
            reasons=reasons,
            current=current,
            against={name: Rate(**vars(rate)) for name, rate in against.items()},
            slices={name: Rate(**vars(rate)) for name, rate in slices.items()},
        ).to_json()
    return read(output_dir)


def answers_of(
    context: StageContext, settings: GateSettings, policies: Mapping[str, Artifact], prompts: Path
) -> tuple[list[Prompt], dict[str, list[str]]]:
    """Have every policy answer the same prompts once, with the same seed; return the prompts and each one's texts."""
    chosen: list[Prompt] = []
    answers: dict[str, list[str]] = {}
    for name, artifact in policies.items():
        model = context.load_policy(artifact)
        if not chosen:
            fitting = prompts_that_fit(read_prompts(prompts).records, model, max_tokens=settings.prompt_room(model))
            chosen = drawn(fitting, settings.num_prompts, seed=derived_seed(context.seed, "gate prompts"))
        with progress(len(chosen), f"Answers of {name}") as advance:
            seed = derived_seed(context.seed, "gate")
            answers[name] = list(answer_prompts(model, chosen, settings, seed=seed, on_done=advance).texts)
    return chosen, answers


def slice_rates(
    prompts: Sequence[Prompt], votes: Sequence[float | None], *, min_prompts: int, confidence: float = 0.95
) -> dict[str, Interval]:
    """Return the win rate of each slice that is large enough, with intervals that hold for all slices at once."""
    rows_of = group_by_slice(prompt.dimensions for prompt in prompts)
    groups = {name: [votes[row] for row in rows] for name, rows in rows_of.items()}
    large = {name: group for name, group in groups.items() if sum(vote is not None for vote in group) >= min_prompts}
    # Bonferroni: with many slices one of them is always below its own interval by chance.
    of_each = 1 - (1 - confidence) / max(len(large), 1)
    return {name: rate_of(group, confidence=of_each) for name, group in large.items()}


def reasons_to_hold(
    overall: Interval | None, slices: Mapping[str, Interval], *, current: str, audit: Artifact | None
) -> list[str]:
    """Return why the policy may not become the current one, in sentences; none if it may."""
    reasons = []
    if audit is not None and AuditSummary.of(audit).verdict == "fail":
        why = "; ".join(reason.measure for reason in AuditSummary.of(audit).reasons if reason.level == "fail")
        reasons.append(f"its reward model failed the audit ({why})")
    if overall is not None and overall.high < 0.5:
        reasons.append(f"it wins {overall.value:.0%} of {overall.n} comparisons with {current}")
    for name, rate in slices.items():
        if rate.high < 0.5:
            reasons.append(f"on {name} it wins {rate.value:.0%} of {rate.n} comparisons with {current}")
    return reasons
