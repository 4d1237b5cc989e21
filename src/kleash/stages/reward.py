"""Train a reward model on preferences (Bradley-Terry), measure it on held-out prompts, and freeze its scale.

One epoch by default: reward models overfit after one. The z-score's mean and standard deviation are measured once, on
samples of the reference policy, and stored in the artifact, so that beta, the missing-EOS penalty and the value clip
mean the same in every run and after a refresh.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from kleash.artifacts import Artifact, Draft, read, require
from kleash.data.batches import derived_seed
from kleash.data.preferences import usable_preferences
from kleash.data.prompts import drawn, split_by_prompt
from kleash.errors import DataError
from kleash.formats import read_preferences
from kleash.maths.bradley_terry import pair_loss
from kleash.maths.tally import Tally
from kleash.models.causal_lm import LanguageModel
from kleash.models.forward import sequence_scores
from kleash.models.heads import RewardNormaliser, ScalarModel
from kleash.models.reward_models import member_folder, member_folders
from kleash.progress import progress
from kleash.records import Preference
from kleash.results import RewardSummary
from kleash.rollout.local import SamplingSettings, answer_prompts
from kleash.screen import say
from kleash.settings import Settings
from kleash.stages.context import Plan, StageContext, as_artifact
from kleash.stages.support.encoding import Encoded, encode, prompts_that_fit, say_once
from kleash.stages.support.heldout import measure_heldout
from kleash.stages.support.saving import leave_places_out
from kleash.tracking import METRICS_FILE, open_trackers
from kleash.training.fit import FitSettings, Fitted, HeldOut, build_trainer, fit


class RewardSettings(Settings):
    """Reward-model training."""

    pooling: Literal["last", "mean"] = Field(
        "last", description="last = portable Hugging Face form; mean = our own head"
    )
    max_tokens: int = Field(512, ge=2, description="longer rows (prompt and answer) are left out, and counted")
    holdout_share: float = Field(0.1, gt=0, lt=1, description="share of the prompts kept apart to measure accuracy")
    smoothing: float = Field(0.0, ge=0, lt=0.5, description="label smoothing")
    centring: float = Field(0.01, ge=0, description="weight of mean((r_chosen + r_rejected)^2)")
    margin_from_strength: bool = Field(
        False, description="stated strength becomes a margin: much 1, better 2/3, slightly 1/3"
    )
    head_warmup_steps: int = Field(0, ge=0, description="first steps train the head alone")
    head_rate_factor: float = Field(1.0, gt=0, description="the head's learning rate over the backbone's")
    aspect: str | None = Field(
        None, description="learn what raters said of one aspect, such as factuality; none = of answers as a whole"
    )
    members: int = Field(
        1, ge=1, description="models trained on the same rows, each from a head and in an order of its own: an ensemble"
    )
    normaliser_samples: int = Field(
        512, ge=2, description="answers of the reference policy that set the scale, to prompts drawn at random"
    )
    normaliser_max_new_tokens: int = Field(64, ge=1)
    normaliser_temperature: float = Field(1.0, gt=0, description="of those answers: the one the policy will sample at")
    fit: FitSettings = FitSettings(epochs=1.0, learning_rate=1e-5)


MARGIN_OF_STRENGTH = {"much": 1.0, "better": 2 / 3, "slightly": 1 / 3}


class BradleyTerryLoss:
    """Rows cost the Bradley-Terry loss of their pairs; a row with many pairs counts as one."""

    def __init__(self, model: ScalarModel, rows: Encoded[Preference], settings: RewardSettings) -> None:
        self.model = model
        self.rows = rows
        self.settings = settings

    def num_tokens(self, row: int) -> int:
        return sum(sequence.num_tokens for sequence in self.rows.sequences[row])

    def begin_batch(self, rows: Sequence[int]) -> dict[str, float]:
        return {"rows": float(len(rows))}

    def loss(self, rows: Sequence[int], sums: dict[str, float], tally: Tally) -> Tensor:
        sequences = [sequence for row in rows for sequence in self.rows.sequences[row]]
        score_of = sequence_scores(self.model, sequences)
        first, second, label, margin, weight = [], [], [], [], []
        offset = 0
        for row in rows:
            preference = self.rows.records[row]
            for pair in preference.pairs:
                first.append(offset + pair.first)
                second.append(offset + pair.second)
                label.append(pair.label)
                margin.append(MARGIN_OF_STRENGTH.get(pair.strength or "", 0.0) * (1 if pair.label >= 0.5 else -1))
                weight.append(1 / len(preference.pairs))
            offset += len(preference.completions)
        label_N = torch.tensor(label, device=score_of.device)
        loss = pair_loss(
            score_of[first],
            score_of[second],
            label_N=label_N,
            margin_N=torch.tensor(margin, device=score_of.device) if self.settings.margin_from_strength else None,
            smoothing=self.settings.smoothing,
            centring=self.settings.centring,
            weight_N=torch.tensor(weight, device=score_of.device),
        )
        margin_N = (score_of[first] - score_of[second]).detach()
        decided_N = label_N != 0.5
        correct_N = ((margin_N > 0) == (label_N > 0.5)) & decided_N
        tally.add("loss_nats", loss.total.item(), float(len(rows)))
        tally.add("accuracy", float(correct_N.sum()), float(decided_N.sum()))
        tally.add("margin", float((margin_N * (label_N - 0.5).sign()).sum()), float(decided_N.sum()))
        return loss.total / sums["rows"]


def train_reward(
    context: StageContext,
    settings: RewardSettings,
    *,
    base: Path | Artifact,
    preferences: Artifact,
    output_dir: Path,
    continues: Artifact | None = None,
) -> Artifact:
    """Train a reward model from `base` (the SFT policy, also the reference that sets the score's scale).

    continues: an earlier round's reward model to go on from, instead of a fresh head on `base`.
    With `settings.members` above 1 the artifact is an ensemble: the first member is the folder itself, portable as any,
    the others lie below it; accuracy is that of their mean score.
    """
    parents = {"reference": as_artifact(base, "model"), "preferences": require(preferences, "preferences")}
    if continues is not None:
        parents["continues"] = require(continues, "reward")
    plan: Plan = {"kind": "reward", "parents": parents, "settings": settings}
    if done := context.find_finished(output_dir, **plan):
        return done
    loaded = read_preferences(preferences.path / "preferences.jsonl")
    usable = usable_preferences(loaded.records, aspect=settings.aspect)
    if settings.aspect and not usable:
        known = ", ".join(sorted({name for row in loaded.records for name in row.aspects})) or "none"
        raise DataError(
            f"reward.aspect is {settings.aspect!r}, and no rater judged it in {preferences.path}. Expected one of the "
            f"aspects there: {known}. Choose one, or ask for it in preferences.campaign.aspects."
        )
    training, heldout = split_by_prompt(usable, holdout_share=settings.holdout_share, seed=context.seed)
    if not training or not heldout:
        raise DataError(
            f"{len(usable)} usable comparisons split into {len(training)} for training and {len(heldout)} held out. "
            "Expected some of each. Collect more comparisons, or change reward.holdout_share."
        )
    reference = context.load_policy(parents["reference"], role="reference")
    rows, apart = (
        encode(part, lambda row: row.completions, reference, max_tokens=settings.max_tokens)
        for part in (training, heldout)
    )
    with context.write_artifact(output_dir, **plan, language_model=reference) as draft:
        raw_scores: list[Tensor] = []
        normalisers: list[RewardNormaliser] = []
        best_steps: list[int] = []
        for number in range(settings.members):
            folder = member_folder(draft.path, number)
            model, fitted = train_member(context, settings, rows, apart, parents, draft, number=number)
            best_steps += [fitted.best_step] if fitted.best_step is not None else []
            normalisers.append(measure_scale(context, settings, model, reference, usable))
            model.save(folder, reference.tokenizer)
            leave_places_out(draft, folder)
            normalisers[-1].save(folder)
            raw_scores.append(heldout_scores(model, apart, settings))
        measured = measure_heldout(apart, torch.stack(raw_scores).mean(dim=0).tolist(), draft)
        say_if_chance(measured["heldout_accuracy"])
        draft.summary |= RewardSummary(
            rows_trained=len(rows),
            rows_too_long=rows.num_too_long + apart.num_too_long,
            mean=normalisers[0].mean,
            sd=normalisers[0].sd,
            **({"best_steps": best_steps} if best_steps else {}),
            **measured,
        ).to_json()
    return read(output_dir)


def say_if_chance(accuracy: Mapping[str, float]) -> None:
    """Say at once that a reward model is not told from a coin toss."""
    if accuracy["n"] and accuracy["low"] <= 0.5:
        low, high = accuracy["low"], accuracy["high"]
        say(
            f"The reward model orders {accuracy['value']:.0%} of {accuracy['n']} held-out pairs rightly ({low:.0%} to "
            f"{high:.0%}): not told from a coin toss. Collect more pairs, or look at how far the raters agree."
        )


def train_member(
    context: StageContext,
    settings: RewardSettings,
    rows: Encoded[Preference],
    apart: Encoded[Preference],
    parents: Mapping[str, Artifact],
    draft: Draft,
    *,
    number: int,
) -> tuple[ScalarModel, Fitted]:
    """Train one member of an ensemble (most have one only), from a fresh head or from where the last round's ended."""
    seed = derived_seed(context.seed, "member", number) if number else context.seed
    continues = member_folders(parents["continues"].path) if "continues" in parents else []
    if number < len(continues):
        model = context.load_scalar_model(continues[number], trainable=True)
    else:
        model = context.fresh_scalar_model(
            parents["reference"], seed=derived_seed(seed, "head"), pooling=settings.pooling
        )
    trained = dict(model.trainable_parameters())
    head = [(name, weight) for name, weight in trained.items() if name.startswith("head.")]
    body = [(name, weight) for name, weight in trained.items() if not name.startswith("head.")]
    folder = member_folder(draft.path, number)
    if number:
        folder.mkdir(exist_ok=True)
        draft.unhashed.add(f"{folder.name}/{METRICS_FILE}")
    tracker = open_trackers(folder) if number else context.open_tracker(draft)
    fitted = fit(
        BradleyTerryLoss(model, rows, settings),
        len(rows),
        build_trainer(
            {"backbone": body, "head": head},
            settings.fit,
            context.ranks,
            rate_factors={"head": settings.head_rate_factor},
        ),
        settings.fit,
        work=member_folder(draft.work, number),
        logs=draft.path,
        tracker=tracker,
        seed=seed,
        description="Reward model" if settings.members == 1 else f"Reward model {number + 1} of {settings.members}",
        shown={"loss": "loss_nats", "accuracy": "accuracy"},
        heldout=HeldOut(BradleyTerryLoss(model, apart, settings), len(apart)),
        before_step=lambda step: model.freeze_backbone(step < settings.head_warmup_steps),
    )
    tracker.close()
    model.freeze_backbone(False)
    return model, fitted


@torch.no_grad()
def measure_scale(
    context: StageContext,
    settings: RewardSettings,
    model: ScalarModel,
    reference: LanguageModel,
    rows: Sequence[Preference],
) -> RewardNormaliser:
    """Measure mean and sd of the raw score over fresh answers of the reference policy to the preferences' prompts.

    With more prompts than answers, those prompts are drawn at random.
    """
    prompts = list({row.prompt.id: row.prompt for row in rows}.values())
    sampling = SamplingSettings(
        max_new_tokens=settings.normaliser_max_new_tokens,
        max_prompt_tokens=settings.max_tokens,
        temperature=settings.normaliser_temperature,
    )
    fitting = prompts_that_fit(prompts, reference, max_tokens=sampling.prompt_room(reference))
    seed = derived_seed(context.seed, "scale")
    chosen = drawn(fitting, settings.normaliser_samples, seed=seed)
    per_prompt = max(1, settings.normaliser_samples // len(chosen))
    if len(chosen) < len(fitting):
        say_once(
            reference.rendering,
            f"The score's scale is measured on {len(chosen):,} of {len(fitting):,} prompts, drawn at random (by the "
            "run's seed).",
        )
    with progress(2 * per_prompt * len(chosen), "Reward scale, answers sampled and scored") as advance:
        rollouts = answer_prompts(
            reference, chosen, sampling, seed=seed, samples_per_prompt=per_prompt, on_done=advance
        )
        limit = settings.fit.max_batch_tokens
        scores = sequence_scores(model, rollouts.sequences, max_tokens=limit, on_done=advance).cpu()
    return RewardNormaliser.measured(scores, model)


@torch.no_grad()
def heldout_scores(model: ScalarModel, rows: Encoded[Preference], settings: RewardSettings) -> Tensor:
    """Return the raw score of every completion, row by row."""
    sequences = [sequence for of_row in rows.sequences for sequence in of_row]
    with progress(len(sequences), "Held-out answers scored") as advance:
        return sequence_scores(model, sequences, max_tokens=settings.fit.max_batch_tokens, on_done=advance).cpu()
