"""Train on a fixed set of rows: the one loop under SFT, reward models and DPO, IPO and KTO.

A stage says what its rows cost (a `FitObjective`); this file draws batches, has a `Trainer` step on them, looks at rows
held out, logs, keeps checkpoints and resumes exactly. Losses are divided by the batch's global count before its first
micro-batch, so the split into micro-batches and ranks does not matter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import Parameter

from kleash.data.batches import batch_rows, pack_by_tokens
from kleash.errors import SettingsError
from kleash.maths.tally import Tally
from kleash.progress import Stopwatch, progress
from kleash.protocols import Trainer
from kleash.screen import say
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
    evaluate_every: int | None = Field(
        None, ge=1, description="steps between looks at the held-out loss; none = none while training"
    )
    patience: int | None = Field(
        None,
        ge=1,
        description="end after so many looks without a lower held-out loss, and keep the weights that had the lowest; "
        "none = train to the end",
    )
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


@dataclass(frozen=True)
class HeldOut:
    """Rows that nothing is trained on, and what they cost."""

    objective: FitObjective
    num_rows: int

    @torch.no_grad()
    def measure(self, trainer: Trainer, settings: FitSettings) -> dict[str, float]:
        """Return the means of the objective's figures over all rows of all ranks."""
        tally = Tally()
        for start in range(0, self.num_rows, settings.batch_size):
            rows = range(start, min(start + settings.batch_size, self.num_rows))[trainer.rank :: trainer.num_ranks]
            sums = trainer.sum_across_ranks(self.objective.begin_batch(rows))
            num_tokens = [self.objective.num_tokens(row) for row in rows]
            for micro in pack_by_tokens(num_tokens, max_tokens=settings.max_batch_tokens):
                self.objective.loss([rows[index] for index in micro], sums, tally)
        return tally.merged(trainer.sum_across_ranks).means()


@dataclass
class Looks:
    """What looks at the held-out loss have found: after how many steps, and which loss.

    folder: where the weights of the lowest loss are kept.  patience: looks without a lower one that end training;
    None never ends it, and keeps no weights.
    """

    folder: Path
    patience: int | None
    steps: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    @property
    def best_step(self) -> int | None:
        """The number of steps after which the loss was lowest, the first of several; None before the first look."""
        return self.steps[self.losses.index(min(self.losses))] if self.losses else None

    @property
    def is_over(self) -> bool:
        since = len(self.losses) - self.steps.index(self.best_step) - 1 if self.best_step is not None else 0
        return self.patience is not None and since >= self.patience

    def note(self, num_steps: int, loss: float, trainer: Trainer) -> None:
        """Take in a look after `num_steps` steps; the first rank keeps the weights where none were better."""
        self.steps.append(num_steps)
        self.losses.append(loss)
        if self.patience is not None and self.best_step == num_steps:
            if trainer.rank == 0:
                checkpoints.save(self.folder, num_steps, *trainer.snapshot(), keep=1)
            trainer.sum_across_ranks({})  # the others wait until they are written

    def take_best(self, trainer: Trainer, description: str) -> None:
        """Go back to the weights kept, unless they are the last ones, and say so."""
        path = checkpoints.latest(self.folder) if self.patience is not None else None
        if path is None or self.best_step == self.steps[-1]:
            return
        kept = checkpoints.load(path)
        trainer.restore(kept.tensors, kept.state)
        if trainer.rank == 0:
            say(
                f"{description}: the held-out loss was lowest, {min(self.losses):.4g}, after step {kept.step} of "
                f"{self.steps[-1]}, and {self.losses[-1]:.4g} at the end. The weights of step {kept.step} are kept."
            )


@dataclass(frozen=True)
class Fitted:
    """How many steps were taken, and after how many of them the weights were best and kept; None = the last ones."""

    steps: int
    best_step: int | None


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
    heldout: HeldOut | None = None,
    before_step: Callable[[int], None] = lambda step: None,
    logs: Path | None = None,
) -> Fitted:
    """Fit to the last step, or to the end of the patience, from the newest checkpoint under `work` if there is one.

    description, shown: the progress bar's label, and {short name: metric} of the figures beside it; "loss" is the one
    that is to fall.  heldout: looked at every `evaluate_every` steps and at the end; its figures are called heldout/*.
    before_step: called with the step's number, e.g. to unfreeze a backbone.
    logs: the folder whose rows a checkpoint rests on.
    Raises SettingsError where looks are asked for and nothing is held out.
    """
    num_steps, every = settings.num_steps(num_rows), settings.evaluate_every
    if every is not None and (heldout is None or not heldout.num_rows):
        raise SettingsError(
            f"{description}: fit.evaluate_every is {every}, and no rows are held out to look at. Expected some. Raise "
            'the stage\'s holdout_share, give more rows, or set fit.evaluate_every to "none".'
        )
    looks, timed = Looks(work / "best", settings.patience), Stopwatch()
    start = _resume(trainer, work, tracker, looks)
    figures: dict[str, float] = {}
    with progress(num_steps, description, already_done=start) as advance:
        for step in range(start, num_steps):
            if looks.is_over:
                break
            before_step(step)
            rows = batch_rows(num_rows, batch_size=settings.batch_size, step=step, seed=seed)
            rows = rows[trainer.rank :: trainer.num_ranks]
            with timed("updating"):
                metrics = take_step(objective, rows, trainer, learning_rate_share=settings.rate_share(step, num_steps))
            figures |= {name: metrics[metric] for name, metric in shown.items() if metric in metrics}
            if heldout and every and ((step + 1) % every == 0 or step + 1 == num_steps):
                with timed("evaluating"):
                    found = heldout.measure(trainer, settings)
                    looks.note(step + 1, found[shown["loss"]], trainer)
                metrics |= {f"heldout/{name}": value for name, value in found.items()}
                figures["held-out loss"] = found[shown["loss"]]
            if trainer.rank == 0:
                tracker.log(step, metrics | timed.take())
                if (step + 1) % settings.checkpoint_every == 0 or step + 1 == num_steps or looks.is_over:
                    with timed("saving"):
                        tensors, state = trainer.snapshot()
                        looked = {"steps": looks.steps, "losses": looks.losses}
                        checkpoints.save(work / "checkpoints", step + 1, tensors, {**state, _LOOKS: looked}, logs=logs)
            advance(1, **figures)
    looks.take_best(trainer, description)
    return Fitted(looks.steps[-1] if looks.is_over else num_steps, looks.best_step if settings.patience else None)


# Beside the optimisers' names in a checkpoint's state.
_LOOKS = ":looks"


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


def _resume(trainer: Trainer, work: Path, tracker: ResumableTracker, looks: Looks) -> int:
    """Restore the newest checkpoint and cut the log behind it; return the step to go on with."""
    path = checkpoints.latest(work / "checkpoints")
    if path is None:
        tracker.cut(0)
        return 0
    with checkpoints.restoring(path) as checkpoint:
        state: dict[str, Any] = dict(checkpoint.state)
        looked = state.pop(_LOOKS, {"steps": [], "losses": []})  # earlier versions never looked
        looks.steps, looks.losses = looked["steps"], looked["losses"]
        trainer.restore(checkpoint.tensors, state)
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
