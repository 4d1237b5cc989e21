"""Train on a fixed set of rows: the one loop under SFT, reward models and DPO, IPO and KTO.

A stage says what its rows cost (a `FitObjective`); this file draws batches, has a `Trainer` step on them, logs, keeps
checkpoints and resumes exactly. Losses are divided by the batch's global count before its first micro-batch, so the
split into micro-batches and ranks does not matter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import Field
from torch import Tensor
from torch.nn import Parameter

from kleash.data.batches import batch_rows
from kleash.maths.tally import Tally
from kleash.progress import progress
from kleash.protocols import Trainer
from kleash.settings import AdamSettings
from kleash.tracking import ResumableTracker
from kleash.training import checkpoints
from kleash.training.local import LocalTrainer
from kleash.training.optimiser import Optimiser
from kleash.training.ranks import Ranks


class FitSettings(AdamSettings):
    """How a model is fitted to rows."""

    epochs: float = Field(1.0, gt=0, description="passes over the rows; a fraction is allowed")
    max_steps: int | None = Field(None, ge=1, description="stop after so many steps; none = by epochs alone")
    batch_size: int = Field(32, ge=1, description="rows per optimiser step, over all ranks")
    max_batch_tokens: int = Field(4096, ge=1, description="tokens in one forward and backward pass")
    checkpoint_every: int = Field(50, ge=1, description="steps between checkpoints")

    def num_steps(self, num_rows: int) -> int:
        """Return the number of optimiser steps for so many rows, at least one."""
        by_epochs = max(1, math.ceil(self.epochs * num_rows / self.batch_size - 1e-9))
        return min(by_epochs, self.max_steps or by_epochs)


class FitObjective(Protocol):
    """What a row costs."""

    def num_tokens(self, row: int) -> int:
        """Tokens a forward of this row reads, for the split into micro-batches."""

    def begin_batch(self, rows: Sequence[int]) -> dict[str, float]:
        """Look at this rank's rows of a batch before any is trained on; return sums to add up over ranks."""

    def loss(self, rows: Sequence[int], sums: dict[str, float], tally: Tally) -> Tensor:
        """Return the micro-batch's loss, already divided by a global count out of `sums`; add figures to `tally`."""


def fit(
    objective: FitObjective,
    num_rows: int,
    trainer: Trainer,
    settings: FitSettings,
    *,
    work: Path,
    tracker: ResumableTracker,
    seed: int,
    description: str,
    shown: Mapping[str, str],
    before_step: Callable[[int], None] = lambda step: None,
) -> None:
    """Fit to the last step, going on from the newest checkpoint under `work` where there is one.

    description, shown: the progress bar's label, and {short name: metric} of the figures beside it.
    before_step: called with the step's number, e.g. to unfreeze a backbone.
    """
    num_steps = settings.num_steps(num_rows)
    start = _resume(trainer, work, tracker)
    with progress(num_steps, description, already_done=start) as advance:
        for step in range(start, num_steps):
            before_step(step)
            rows = batch_rows(num_rows, batch_size=settings.batch_size, step=step, seed=seed)
            rows = rows[trainer.rank :: trainer.num_ranks]
            metrics = take_step(objective, rows, trainer, learning_rate_share=settings.rate_share(step, num_steps))
            if trainer.rank == 0:
                tracker.log(step, metrics)
                if (step + 1) % settings.checkpoint_every == 0 or step + 1 == num_steps:
                    checkpoints.save(work / "checkpoints", step + 1, *trainer.snapshot())
            advance(1, **{name: metrics[metric] for name, metric in shown.items() if metric in metrics})


@dataclass(frozen=True)
class _Row:
    num_tokens: int


def take_step(
    objective: FitObjective, rows: Sequence[int], trainer: Trainer, *, learning_rate_share: float = 1.0
) -> dict[str, float]:
    """Take one optimiser step on this rank's rows of a batch; return its figures."""
    sums, tally = trainer.sum_across_ranks(objective.begin_batch(rows)), Tally()
    figures = trainer.step(
        [_Row(objective.num_tokens(row)) for row in rows],
        lambda _, micro: objective.loss([rows[index] for index in micro], sums, tally),
        learning_rate_share=learning_rate_share,
    )
    return {**figures, **tally.merged(trainer.sum_across_ranks).means()}


def _resume(trainer: Trainer, work: Path, tracker: ResumableTracker) -> int:
    """Restore the newest checkpoint and cut the log behind it; return the step to go on with."""
    path = checkpoints.latest(work / "checkpoints")
    if path is None:
        tracker.cut(0)
        return 0
    checkpoint = checkpoints.load(path)
    trainer.restore(checkpoint.tensors, checkpoint.state)
    tracker.cut(checkpoint.step)
    return checkpoint.step


def build_trainer(
    parameters: Mapping[str, Iterable[tuple[str, Parameter]]],
    settings: FitSettings,
    ranks: Ranks,
    *,
    rate_factors: Mapping[str, float] | None = None,
) -> LocalTrainer:
    """Return a trainer with one optimiser per name. rate_factors: for a head that learns faster than its backbone."""
    factors = rate_factors or {}
    optimisers = {
        name: Optimiser.from_settings(
            named, settings, ranks, learning_rate=settings.learning_rate * factors.get(name, 1.0)
        )
        for name, named in parameters.items()
    }
    return LocalTrainer(optimisers, max_batch_tokens=settings.max_batch_tokens, ranks=ranks)
