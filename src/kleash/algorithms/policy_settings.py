"""The `[policy]` table of a recipe: everything about one online training run, small records by subject.

Maths never sees these records; `loop.py`, the algorithms' table and `stages/policy.py` hand plain numbers on.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, PositiveFloat, model_validator

from kleash.functions import NAMES_FUNCTION
from kleash.maths.schedules import Schedule
from kleash.settings import AdamSettings, Settings


class CreditSettings(Settings):
    """How scores become advantages."""

    gamma: float = Field(1.0, gt=0, le=1, description="discount per token; below 1 it is a hidden bonus for brevity")
    lam: float = Field(0.95, ge=0, le=1, description="GAE's lambda")
    whiten_advantages: bool = Field(True, description="zero mean, unit variance over all tokens of the batch (PPO)")
    group_eps: float = Field(1e-4, ge=0, description="added to a group's standard deviation (GRPO)")
    baseline_decay: float = Field(0.9, ge=0, lt=1, description="running mean of the reward (REINFORCE)")
    missing_eos_penalty: float | None = Field(
        -1.0, description="an unfinished answer scores at most this (SD units); none = no such rule"
    )


class LossSettings(Settings):
    """How advantages move the policy and the critic."""

    clip_range: float = Field(0.2, gt=0, description="clip of the policy ratio")
    dual_clip: float | None = Field(None, gt=1, description="bound on the loss of negative advantages; none = off")
    value_clip_range: float = Field(0.2, gt=0, description="clip of the value's move, in the reward's SD")
    value_coefficient: float = Field(0.1, ge=0, description="weight of the value loss")
    kl_estimator: Literal["k2", "k3"] = Field(
        "k3", description="KL term in the loss (GRPO): k3 is the paper's, k2 has the reverse-KL gradient"
    )


class LeashSettings(Settings):
    """How strongly the policy is held to the reference."""

    kind: Literal["adaptive", "fixed", "scheduled"] = Field("adaptive", description="law that moves beta")
    acts_on: Literal["beta", "learning_rate"] = Field(
        "beta", description="what answers to the KL: beta pulls, a lower learning rate only brakes (adaptive)"
    )
    beta: float = Field(0.1, ge=0, description="first coefficient, in reward SD per nat")
    target_nats: float = Field(2.0, gt=0, description="wanted KL to the reference, nats per sequence (adaptive)")
    gain: float = Field(0.2, gt=0, description="largest change per update is 0.2 x gain (adaptive)")
    floor: float = Field(1e-3, ge=0, description="beta, or the rate's share, never falls below this (adaptive)")
    hold_updates: int = Field(0, ge=0, description="do not lower beta while KL still rises, at most so many updates")
    final_beta: float = Field(0.0, ge=0, description="last coefficient (scheduled)")
    heeds_quality: bool = Field(False, description="do not slacken while the external signal improves")
    slice_limits: dict[str, PositiveFloat] = Field(
        {}, description='most KL of a slice, such as "topic=sums" = 3.0; "*" is every other one (adaptive, scheduled)'
    )

    @property
    def kl_target_nats(self) -> float | None:
        """The KL per sequence that the law steers for; None where it steers for none."""
        return self.target_nats if self.kind == "adaptive" else None


class OptimiserSettings(AdamSettings):
    """AdamW with linear decay and no warm-up, as the original systems used it."""

    eps: float = Field(1e-5, gt=0, description="larger than elsewhere, as the original PPO has it")
    schedule: Schedule = Field("linear", description="how the rate falls after the warm-up, over the run's updates")
    warmup_share: float = Field(0.0, ge=0, lt=1, description="share of the updates in which the rate rises")
    critic_learning_rate: float | None = Field(None, gt=0, description="none = the policy's rate")


class WatchSettings(Settings):
    """When the first watch steps in."""

    max_kl_ratio: float | None = Field(
        3.0, gt=1, description="stop when KL exceeds this multiple of the target beyond chance"
    )
    min_kl_nats: float = Field(
        -0.5, lt=0, description="stop when mean KL is below, beyond chance: it cannot be, so something is wrong"
    )
    patience_evaluations: int | None = Field(
        None, ge=1, description="stop after so many evaluations without a better external score; none = never"
    )


class PolicySettings(Settings):
    """One online training run."""

    algorithm: str = Field(
        "ppo", description="ppo, rloo, grpo, reinforce, or module:ROW of your own", json_schema_extra=NAMES_FUNCTION
    )
    engine: str = Field(
        "local",
        description="what trains: local (this process), a plug-in, or module:factory",
        json_schema_extra=NAMES_FUNCTION,
    )
    generator: str = Field(
        "local",
        description="what samples: local (the trained model), a plug-in, or module:factory",
        json_schema_extra=NAMES_FUNCTION,
    )
    steps: int = Field(60, ge=1, description="updates: one batch of rollouts each")
    prompts_per_step: int = Field(64, ge=1, description="prompts in a batch, over all ranks")
    samples_per_prompt: int = Field(1, ge=1, description="answers per prompt; RLOO and GRPO need 2 or more")
    max_new_tokens: int = Field(64, ge=1)
    max_prompt_tokens: int = Field(512, ge=1, description="longer prompts are left out, and counted")
    temperature: float = Field(1.0, gt=0, description="sampling temperature; log-probabilities use it too")
    epochs: int = Field(4, ge=1, description="passes over each batch of rollouts")
    minibatches: int = Field(1, ge=1, description="optimiser steps per pass")
    max_batch_tokens: int = Field(2048, ge=1, description="tokens in one forward and backward pass")
    stop_epochs_at_kl_nats: float | None = Field(
        None, gt=0, description="end a step's epochs when approximate KL per token to the sampling policy passes this"
    )
    check_ratio: bool = Field(
        True, description="stop if the first minibatch's ratio is not 1: a log-probability is wrong"
    )
    raise_beta_factor: float = Field(1.5, gt=1, description="what the watch's `raise_beta` multiplies beta by")
    critic: Literal["separate", "shared"] = Field("separate", description="own network, or a head on the policy")
    critic_head: Literal["reward", "zero"] = Field("reward", description="where a separate critic's head starts")
    critic_warmup_steps: int = Field(0, ge=0, description="first updates train the critic alone")
    score_clip: float = Field(5.0, gt=0, description="z-scores are clipped to +- this")
    pretraining_coefficient: float = Field(0.0, ge=0, description="weight of the pretraining-mix loss (PPO-ptx)")
    pretraining_rows_per_step: int = Field(16, ge=1)
    evaluate_every: int = Field(10, ge=1, description="updates between external evaluations, where there are any")
    checkpoint_every: int = Field(5, ge=1, description="updates between checkpoints")
    credit: CreditSettings = CreditSettings()
    loss: LossSettings = LossSettings()
    leash: LeashSettings = LeashSettings()
    optimiser: OptimiserSettings = OptimiserSettings()
    watch: WatchSettings = WatchSettings()

    @model_validator(mode="before")
    @classmethod
    def _samples_the_full_softmax(cls, given: Any) -> Any:
        if cut := {"top_k", "top_p"} & set(given if isinstance(given, dict) else ()):
            raise ValueError(
                f"{' and '.join(sorted(cut))}: training samples the full softmax, for its gradient is that of the "
                "probabilities sampled from, and KL and ratio are measured by them; evaluation and suites have them"
            )
        return given
