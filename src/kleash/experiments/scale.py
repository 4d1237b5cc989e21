"""How large the over-optimisation experiment is: the stages' settings, the same for every arm.

The defaults are for a laptop: a run of 60 updates shows peak and fall. Figures that were tuned were tuned on seeds of
10 and more, never on those reported.
"""

from __future__ import annotations

from pydantic import Field

from kleash.algorithms.direct import DirectLossSettings
from kleash.algorithms.policy_settings import LeashSettings, OptimiserSettings, PolicySettings
from kleash.recipe import WorldSettings
from kleash.settings import Settings
from kleash.stages.direct import DirectSettings
from kleash.stages.reward import RewardSettings
from kleash.stages.sft import SftSettings
from kleash.training.fit import FitSettings

MAX_NEW_TOKENS = 26


class Scale(Settings):
    """Sizes and rates of one experiment."""

    world: WorldSettings = WorldSettings(num_demonstrations=8000, num_prompts=6000, num_evaluation_per_slice=50)
    sft: SftSettings = SftSettings(max_tokens=64, fit=FitSettings(epochs=1.0, batch_size=32, learning_rate=1e-3))
    reward: RewardSettings = RewardSettings(
        max_tokens=64,
        normaliser_samples=500,
        normaliser_max_new_tokens=MAX_NEW_TOKENS,
        fit=FitSettings(epochs=1.0, batch_size=32, learning_rate=1e-3),
    )
    policy: PolicySettings = PolicySettings(
        algorithm="ppo",
        steps=60,
        prompts_per_step=128,
        max_new_tokens=MAX_NEW_TOKENS,
        epochs=2,
        minibatches=2,
        evaluate_every=3,
        checkpoint_every=20,
        leash=LeashSettings(kind="fixed", beta=0.0),
        optimiser=OptimiserSettings(learning_rate=2.5e-4, final_share=0.5),
    )
    leash: LeashSettings = LeashSettings(kind="adaptive", beta=0.1, target_nats=1.5, gain=0.3, hold_updates=30)
    direct: DirectSettings = DirectSettings(
        max_tokens=64, loss=DirectLossSettings(), fit=FitSettings(epochs=1.0, batch_size=32, learning_rate=1e-4)
    )
    pool_prompts: int = Field(200, ge=1, description="best of n: prompts, even over slices")
    pool_samples: int = Field(64, ge=2, description="best of n: answers per prompt, and the largest n")
    refresh_prompts: int = Field(2500, ge=10, description="refresh: prompts that the over-optimised policy answers")
