"""What the over-optimisation experiment varies: who labels, which reward models learn from it, who is trained on them.

Three tables, read from top to bottom: LABELS, REWARD_MODELS, ARMS. A new arm is a row; `laboratory.py` makes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from kleash.scorers.ensemble import Combine

ArmKind = Literal["ppo", "best_of_n", "direct"]


@dataclass(frozen=True)
class ArmLabels:
    """Who compares the SFT policy's answers: a panel of simulated labellers, its bias, and how many rate each pair."""

    panel: str
    bias: float = 0.0
    num_raters: int = 3


@dataclass(frozen=True)
class RewardModelRow:
    """What a reward model learns from. num_pairs: comparisons at most.  split: which draw of them.

    refreshed_on: the arm whose policy's answers, freshly labelled, are learned together with as many old comparisons;
    refreshes: the reward model which that arm was trained on.
    """

    labels: str
    num_pairs: int
    split: int = 0
    refreshed_on: str | None = None
    refreshes: str | None = None


@dataclass(frozen=True)
class Arm:
    """One curve of the experiment. reward_models: several make an ensemble, combined so.

    is_leashed: PPO on the adaptive leash instead of beta 0.  algorithm: of a direct arm.  is_default: without --all.
    """

    kind: ArmKind
    about: str
    reward_models: tuple[str, ...] = ()
    combine: Combine = "mean"
    is_leashed: bool = False
    algorithm: str = "ppo"
    is_default: bool = False


LABELS: Mapping[str, ArmLabels] = {
    "unbiased": ArmLabels("expert"),
    "biased": ArmLabels("hurried", bias=0.4),
    "noisy": ArmLabels("careless", num_raters=1),
}

SPLITS = range(4)
REWARD_MODELS: Mapping[str, RewardModelRow] = {
    "biased": RewardModelRow("biased", 4000),
    "unbiased": RewardModelRow("unbiased", 4000),
    "unbiased-1000": RewardModelRow("unbiased", 1000),
    "unbiased-250": RewardModelRow("unbiased", 250),
    **{f"noisy-{split}": RewardModelRow("noisy", 1000, split) for split in SPLITS},
    **{f"biased-{split}": RewardModelRow("biased", 1000, split) for split in SPLITS},
    "refreshed": RewardModelRow("unbiased", 1000, refreshed_on="ppo-unbiased-1000", refreshes="unbiased-1000"),
}
_NOISY = tuple(f"noisy-{split}" for split in SPLITS)
_BIASED = tuple(f"biased-{split}" for split in SPLITS)

ARMS: Mapping[str, Arm] = {
    "ppo-biased": Arm("ppo", "PPO, biased labels, beta 0", ("biased",), is_default=True),
    "ppo-unbiased": Arm("ppo", "PPO, unbiased labels, beta 0", ("unbiased",), is_default=True),
    "ppo-leashed": Arm("ppo", "PPO, biased labels, adaptive leash", ("biased",), is_leashed=True, is_default=True),
    "ppo-unbiased-1000": Arm("ppo", "PPO, 1,000 unbiased comparisons, beta 0", ("unbiased-1000",)),
    "ppo-unbiased-250": Arm("ppo", "PPO, 250 unbiased comparisons, beta 0", ("unbiased-250",)),
    "ppo-refreshed": Arm("ppo", "PPO, those 1,000 and 1,000 on-policy comparisons, beta 0", ("refreshed",)),
    "ppo-noisy": Arm("ppo", "PPO, 1,000 comparisons with 25 % flips, beta 0", _NOISY[:1]),
    "ppo-noisy-worst": Arm("ppo", "PPO, four such reward models, worst case", _NOISY, "worst_case"),
    "ppo-noisy-uncertainty": Arm("ppo", "PPO, four such, mean less variance", _NOISY, "uncertainty"),
    "ppo-biased-worst": Arm("ppo", "PPO, four biased reward models, worst case", _BIASED, "worst_case"),
    "best-of-n-biased": Arm("best_of_n", "Best of n, biased labels", ("biased",)),
    "best-of-n-unbiased": Arm("best_of_n", "Best of n, unbiased labels", ("unbiased",)),
    "dpo": Arm("direct", "DPO, unbiased labels", algorithm="dpo"),
    "ipo": Arm("direct", "IPO, unbiased labels", algorithm="ipo"),
    "kto": Arm("direct", "KTO, unbiased labels", algorithm="kto"),
}
