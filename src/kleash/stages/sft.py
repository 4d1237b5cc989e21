"""Supervised fine-tuning: learn to answer like the demonstrations. With documents instead of prompts it pretrains.

The loss is the negative log-likelihood of completion tokens (EOS included), never of the prompt's.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from kleash.artifacts import Artifact, read
from kleash.data.preferences import split_by_prompt
from kleash.formats import read_demonstrations
from kleash.settings import Settings
from kleash.stages.encoding import dropped_figures, encode
from kleash.stages.likelihood import CompletionLikelihood
from kleash.stages.workplace import Workplace, given
from kleash.training.fit import FitSettings, fit, fit_optimiser


class SftSettings(Settings):
    """Supervised fine-tuning."""

    max_tokens: int = Field(512, ge=2, description="longer rows (prompt and completion) are left out, and counted")
    holdout_share: float = Field(0.05, ge=0, lt=1, description="share of the prompts kept apart to measure the loss")
    fit: FitSettings = FitSettings(epochs=3.0, learning_rate=2e-5)


def sft(
    place: Workplace, settings: SftSettings, *, base: Path | Artifact, demonstrations: Path, into: Path
) -> Artifact:
    """Fine-tune `base` on a file of demonstrations; the artifact is an ordinary Hugging Face folder."""
    parents = {"base": given(base, "model"), "demonstrations": given(demonstrations, "demonstrations")}
    if done := place.finished(into, kind="policy", parents=parents, settings=settings):
        return done
    loaded = read_demonstrations(demonstrations, strict=place.is_strict)
    training, heldout = split_by_prompt(loaded.records, holdout_share=settings.holdout_share, seed=place.seed)
    model = place.load_policy(base, trainable=True)
    rows = encode(training, lambda row: [row.completion], model, max_tokens=settings.max_tokens)
    apart = encode(heldout, lambda row: [row.completion], model, max_tokens=settings.max_tokens) if heldout else None
    objective = CompletionLikelihood(model, [sequences[0] for sequences in rows.sequences])
    with place.making(into, kind="policy", parents=parents, settings=settings, language_model=model) as draft:
        tracker = place.open_tracker(draft)
        fit(
            objective,
            len(rows),
            {"policy": fit_optimiser(model.trainable_parameters(), settings.fit, place.ranks)},
            settings.fit,
            work=draft.work,
            tracker=tracker,
            seed=place.seed,
            description="SFT",
            shown={"loss": "loss_nats_per_token"},
            ranks=place.ranks,
        )
        tracker.close()
        if place.ranks.is_first:
            model.save(draft.path)
        draft.summary |= {
            "stage": "sft",
            "steps": settings.fit.num_steps(len(rows)),
            "rows_trained": len(rows),
            "rows_too_long": rows.num_too_long,
            "dropped": dropped_figures(loaded),
        }
        if apart is not None:
            likelihood = CompletionLikelihood(model, [sequences[0] for sequences in apart.sequences])
            draft.summary["heldout_loss_nats_per_token"] = likelihood.mean_loss(settings.fit.max_batch_tokens)
            draft.summary["rows_heldout"] = len(apart)
    return read(into)
