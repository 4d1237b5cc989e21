"""Offline training (DPO, IPO, KTO) on the same preferences artifact the reward model learns from.

The reference is the policy that training starts from, frozen. Its log-probabilities are computed with each batch, so
nothing is kept between steps and a resumed run repeats itself exactly.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from kleash.algorithms.direct import (
    DIRECT_ALGORITHMS,
    KTO,
    DirectAlgorithm,
    DirectLossSettings,
    LabelledAlgorithm,
    LabelledInputs,
    PairAlgorithm,
    PairInputs,
)
from kleash.algorithms.online import ONLINE_ALGORITHMS
from kleash.artifacts import Artifact, read, require
from kleash.data.batches import TokenSequence, derived_seed, epoch_order
from kleash.data.preferences import labelled_from_preferences, usable_preferences
from kleash.data.prompts import split_by_prompt
from kleash.errors import DataError, SettingsError
from kleash.formats import read_labelled, read_preferences
from kleash.functions import NAMES_FUNCTION
from kleash.maths.preference_losses import kto_baseline
from kleash.maths.tally import Tally
from kleash.models.causal_lm import LanguageModel
from kleash.models.forward import sequence_logprobs
from kleash.plugins import resolve_row
from kleash.records import LabelledCompletion, Preference
from kleash.results import PolicySummary
from kleash.screen import say
from kleash.settings import Settings
from kleash.stages.context import Plan, StageContext, as_artifact
from kleash.stages.support.encoding import Encoded, encode
from kleash.stages.support.heldout import measure_heldout
from kleash.stages.support.saving import save_policy
from kleash.training.fit import FitObjective, FitSettings, HeldOut, build_trainer, fit

Label = Preference | LabelledCompletion


class DirectSettings(Settings):
    """One offline preference-training run."""

    algorithm: str = Field(
        "dpo", description="dpo, ipo, kto, or module:ROW of your own", json_schema_extra=NAMES_FUNCTION
    )
    max_tokens: int = Field(512, ge=2, description="longer rows (prompt and answer) are left out, and counted")
    holdout_share: float = Field(
        0.0, ge=0, lt=1, description="share of the prompts kept apart to measure accuracy; 0 = train on all"
    )
    loss: DirectLossSettings = DirectLossSettings()
    fit: FitSettings = FitSettings(epochs=1.0, learning_rate=5e-6)


@dataclass(frozen=True)
class PolicyAndReference:
    """The policy being trained and the frozen one it is measured against."""

    policy: LanguageModel
    reference: LanguageModel

    def log_ratio(self, sequences: Sequence[TokenSequence], *, max_tokens: int | None = None) -> Tensor:
        """Return log pi(y|x) - log pi_ref(y|x) summed over each response's tokens, (N,); gradient to the policy."""
        with torch.no_grad():  # before the policy, whose backward pass must find it active where they share a base
            reference_logprob_N = sequence_logprobs(self.reference, sequences, max_tokens=max_tokens)
        return sequence_logprobs(self.policy, sequences, max_tokens=max_tokens) - reference_logprob_N


@dataclass(frozen=True)
class PairObjective:
    """Rows are decided pairs; they cost the algorithm's loss, averaged over the batch's pairs."""

    models: PolicyAndReference
    rows: Sequence[DecidedPair]
    settings: DirectLossSettings
    algorithm: PairAlgorithm

    def num_tokens(self, row: int) -> int:
        return self.rows[row].chosen.num_tokens + self.rows[row].rejected.num_tokens

    def begin_batch(self, rows: Sequence[int]) -> dict[str, float]:
        return {"pairs": float(len(rows))}

    def loss(self, rows: Sequence[int], sums: dict[str, float], tally: Tally) -> Tensor:
        pairs = [self.rows[row] for row in rows]
        logratio_N = self.models.log_ratio([*(pair.chosen for pair in pairs), *(pair.rejected for pair in pairs)])
        chosen_N, rejected_N = logratio_N.chunk(2)
        inputs = PairInputs(
            chosen_N,
            rejected_N,
            logratio_N.new_tensor([len(pair.chosen.response_ids) for pair in pairs]),
            logratio_N.new_tensor([len(pair.rejected.response_ids) for pair in pairs]),
            logratio_N.new_tensor([pair.label for pair in pairs]),
        )
        loss = self.algorithm.pair_loss(inputs, self.settings)
        count = float(len(pairs))
        tally.add("loss", loss.total.item(), count)
        tally.add("accuracy", float((chosen_N > rejected_N).sum()), count)
        tally.add("logratio_chosen_nats", chosen_N.sum().item(), count)
        tally.add("logratio_rejected_nats", rejected_N.sum().item(), count)
        return loss.total / sums["pairs"]


class LabelledObjective:
    """Rows are single answers with a thumb up or down; they cost the algorithm's loss against the batch's baseline.

    The baseline is the mean log-ratio of the batch's prompts with answers to others. Each row has the partner whose
    answer its prompt is put to from all the rows at once, drawn by `seed`, so that neither the batch's size nor its
    split matters; in the paper it is the next row of the batch, which a batch of one row does not have.
    """

    def __init__(
        self,
        models: PolicyAndReference,
        sequences: Sequence[TokenSequence],
        is_desirable: Sequence[bool],
        settings: DirectLossSettings,
        *,
        algorithm: LabelledAlgorithm,
        seed: int = 0,
    ) -> None:
        self.models, self.sequences, self.is_desirable = models, sequences, is_desirable
        self.settings, self.algorithm = settings, algorithm
        self.partner_of = mismatched_rows([sequence.prompt_ids for sequence in sequences], seed=seed)
        self.longest = max(sequence.num_tokens for sequence in sequences)
        if not any(partner is not None for partner in self.partner_of):
            name = algorithm.name.upper()
            say(f"All {len(sequences):,} answers are to one prompt, so {name}'s reference point is 0.")

    def num_tokens(self, row: int) -> int:
        return self.sequences[row].num_tokens

    @torch.no_grad()
    def begin_batch(self, rows: Sequence[int]) -> dict[str, float]:
        """Estimate KTO's z0 from mismatched pairs: each prompt with its partner's answer.

        A long prompt with a long answer of another is cut where the longest row ends: the model may know no more
        positions.
        """
        pairs = [(self.sequences[row].prompt_ids, self.partner_of[row]) for row in rows]
        mismatched = [
            TokenSequence(prompt_ids, self.sequences[partner].response_ids[: self.longest - len(prompt_ids)])
            for prompt_ids, partner in pairs
            if partner is not None
        ]
        total = float(self.models.log_ratio(mismatched).sum()) if mismatched else 0.0
        return {"rows": float(len(rows)), "mismatched_nats": total, "mismatched": float(len(mismatched))}

    def loss(self, rows: Sequence[int], sums: dict[str, float], tally: Tally) -> Tensor:
        logratio_N = self.models.log_ratio([self.sequences[row] for row in rows])
        is_desirable_N = torch.tensor([self.is_desirable[row] for row in rows], device=logratio_N.device)
        baseline = kto_baseline(sums["mismatched_nats"], sums["mismatched"])
        loss = self.algorithm.labelled_loss(LabelledInputs(logratio_N, is_desirable_N, baseline), self.settings)
        tally.add("loss", loss.total.item(), float(len(rows)))
        tally.add("baseline_nats", baseline * len(rows), float(len(rows)))
        for name, chosen_N in (("desirable", is_desirable_N), ("undesirable", ~is_desirable_N)):
            tally.add(f"logratio_{name}_nats", logratio_N[chosen_N].sum().item(), chosen_N.sum().item())
        return loss.total / sums["rows"]


def mismatched_rows(prompts: Sequence[Hashable], *, seed: int) -> list[int | None]:
    """Return for each row another whose prompt differs: the next such one in a shuffled order; None if there is none.

    Rows of many prompts have each partner about once, whatever the order in which they came.
    """
    order = epoch_order(len(prompts), seed=derived_seed(seed, "mismatched"), epoch=0)
    partner_of: list[int | None] = [None] * len(prompts)
    # Backwards, so that a row with its neighbour's prompt has its neighbour's partner; twice, as the order is a circle.
    for place in reversed(range(2 * len(order))):
        row, following = order[place % len(order)], order[(place + 1) % len(order)]
        partner_of[row] = following if prompts[following] != prompts[row] else partner_of[following]
    return partner_of


@dataclass(frozen=True)
class DecidedPair:
    """A pair that is not a tie. label: share of votes for `chosen`, above .5."""

    chosen: TokenSequence
    rejected: TokenSequence
    label: float


def train_direct(
    context: StageContext,
    settings: DirectSettings,
    *,
    reference: Path | Artifact,
    preferences: Artifact,
    output_dir: Path,
) -> Artifact:
    """Train a policy from `reference` on preferences, offline; the artifact is an ordinary Hugging Face folder.

    preferences: pairs, or for KTO also single answers with a thumb up or down.
    """
    labels = require(preferences, ("preferences", "labelled"))
    parents = {"reference": as_artifact(reference, "model"), "preferences": labels}
    plan: Plan = {"kind": "policy", "parents": parents, "settings": settings}
    if done := context.find_finished(output_dir, **plan):
        return done
    algorithm = direct_algorithm_named(settings.algorithm)
    usable = _usable_labels(labels, settings, algorithm)
    model = context.load_policy(parents["reference"], trainable=True)
    models = PolicyAndReference(model, context.load_policy(parents["reference"], role="reference"))
    training, heldout = split_by_prompt(usable, holdout_share=settings.holdout_share, seed=context.seed)
    objective, num_rows, num_too_long = build_objective(models, training, settings, algorithm, seed=context.seed)
    looked_at = None
    if settings.fit.evaluate_every is not None and heldout:
        apart_objective = build_objective(models, heldout, settings, algorithm, seed=context.seed, is_apart=True)
        looked_at = HeldOut(*apart_objective[:2])
    pairs = [row for row in heldout if isinstance(row, Preference)]
    apart = encode(pairs, lambda row: row.completions, model, max_tokens=settings.max_tokens, may_be_empty=True)
    with context.write_artifact(output_dir, **plan, language_model=model) as draft:
        tracker = context.open_tracker(draft)
        fitted = fit(
            objective,
            num_rows,
            build_trainer({"policy": model.trainable_parameters()}, settings.fit, context.ranks),
            settings.fit,
            work=draft.work,
            logs=draft.path,
            tracker=tracker,
            seed=context.seed,
            description=algorithm.name.upper(),
            shown={"loss": "loss", "accuracy": "accuracy"},
            heldout=looked_at,
        )
        tracker.close()
        save_policy(context, model, draft, [row.prompt for row in training])
        heldout_figures: dict[str, Any] = {}
        num_too_long += apart.num_too_long
        if len(apart):
            heldout_figures = measure_heldout(apart, heldout_log_ratios(models, apart, settings), draft)
        if fitted.best_step is not None:
            heldout_figures["best_step"] = fitted.best_step
        draft.summary |= PolicySummary(
            stage="direct",
            algorithm=algorithm.name,
            steps=fitted.steps,
            rows_trained=num_rows,
            rows_too_long=num_too_long,
            **heldout_figures,
        ).to_json()
    return read(output_dir)


def direct_algorithm_named(name: str) -> DirectAlgorithm:
    """Return the algorithm's row: of the table, of a plug-in, or module:ROW. Raises SettingsError where it is none."""
    if name in ONLINE_ALGORITHMS:
        raise SettingsError(
            f"direct.algorithm is {name!r}, which samples while it learns. Expected one of "
            f"{', '.join(DIRECT_ALGORITHMS)}. Change direct.algorithm; {name} is run by the `policy` stage."
        )
    row: DirectAlgorithm = resolve_row("direct_algorithm", name, PairAlgorithm, LabelledAlgorithm)
    return row


@torch.no_grad()
def heldout_log_ratios(models: PolicyAndReference, rows: Encoded[Preference], settings: DirectSettings) -> list[float]:
    """Return log pi - log pi_ref of every completion, row by row: the implied reward over beta, nats."""
    sequences = [sequence for of_row in rows.sequences for sequence in of_row]
    return models.log_ratio(sequences, max_tokens=settings.fit.max_batch_tokens).tolist()


def _usable_labels(labels: Artifact, settings: DirectSettings, algorithm: DirectAlgorithm) -> Sequence[Label]:
    """Read the rows to train on. Raises SettingsError where the algorithm, or measuring, needs pairs there are not."""
    if labels.kind == "preferences":
        return usable_preferences(read_preferences(labels.path / "preferences.jsonl").records)
    for asks, name, remedy in (
        (isinstance(algorithm, PairAlgorithm), f"direct.algorithm is {settings.algorithm!r}", "algorithm='kto'"),
        (settings.holdout_share > 0, f"direct.holdout_share is {settings.holdout_share}", "holdout_share=0"),
    ):
        if asks:
            raise SettingsError(
                f"{name}, which asks for pairs, and {labels.path} holds single answers with a thumb up or down. "
                f"Expected answers compared with each other. Set direct.{remedy}, or give pairs."
            )
    return read_labelled(labels.path / "labelled.jsonl").records


def build_objective(
    models: PolicyAndReference,
    labels: Sequence[Label],
    settings: DirectSettings,
    algorithm: DirectAlgorithm,
    *,
    seed: int,
    is_apart: bool = False,
) -> tuple[FitObjective, int, int]:
    """Return the algorithm's objective over the labels, its number of rows, and how many did not fit.

    Of a comparison either all answers fit or none is trained on: what is long would be disliked, or liked, for that.
    is_apart: nothing is learnt from these labels, so that their balance need not be told.
    """
    preferences = [row for row in labels if isinstance(row, Preference)]
    labelled = [row for row in labels if isinstance(row, LabelledCompletion)]
    if not labelled and all(pair.label == 0.5 for row in preferences for pair in row.pairs):
        raise DataError(
            f"All pairs of the {len(preferences)} comparisons are ties, and {algorithm.name} learns from decided ones. "
            "Expected at least one. Collect more votes per comparison, or more comparisons."
        )
    rows = encode(
        preferences,
        lambda row: row.completions,
        models.policy,
        max_tokens=settings.max_tokens,
        may_be_empty=bool(labelled),
    )
    if isinstance(algorithm, LabelledAlgorithm):
        labelled += labelled_from_preferences(rows.records)
        encoded = encode(labelled, lambda row: [row.completion], models.policy, max_tokens=settings.max_tokens)
        sequences = [of_row[0] for of_row in encoded.sequences]
        is_desirable = [row.is_desirable for row in encoded.records]
        if not is_apart:
            _say_thumbs(is_desirable, settings, algorithm)
        objective = LabelledObjective(models, sequences, is_desirable, settings.loss, algorithm=algorithm, seed=seed)
        return objective, len(encoded), rows.num_too_long + encoded.num_too_long
    pairs = []
    for record, of_row in zip(rows.records, rows.sequences, strict=True):
        for pair in record.pairs:
            if pair.label != 0.5:
                chosen, rejected = (pair.first, pair.second) if pair.label > 0.5 else (pair.second, pair.first)
                pairs.append(DecidedPair(of_row[chosen], of_row[rejected], max(pair.label, 1 - pair.label)))
    if not pairs:
        raise DataError(
            f"All pairs of the {len(rows)} comparisons that fit are ties, and {algorithm.name} learns from decided "
            "ones. Expected at least one. Raise direct.max_tokens, or give more comparisons."
        )
    return PairObjective(models, pairs, settings.loss, algorithm=algorithm), len(pairs), rows.num_too_long


def _say_thumbs(is_desirable: Sequence[bool], settings: DirectSettings, algorithm: LabelledAlgorithm) -> None:
    """Say how many answers have which thumb, and what would balance them. Raises DataError where all have the same.

    Source: Ethayarajh et al. 2024, arXiv:2402.01306, section 4.2: weight times count of thumbs up should be 1 to 4/3 of
    that of thumbs down.
    """
    num_up = sum(is_desirable)
    num_down = len(is_desirable) - num_up
    counts = f"{num_up:,} answers with a thumb up and {num_down:,} with a thumb down"
    if not num_up or not num_down:
        raise DataError(
            f"{algorithm.name} learns from answers of both kinds, and what fits into {settings.max_tokens} tokens is "
            f"{counts}. Expected some of each. Raise direct.max_tokens, or give the other kind too."
        )
    say(f"{algorithm.name.upper()} learns from {counts}.")
    loss = settings.loss
    share = loss.weight_desirable * num_up / (loss.weight_undesirable * num_down)
    if algorithm is KTO and not 0.9 <= share <= 1.5:
        name = "weight_desirable" if share < 1 else "weight_undesirable"
        weight = getattr(loss, name) / share if share < 1 else getattr(loss, name) * share
        say(
            f"By their weights, the former count {share:.2g} times as much; direct.loss.{name}={weight:.3g} balances "
            "them."
        )
