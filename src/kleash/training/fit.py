"""Train on a fixed set of rows: the one loop under SFT, reward models and DPO, IPO and KTO.

A stage says what its rows cost (an `FitObjective`); this file draws batches, splits them by tokens, steps the
optimiser,
logs, keeps checkpoints and resumes exactly. Losses are divided by the batch's global count before its first
micro-batch, so the split into micro-batches and ranks does not matter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import Field
from torch import Tensor
from torch.nn import Parameter

from kleash.data.batches import batch_rows, pack_by_tokens
from kleash.maths.tally import Tally
from kleash.progress import progress
from kleash.settings import Settings
from kleash.tracking import ResumableTracker
from kleash.training import checkpoints
from kleash.training.optimiser import Optimiser
from kleash.training.ranks import Ranks


class FitSettings(Settings):
    """How a model is fitted to rows."""

    epochs: float = Field(1.0, gt=0, description="passes over the rows; a fraction is allowed")
    max_steps: int | None = Field(None, ge=1, description="stop after so many steps; none = by epochs alone")
    batch_size: int = Field(32, ge=1, description="rows per optimiser step, over all ranks")
    max_batch_tokens: int = Field(4096, ge=1, description="tokens in one forward and backward pass")
    learning_rate: float = Field(1e-5, gt=0)
    schedule: Literal["linear", "cosine", "constant"] = Field("cosine", description="decay after the warm-up")
    warmup_share: float = Field(0.05, ge=0, lt=1, description="share of the steps in which the rate rises")
    final_share: float = Field(0.0, ge=0, le=1, description="the decay ends at this share of the rate")
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.95, ge=0, lt=1)
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float | None = Field(1.0, gt=0, description="clip of the gradient norm; none = off")
    checkpoint_every: int = Field(50, ge=1, description="steps between checkpoints")

    def num_steps(self, num_rows: int) -> int:
        """Return the number of optimiser steps for so many rows, at least one."""
        by_epochs = max(1, math.ceil(self.epochs * num_rows / self.batch_size - 1e-9))
        return min(by_epochs, self.max_steps or by_epochs)

    def rate_share(self, step: int, num_steps: int) -> float:
        """Return the share of the learning rate that step 0 .. num_steps - 1 uses."""
        warmup = round(self.warmup_share * num_steps)
        if step < warmup:
            return (step + 1) / (warmup + 1)
        progress = (step - warmup) / max(1, num_steps - warmup)
        decay = {"linear": 1 - progress, "cosine": (1 + math.cos(math.pi * progress)) / 2, "constant": 1.0}
        return self.final_share + (1 - self.final_share) * decay[self.schedule]


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
    optimisers: dict[str, Optimiser],
    settings: FitSettings,
    *,
    work: Path,
    tracker: ResumableTracker,
    seed: int,
    description: str,
    shown: Mapping[str, str],
    ranks: Ranks | None = None,
    before_step: Callable[[int], None] = lambda step: None,
) -> None:
    """Fit to the last step, going on from the newest checkpoint under `work` where there is one.

    description, shown: the progress bar's label, and {short name: metric} of the figures beside it.
    before_step: called with the step's number, e.g. to unfreeze a backbone.
    """
    ranks = ranks or Ranks()
    num_steps = settings.num_steps(num_rows)
    start = _resume(optimisers, work, tracker)
    with progress(num_steps, description, already_done=start) as advance:
        for step in range(start, num_steps):
            before_step(step)
            rows = batch_rows(num_rows, batch_size=settings.batch_size, step=step, seed=seed)
            rows = rows[ranks.rank :: ranks.num_ranks]
            metrics = _take_step(objective, rows, optimisers, settings, settings.rate_share(step, num_steps), ranks)
            if ranks.is_first:
                tracker.log(step, metrics)
                if (step + 1) % settings.checkpoint_every == 0 or step + 1 == num_steps:
                    _save(optimisers, work, step + 1)
            advance(1, **{name: metrics[metric] for name, metric in shown.items() if metric in metrics})


def _take_step(
    objective: FitObjective,
    rows: Sequence[int],
    optimisers: Mapping[str, Optimiser],
    settings: FitSettings,
    rate_share: float,
    ranks: Ranks,
) -> dict[str, float]:
    sums = ranks.sum_across_ranks(objective.begin_batch(rows))
    tally, metrics = Tally(), dict[str, float]()
    for micro in micro_batches(objective, rows, settings.max_batch_tokens):
        objective.loss(micro, sums, tally).backward()
    for name, optimiser in optimisers.items():
        figures = optimiser.step(learning_rate_share=rate_share)
        metrics |= {f"{name}_{figure}": value for figure, value in figures.items()}
    return metrics | tally.merged(ranks.sum_across_ranks).means()


def micro_batches(objective: FitObjective, rows: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    for places in pack_by_tokens([objective.num_tokens(row) for row in rows], max_tokens=max_tokens):
        yield [rows[index] for index in places]


def _save(optimisers: dict[str, Optimiser], work: Path, step: int) -> None:
    tensors: dict[str, Tensor] = {}
    state: dict[str, Any] = {}
    for name, optimiser in optimisers.items():
        flat = optimiser.snapshot(name)
        tensors |= flat.tensors
        state[name] = flat.state
    checkpoints.save(work / "checkpoints", step, tensors, state)


def _resume(optimisers: dict[str, Optimiser], work: Path, tracker: ResumableTracker) -> int:
    """Restore the newest checkpoint and cut the log behind it; return the step to go on with."""
    path = checkpoints.latest(work / "checkpoints")
    if path is None:
        tracker.cut(0)
        return 0
    checkpoint = checkpoints.load(path)
    for name, optimiser in optimisers.items():
        optimiser.restore(checkpoint.tensors, checkpoint.state[name], name)
    tracker.cut(checkpoint.step)
    return checkpoint.step


def fit_optimiser(
    named_parameters: Iterable[tuple[str, Parameter]], settings: FitSettings, ranks: Ranks, *, rate_factor: float = 1.0
) -> Optimiser:
    """Return the optimiser that `settings` describe; rate_factor: for a head that learns faster than its backbone."""
    return Optimiser(
        named_parameters,
        learning_rate=settings.learning_rate * rate_factor,
        betas=(settings.beta1, settings.beta2),
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        ranks=ranks,
    )
