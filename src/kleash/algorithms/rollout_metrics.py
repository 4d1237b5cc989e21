"""What a step's rollouts came to: scores, distance to the reference, length, and how well the critic foresaw returns.

Sums and moments are merged over ranks before anything is divided. What the optimiser did is tallied in `objective.py`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from kleash.data.batches import Experience
from kleash.maths.advantages import Credit
from kleash.maths.kl import kl_per_sequence
from kleash.maths.masked import Moments, masked_moments
from kleash.maths.policy_losses import explained_variance
from kleash.maths.tally import Tally
from kleash.records import group_by_slice, slice_metric

KL = "kl_nats_per_sequence"
_SQUARE = "_square"
SumAcrossRanks = Callable[[Mapping[str, float]], Mapping[str, float]]


def measure_rollouts(experience: Experience, credit: Credit, sum_across_ranks: SumAcrossRanks) -> dict[str, float]:
    """Return the step's figures over all answers of all ranks, and those of each slice of the prompts."""
    metrics = with_deviations(tally_answers(experience).merged(sum_across_ranks).means())
    score_B = experience.score_B
    metrics |= _ends(score_B.tolist(), sum_across_ranks)
    metrics["score_sd"] = _moments(score_B, torch.ones_like(score_B, dtype=torch.bool), sum_across_ranks).sd()
    if credit.return_BT is not None and experience.value_BT is not None:
        residual_BT = credit.return_BT - experience.value_BT
        returns, residuals = (
            _moments(x_BT, experience.mask_BT, sum_across_ranks) for x_BT in (credit.return_BT, residual_BT)
        )
        share = explained_variance(returns, residuals)
        if not math.isnan(share):  # returns that do not vary leave nothing to explain
            metrics["explained_variance"] = share
    return metrics


def tally_answers(experience: Experience) -> Tally:
    """Count this rank's answers, over all of them and per slice of their prompts."""
    tally, mask_BT = Tally(), experience.mask_BT
    kl_B = kl_per_sequence(experience.logprob_BT, experience.reference_logprob_BT, mask_BT)
    num_tokens_B = mask_BT.sum(dim=1).float()
    per_answer = {
        "score_mean": experience.score_B,
        KL: kl_B,
        "response_tokens_mean": num_tokens_B,
        "truncation_share": (~experience.rollouts.is_finished_B).float(),
        **{f"reward/{name}": part_B for name, part_B in experience.parts.items()},
        **{f"reward/{name}{_SQUARE}": part_B.square() for name, part_B in experience.parts.items()},
    }
    groups = group_by_slice(prompt.dimensions for prompt in experience.rollouts.prompts)
    for of_slice, rows in {"": list(range(len(mask_BT))), **groups}.items():
        for name, value_B in per_answer.items():
            tally.add(slice_metric(of_slice, name), float(value_B[rows].sum()), len(rows))
        kl_name = slice_metric(of_slice, "kl_nats_per_token")
        tally.add(kl_name, float(kl_B[rows].sum()), float(num_tokens_B[rows].sum()))
    return tally


def with_deviations(means: Mapping[str, float]) -> dict[str, float]:
    """Put in the place of each mean of squares the standard deviation, NAME_sd: of each part of the score, by slice."""
    found = {name: mean for name, mean in means.items() if not name.endswith(_SQUARE)}
    for name, mean in means.items():
        if name.endswith(_SQUARE):
            own = name.removesuffix(_SQUARE)
            found[f"{own}_sd"] = math.sqrt(max(mean - means[own] ** 2, 0.0))
    return found


def _ends(scores: list[float], sum_across_ranks: SumAcrossRanks) -> dict[str, float]:
    """Count the answers of all ranks, and the shares of them that have the very lowest and the very highest score."""
    counts = sum_across_ranks(Counter(f"{score:.6g}" for score in scores))
    num_answers, ordered = sum(counts.values()), sorted(counts, key=float)
    ends = {"score_floor_share": ordered[0], "score_ceiling_share": ordered[-1]} if ordered else {}
    return {"answers": float(num_answers), **{name: counts[end] / num_answers for name, end in ends.items()}}


def _moments(x: Tensor, mask: Tensor, sum_across_ranks: SumAcrossRanks) -> Moments:
    return masked_moments(x, mask).merged(sum_across_ranks)
