"""The loss of one minibatch of experience, as the engine's micro-batches ask for it.

Everything a row needs is laid out per token beforehand, weighted and divided by the minibatch's global count, so
that the losses of any split into micro-batches and ranks add up to one number and one gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kleash.algorithms.online import OnlineAlgorithm, PolicyLossInputs
from kleash.algorithms.policy_settings import LossSettings, PolicySettings
from kleash.data.batches import Experience, Rollouts, TokenSequence, derived_seed, epoch_order, select_rows
from kleash.maths.advantages import Credit
from kleash.maths.policy_losses import (
    PolicyLoss,
    clipped_value_loss,
    kl_loss,
    policy_drift,
    reduction_count,
    reduction_weights,
)
from kleash.maths.tally import Tally
from kleash.protocols import Outputs, Trainer, TrainingEngine


def minibatches(
    num_rows: int, engine: Trainer, settings: PolicySettings, *, seed: int, step: int, epoch: int = 0
) -> list[list[int]]:
    """Return this rank's rows of each minibatch of an epoch. num_rows: of each rank.  seed: the run's."""
    order = epoch_order(num_rows * engine.num_ranks, seed=derived_seed(seed, "update", step), epoch=epoch)
    own = [row - engine.rank * num_rows for row in order]
    num = settings.minibatches
    return [sorted(row for row in own[index::num] if 0 <= row < num_rows) for index in range(num)]


def annotate(
    engine: TrainingEngine, rollouts: Rollouts, split: Sequence[Sequence[int]]
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Have the engine annotate each minibatch by itself; return its figures for the whole batch.

    In bfloat16 a log-probability depends on the micro-batch it is computed in: the first ratio is 1 only where the old
    one comes from the same.
    """
    if len(split) == 1:
        return engine.annotate(rollouts)
    found = [engine.annotate(select_rows(rollouts, rows)) for rows in split if rows]
    in_order = torch.tensor([row for rows in split for row in rows]).argsort()
    logprob, reference, value = zip(*found, strict=True)
    value_BT = None if value[0] is None else torch.cat(value)[in_order]
    return torch.cat(logprob)[in_order], torch.cat(reference)[in_order], value_BT


def minibatch_counts(experience: Experience, rows: Sequence[int], algorithm: OnlineAlgorithm) -> dict[str, float]:
    """Count what this rank's rows add to the minibatch: by the algorithm's reduction (policy) and tokens (critic)."""
    mask_RT = experience.mask_BT[list(rows)]
    policy = reduction_count(mask_RT, reduction=algorithm.reduction)
    return {"policy": float(policy), "token": float(mask_RT.sum())}


@dataclass(frozen=True)
class MinibatchLoss:
    """One minibatch's loss; call it with a micro-batch's outputs and its row numbers.

    Rows 0 .. R-1 are `rows` of the experience; any further rows are `texts`, whose log-likelihood is kept up.
    policy_count, token_count: `minibatch_counts` of all ranks. text_weight: weight of each text token (0 = none).
    kl_coefficient: beta of a KL term in the loss (0 when KL acts on the reward).
    """

    experience: Experience
    credit: Credit
    algorithm: OnlineAlgorithm
    settings: LossSettings
    rows: Sequence[int]
    texts: Sequence[TokenSequence]
    policy_count: float
    token_count: float
    text_weight: float
    kl_coefficient: float
    trains_policy: bool
    tally: Tally

    @property
    def sequences(self) -> list[TokenSequence]:
        """The minibatch's rows, then the texts."""
        texts = [replace(text, is_text=True) for text in self.texts]
        return [*(self.experience.rollouts.sequences[row] for row in self.rows), *texts]

    def __call__(self, outputs: Outputs, micro_rows: Sequence[int]) -> Tensor:
        """Return the micro-batch's share of the loss, a scalar; without a gradient where it trains nothing.

        The engine may show the policy's and the critic's outputs together or one after the other (the absent one is
        None): it then holds the activations of one network at a time.
        """
        is_text = [row >= len(self.rows) for row in micro_rows]
        own = [index for index, text in enumerate(is_text) if not text]
        texts = [index for index, text in enumerate(is_text) if text]
        parts: list[Tensor] = []
        if outputs.logprob_BT is not None:
            if own and self.trains_policy:
                parts.append(self._policy_loss(outputs, own, micro_rows))
            if texts:
                parts.append(-self.text_weight * outputs.logprob_BT[texts].sum())
        if outputs.value_BT is not None and own:
            parts.append(self._value_loss(outputs.value_BT, own, micro_rows))
        if parts:
            return torch.stack(parts).sum()
        return torch.zeros(())  # without a gradient: nothing here is trained

    def _own(self, output_BT: Tensor, own: list[int]) -> Tensor:
        """The experience's rows of an output, no wider than the experience: a long text may have made it wider."""
        return output_BT[own][:, : self.experience.mask_BT.shape[1]]

    def _cut(self, whole_BT: Tensor, micro_rows: Sequence[int], like_BT: Tensor) -> Tensor:
        """Rows of a whole-batch tensor, as wide as the micro-batch and on its device."""
        rows = [self.rows[row] for row in micro_rows]
        return whole_BT[rows][:, : like_BT.shape[1]].to(like_BT.device)

    def _policy_loss(self, outputs: Outputs, own: list[int], micro_rows: Sequence[int]) -> Tensor:
        assert outputs.logprob_BT is not None
        logprob_BT = self._own(outputs.logprob_BT, own)
        micro = [micro_rows[index] for index in own]
        mask_BT = self._cut(self.experience.mask_BT, micro, logprob_BT)
        old_BT = self._cut(self.experience.logprob_BT, micro, logprob_BT)
        weight_BT = reduction_weights(mask_BT, reduction=self.algorithm.reduction, max_tokens=1)
        advantage_BT = self._cut(self.credit.advantage_BT, micro, logprob_BT)
        inputs = PolicyLossInputs(logprob_BT, old_BT, advantage_BT, mask_BT, weight_BT)
        loss = self.algorithm.policy_loss(inputs, self.settings)
        total = loss.total
        if self.kl_coefficient:
            reference_BT = self._cut(self.experience.reference_logprob_BT, micro, logprob_BT)
            estimator = self.settings.kl_estimator
            total = (
                total
                + self.kl_coefficient
                * kl_loss(logprob_BT, reference_BT, mask_BT, estimator=estimator, weight_BT=weight_BT).total
            )
        self._tally_policy(loss, logprob_BT, old_BT, mask_BT)
        self.tally.add("policy_loss", total.item(), float(reduction_count(mask_BT, reduction=self.algorithm.reduction)))
        if outputs.entropy_BT is not None:
            self.tally.add(
                "entropy_nats", float(self._own(outputs.entropy_BT.detach(), own)[mask_BT].sum()), float(mask_BT.sum())
            )
        return total / self.policy_count

    def _tally_policy(self, loss: PolicyLoss, logprob_BT: Tensor, old_BT: Tensor, mask_BT: Tensor) -> None:
        drift = policy_drift(logprob_BT, old_BT, mask_BT)
        num_tokens = float(drift.num_tokens)
        self.tally.add("approx_kl_nats_per_token", float(drift.approx_kl_total), num_tokens)
        self.tally.add("clip_fraction", float(loss.num_clipped), num_tokens)
        self.tally.maximum("ratio", float(drift.ratio_max))
        self.tally.maximum("ratio_error", float(drift.ratio_error_max))

    def _value_loss(self, value_BT: Tensor, own: list[int], micro_rows: Sequence[int]) -> Tensor:
        assert self.experience.value_BT is not None
        assert self.credit.return_BT is not None
        value_BT, micro = self._own(value_BT, own), [micro_rows[index] for index in own]
        loss = clipped_value_loss(
            value_BT,
            self._cut(self.experience.value_BT, micro, value_BT),
            self._cut(self.credit.return_BT, micro, value_BT),
            self._cut(self.experience.mask_BT, micro, value_BT),
            clip_range=self.settings.value_clip_range,
        )
        self.tally.add("value_loss", loss.total.item(), float(loss.count))
        return self.settings.value_coefficient * loss.total / self.token_count
