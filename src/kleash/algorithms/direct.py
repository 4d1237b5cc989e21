"""The offline algorithms as a table: DPO, IPO and KTO learn from preferences without a reward model or sampling.

Every row takes summed log-ratios, log pi(y|x) - log pi_ref(y|x), and differs in its loss and in whether it learns from
pairs or from single labelled answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pydantic import Field
from torch import Tensor

from kleash.maths.preference_losses import KTOLoss, PreferenceLoss, dpo_loss, ipo_loss, kto_loss
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
class LabelledInputs:
    """What a loss on single answers may read: log-ratios and thumbs, (N,), and the batch's reference point in nats."""

    logratio_N: Tensor
    is_desirable_N: Tensor
    baseline: float


@dataclass(frozen=True)
class PairAlgorithm:
    """A row that learns from decided pairs."""

    name: str
    pair_loss: Callable[[PairInputs, DirectLossSettings], PreferenceLoss]
    source: str


@dataclass(frozen=True)
class LabelledAlgorithm:
    """A row that learns from single answers with a thumb up or down."""

    name: str
    labelled_loss: Callable[[LabelledInputs, DirectLossSettings], KTOLoss]
    source: str


DirectAlgorithm = PairAlgorithm | LabelledAlgorithm


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


def _kto(inputs: LabelledInputs, settings: DirectLossSettings) -> KTOLoss:
    return kto_loss(
        inputs.logratio_N,
        inputs.is_desirable_N,
        beta=settings.beta,
        baseline=inputs.baseline,
        weight_desirable=settings.weight_desirable,
        weight_undesirable=settings.weight_undesirable,
    )


DPO = PairAlgorithm("dpo", _dpo, "Rafailov et al. 2023, arXiv:2305.18290")
IPO = PairAlgorithm("ipo", _ipo, "Azar et al. 2023, arXiv:2310.12036")
KTO = LabelledAlgorithm("kto", _kto, "Ethayarajh et al. 2024, arXiv:2402.01306")

DIRECT_ALGORITHMS: dict[str, DirectAlgorithm] = {row.name: row for row in (DPO, IPO, KTO)}
