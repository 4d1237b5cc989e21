"""The offline algorithms as a table: DPO, IPO and KTO learn from preferences without a reward model or sampling.

Every row takes summed log-ratios, log pi(y|x) - log pi_ref(y|x), and differs in its loss alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pydantic import Field
from torch import Tensor

from kleash.maths.preference_losses import PreferenceLoss, dpo_loss, ipo_loss
from kleash.settings import Settings


class DirectLossSettings(Settings):
    """The losses' own constants; each algorithm reads its own."""

    beta: float = Field(0.1, gt=0, description="how closely the policy is held to the reference (DPO, KTO)")
    label_smoothing: float = Field(0.0, ge=0, lt=0.5, description="DPO: share of labels taken to be flipped")
    robust: bool = Field(False, description="DPO: correct for flipped labels instead of smoothing them")
    tau: float = Field(0.1, gt=0, description="IPO: strength of the regularisation")
    ipo_average: Literal["sum", "mean"] = Field(
        "sum", description="IPO log-probabilities: summed, as in the paper and the DPO code, or per token, as in TRL"
    )
    weight_desirable: float = Field(1.0, gt=0, description="KTO: weight of answers with a thumb up")
    weight_undesirable: float = Field(1.0, gt=0, description="KTO: weight of answers with a thumb down")


@dataclass(frozen=True)
class PairInputs:
    """What a pairwise loss may read, each (N,): log-ratios, token counts, and the share of votes for `chosen`."""

    chosen_logratio_N: Tensor
    rejected_logratio_N: Tensor
    chosen_length_N: Tensor
    rejected_length_N: Tensor
    label_N: Tensor


@dataclass(frozen=True)
class DirectAlgorithm:
    """One row: the loss on pairs, or None when it learns from single labelled answers (KTO)."""

    name: str
    pair_loss: Callable[[PairInputs, DirectLossSettings], PreferenceLoss] | None
    source: str


def _dpo(inputs: PairInputs, settings: DirectLossSettings) -> PreferenceLoss:
    return dpo_loss(
        inputs.chosen_logratio_N,
        inputs.rejected_logratio_N,
        beta=settings.beta,
        label_smoothing=settings.label_smoothing,
        robust=settings.robust,
        label_N=inputs.label_N,
    )


def _ipo(inputs: PairInputs, settings: DirectLossSettings) -> PreferenceLoss:
    is_mean = settings.ipo_average == "mean"
    return ipo_loss(
        inputs.chosen_logratio_N,
        inputs.rejected_logratio_N,
        tau=settings.tau,
        label_N=inputs.label_N,
        chosen_length_N=inputs.chosen_length_N if is_mean else None,
        rejected_length_N=inputs.rejected_length_N if is_mean else None,
    )


DIRECT_ALGORITHMS: dict[str, DirectAlgorithm] = {
    row.name: row
    for row in (
        DirectAlgorithm("dpo", _dpo, "Rafailov et al. 2023, arXiv:2305.18290"),
        DirectAlgorithm("ipo", _ipo, "Azar et al. 2023, arXiv:2310.12036"),
        DirectAlgorithm("kto", None, "Ethayarajh et al. 2024, arXiv:2402.01306"),
    )
}
