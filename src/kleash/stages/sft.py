"""Supervised fine-tuning: learn to answer like the demonstrations. With documents instead of prompts it pretrains.

The loss is the negative log-likelihood of completion tokens (EOS included), never of the prompt's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from kleash.artifacts import Artifact, read
from kleash.data.batches import derived_seed
from kleash.data.prompts import answers_of, split_by_prompt
from kleash.formats import read_demonstrations
from kleash.results import PolicySummary
from kleash.settings import Settings
from kleash.stages.context import Plan, StageContext, as_artifact
from kleash.stages.support.encoding import dropped_figures, encode
from kleash.stages.support.likelihood import CompletionNLL
from kleash.stages.support.saving import save_policy
from kleash.training.fit import FitSettings, HeldOut, build_trainer, fit


class SftSettings(Settings):
    """Supervised fine-tuning."""

    max_tokens: int = Field(512, ge=2, description="longer rows (prompt and completion) are left out, and counted")
    learn_turns: Literal["last", "all"] = Field(
        "last", description="of a conversation: the last answer, or each of the assistant's, as a row of its own"
    )
    holdout_share: float = Field(0.05, ge=0, lt=1, description="share of the prompts kept apart to measure the loss")
    fit: FitSettings = FitSettings(epochs=3.0, learning_rate=2e-5)


def train_sft(
    context: StageContext, settings: SftSettings, *, base: Path | Artifact, demonstrations: Path, output_dir: Path
) -> Artifact:
    """Fine-tune `base` on a file of demonstrations; the artifact is an ordinary Hugging Face folder."""
    parents = {"base": as_artifact(base, "model"), "demonstrations": as_artifact(demonstrations, "demonstrations")}
    plan: Plan = {"kind": "policy", "parents": parents, "settings": settings}
    if done := context.find_finished(output_dir, **plan):
        return done
    loaded = read_demonstrations(demonstrations, strict=context.is_strict)
    training, unseen = split_by_prompt(loaded.records, holdout_share=settings.holdout_share, seed=context.seed)
    if settings.learn_turns == "all":
        training, unseen = ([turn for row in rows for turn in answers_of(row)] for rows in (training, unseen))
    model = context.load_policy(base, trainable=True, with_dropout=True)
    rows = encode(training, lambda row: [row.completion], model, max_tokens=settings.max_tokens)
    apart = encode(unseen, lambda row: [row.completion], model, max_tokens=settings.max_tokens, may_be_empty=True)
    objective, heldout = (CompletionNLL(model, [of_row[0] for of_row in part.sequences]) for part in (rows, apart))
    heldout_rows = HeldOut(heldout, len(apart))
    with context.write_artifact(output_dir, **plan, language_model=model) as draft:
        tracker = context.open_tracker(draft)
        trainer = build_trainer({"policy": model.trainable_parameters()}, settings.fit, context.ranks)
        fitted = fit(
            objective,
            len(rows),
            trainer,
            settings.fit,
            work=draft.work,
            logs=draft.path,
            tracker=tracker,
            seed=context.seed,
            description="SFT",
            shown={"loss": "loss_nats_per_token"},
            heldout=heldout_rows,
            before_step=lambda step: _seed_dropout(context, step),
        )
        tracker.close()
        save_policy(context, model, draft, [row.prompt for row in rows.records])
        figures: dict[str, Any] = {}
        if len(apart):
            measured = heldout_rows.measure(trainer, settings.fit)
            figures |= {f"heldout_{name}": value for name, value in measured.items()} | {"rows_heldout": len(apart)}
        if fitted.best_step is not None:
            figures["best_step"] = fitted.best_step
        draft.summary |= PolicySummary(
            stage="sft",
            steps=fitted.steps,
            rows_trained=len(rows),
            rows_too_long=rows.num_too_long + apart.num_too_long,
            dropped=dropped_figures(loaded),
            **figures,
        ).to_json()
    return read(output_dir)


def _seed_dropout(context: StageContext, step: int) -> None:
    """Make the adapters' dropout a function of seed, step and rank, so that a resumed run repeats it."""
    if context.model.lora_dropout:
        torch.manual_seed(derived_seed(context.seed, "dropout", step, context.ranks.rank))
