"""The RLHF loop: propose, score, update, improve. This file is the production loop of every online algorithm.

    generator proposes answers -> scorer scores them -> engine updates the policy -> the leash adapts -> watch decides

Every rank runs this same loop on its own share of the prompts; whatever must be global (counts, means, KL) is summed
over ranks by the engine. What differs between PPO, RLOO, GRPO and REINFORCE is a row of `algorithms.online`. All
randomness is derived from (seed, step), so a loop resumed from a checkpoint repeats an uninterrupted one exactly.
Read `stages/policy.py` next for how models, data and checkpoints are put around it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kleash.algorithms.objective import MinibatchLoss, annotate, minibatch_counts, minibatches
from kleash.algorithms.online import CreditInputs, OnlineAlgorithm, sequence_reward
from kleash.algorithms.policy_settings import PolicySettings
from kleash.algorithms.rollout_metrics import KL, measure_rollouts
from kleash.data.batches import Experience, Rollouts, TokenSequence, derived_seed
from kleash.errors import RunError
from kleash.maths.advantages import Credit, missing_eos_score, running_baseline
from kleash.maths.kl import Leash
from kleash.maths.masked import masked_moments, whiten_with
from kleash.maths.tally import Tally
from kleash.progress import Stopwatch
from kleash.protocols import Generator, Scorer, Tracker, TrainingEngine, Watch
from kleash.records import Prompt, by_slice

# Forwards of the same tokens differ by rounding alone (NUMERICS: the first minibatch's ratio is 1).
MAX_RATIO_ERROR = 1e-4


@dataclass(frozen=True)
class LoopState:
    """What the loop itself remembers between steps. step: the next one to run; outcome: how it ended."""

    step: int
    leash: Leash
    baseline: float = 0.0
    outcome: str = "running"


@dataclass(frozen=True)
class LoopComponents:
    """Who does the work: one implementation of each seam, and the algorithm's row."""

    generator: Generator
    scorer: Scorer
    engine: TrainingEngine
    watch: Watch
    tracker: Tracker
    algorithm: OnlineAlgorithm


def run_loop(
    state: LoopState,
    components: LoopComponents,
    settings: PolicySettings,
    *,
    prompts: Callable[[int], Sequence[Prompt]],
    seed: int,
    texts_to_keep: Callable[[int], Sequence[TokenSequence]] = lambda step: (),
    after_step: Callable[[LoopState], None] = lambda state: None,
    timed: Stopwatch | None = None,
) -> LoopState:
    """Run from `state` to the last step, or until the watch ends it; return the state it ended in.

    prompts: this rank's prompts of a step.  texts_to_keep: rows of the pretraining mix of a step.
    after_step: once metrics are logged, for checkpoints and the like; what it adds to `timed` goes with the next step.
    The outcome is "finished", or the watch's "stop" or "roll_back".
    """
    engine, timed = components.engine, timed or Stopwatch()
    for step in range(state.step, settings.steps):
        began = time.perf_counter()
        with timed("sampling"):
            rollouts = components.generator.generate(
                prompts(step),
                samples_per_prompt=settings.samples_per_prompt,
                seed=derived_seed(seed, "rollouts", step),
                policy_version=step,
            )
        split = minibatches(len(rollouts), engine, settings, seed=seed, step=step)
        experience = score(components.scorer, engine, rollouts, settings, split, timed=timed)
        baseline = running_mean_reward(state, experience, engine, settings)
        credit = components.algorithm.assign_credit(
            CreditInputs(experience, state.leash.beta, baseline), settings.credit
        )
        if components.algorithm.whitens and settings.credit.whiten_advantages:
            credit = whiten_credit(credit, experience.mask_BT, engine)
        metrics = measure_rollouts(experience, credit, engine.sum_across_ranks)
        with timed("updating"):
            metrics |= update(components, experience, credit, state, settings, texts=texts_to_keep(step), seed=seed)
        leash = state.leash
        metrics |= {"beta": leash.beta, "reward_baseline": baseline, "learning_rate_share": leash.learning_rate_share}
        verdict = components.watch.observe(step, rollouts, metrics)
        # A watch that rolls back does so because of figures, such as a NaN, that no leash can go by.
        if verdict.action != "roll_back":
            quality = verdict.quality if settings.leash.heeds_quality else None
            leash = leash.observe(metrics[KL], quality=quality, slice_kl_nats=by_slice(metrics, KL))
        if verdict.action == "raise_beta":
            leash = leash.tightened(settings.raise_beta_factor)
        with timed("loading"):
            components.generator.load_weights(engine.named_weights(), version=step + 1)
        components.tracker.log(step, metrics | timed.take() | {"step_seconds": time.perf_counter() - began})
        outcome = "finished" if step + 1 == settings.steps else "running"
        outcome = verdict.action if verdict.action in ("stop", "roll_back") else outcome
        state = LoopState(step + 1, leash, baseline, outcome)
        after_step(state)
        if outcome != "running":
            break
    return state


def score(
    scorer: Scorer,
    engine: TrainingEngine,
    rollouts: Rollouts,
    settings: PolicySettings,
    split: Sequence[Sequence[int]],
    *,
    timed: Stopwatch,
) -> Experience:
    """Score the answers, and add the log-probs of policy and reference and the critic's values as they now stand."""
    with timed("scoring"):
        scores = scorer.score(rollouts.completions(with_logprobs=False))
    score_B, penalty = torch.tensor(list(scores.total), dtype=torch.float32), settings.credit.missing_eos_penalty
    parts = {name: torch.tensor(list(part), dtype=torch.float32) for name, part in scores.parts.items()}
    if penalty is not None:
        parts["unpenalised"] = score_B
        score_B = missing_eos_score(score_B, rollouts.is_finished_B, penalty=penalty)
    with timed("annotating"):
        logprob_BT, reference_logprob_BT, value_BT = annotate(engine, rollouts, split)
    return Experience(replace(rollouts, logprob_BT=logprob_BT), score_B, reference_logprob_BT, value_BT, parts)


def running_mean_reward(
    state: LoopState, experience: Experience, engine: TrainingEngine, settings: PolicySettings
) -> float:
    """Move the running mean of the KL-penalised reward towards this batch's; the first batch sets it."""
    reward_B = sequence_reward(experience, state.leash.beta)
    total = engine.sum_across_ranks({"sum": float(reward_B.sum()), "count": float(len(reward_B))})
    before = state.baseline if state.step > 0 else None
    return running_baseline(before, total["sum"] / total["count"], decay=settings.credit.baseline_decay)


def whiten_credit(credit: Credit, mask_BT: Tensor, engine: TrainingEngine) -> Credit:
    """Whiten advantages over all tokens of all ranks."""
    moments = masked_moments(credit.advantage_BT, mask_BT).merged(engine.sum_across_ranks)
    return replace(credit, advantage_BT=whiten_with(credit.advantage_BT, mask_BT, moments))


def update(
    components: LoopComponents,
    experience: Experience,
    credit: Credit,
    state: LoopState,
    settings: PolicySettings,
    *,
    texts: Sequence[TokenSequence],
    seed: int,
) -> dict[str, float]:
    """Improve policy and critic on one batch of experience: epochs x minibatches optimiser steps.

    Every loss is weighted per token and divided by its minibatch's *global* sum of weights before the first
    micro-batch, so any split into micro-batches and ranks gives the same gradient. Returns the means over all
    minibatches and the last optimiser step's figures. Raises RunError when the first minibatch's ratio is not 1.
    """
    engine, num_rows = components.engine, len(experience.rollouts)
    rate_share = settings.optimiser.rate_share(state.step, settings.steps) * state.leash.learning_rate_share
    trains_policy = state.step >= settings.critic_warmup_steps or not components.algorithm.uses_critic
    num_text_tokens = engine.sum_across_ranks({"texts": float(sum(len(text.response_ids) for text in texts))})["texts"]
    tally, figures = Tally(), dict[str, float]()
    for epoch in range(settings.epochs):
        epoch_tally = Tally()
        for index, rows in enumerate(minibatches(num_rows, engine, settings, seed=seed, step=state.step, epoch=epoch)):
            counts = engine.sum_across_ranks(minibatch_counts(experience, rows, components.algorithm))
            objective = MinibatchLoss(
                experience=experience,
                credit=credit,
                algorithm=components.algorithm,
                settings=settings.loss,
                rows=rows,
                texts=texts if trains_policy else (),
                policy_count=counts["policy"],
                token_count=counts["token"],
                text_weight=settings.pretraining_coefficient / max(num_text_tokens, 1.0),
                kl_coefficient=state.leash.beta if components.algorithm.kl_acts_on == "loss" else 0.0,
                trains_policy=trains_policy,
                tally=epoch_tally,
            )
            figures = dict(engine.step(objective.sequences, objective, learning_rate_share=rate_share))
            if epoch == index == 0 and settings.check_ratio and trains_policy:
                check_ratio(epoch_tally.merged(engine.sum_across_ranks).means()["ratio_error_max"], state.step)
        tally.extend(epoch_tally)
        means = epoch_tally.merged(engine.sum_across_ranks).means()
        if means.get("approx_kl_nats_per_token", 0.0) > (settings.stop_epochs_at_kl_nats or float("inf")):
            break
    return tally.merged(engine.sum_across_ranks).means() | figures


def check_ratio(error: float, step: int) -> None:
    """Refuse to learn from wrong log-probabilities: before the first optimiser step the ratio is 1 by definition."""
    if not error < MAX_RATIO_ERROR:
        raise RunError(
            f"At step {step} the first minibatch's probability ratio is off 1 by {error:.2e}. Expected less than "
            f"{MAX_RATIO_ERROR:g}: the log-probabilities returned by sampling are not the training forward's. "
            "Sample in the training precision with the full softmax, or set policy.check_ratio=false to go on."
        )
