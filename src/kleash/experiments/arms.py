"""What the over-optimisation experiment varies: who labels, which reward models learn from it, who is trained on them.

Three tables, LABELS, REWARD_MODELS and ARMS, whose rows are in arms.toml. `laboratory.py` makes what a row says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kleash.beside import table_beside
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
    reward_models: Sequence[str] = ()
    combine: Combine = "mean"
    is_leashed: bool = False
    algorithm: str = "ppo"
    is_default: bool = False


_TABLES: Mapping[str, Any] = table_beside(__file__)
LABELS: Mapping[str, ArmLabels] = {name: ArmLabels(**row) for name, row in _TABLES["labels"].items()}
REWARD_MODELS: Mapping[str, RewardModelRow] = {
    name: RewardModelRow(**row) for name, row in _TABLES["reward_models"].items()
}
ARMS: Mapping[str, Arm] = {name: Arm(**row) for name, row in _TABLES["arms"].items()}
