"""Audit a reward model before a policy may be trained on it: order, calibration, invariance, empty additions that pay.

A reward model of ours is measured on the pairs that its training held out; one made elsewhere, or a Python function, on
all pairs given. The figures are in `evaluation/reward_audit.py` and `evaluation/probe_gains.py`, what makes a model
fail in `evaluation/gates.py`; `support/scoring.py` refuses one that did. The page is `monitor/pages/audit_page.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, pstdev, stdev
from typing import Any

from pydantic import Field

from kleash.artifacts import Artifact, Draft, read
from kleash.data.batches import derived_seed
from kleash.data.preferences import usable_preferences
from kleash.data.prompts import split_by_prompt
from kleash.durable import write_rows, write_text
from kleash.errors import DataError
from kleash.evaluation.audit_rows import pair_rows, probe_rows, worst_rows
from kleash.evaluation.audit_scoring import MIN_STATES, ModelReader, OnRead, Reader, ScorerReader, outside_share
from kleash.evaluation.gates import reasons_of, verdict_of
from kleash.evaluation.probe_gains import Answer, Gain, Spread, padding_probes, spreads, worst_gains
from kleash.evaluation.probe_mining import stock_phrases
from kleash.evaluation.probes import rewrites, written_additions
from kleash.evaluation.reward_audit import (
    ScoredPair,
    accuracy,
    calibration_figures,
    measure_pairs,
    memory_figures,
    scored_pairs,
)
from kleash.formats import read as read_file
from kleash.formats import read_preferences
from kleash.functions import FUNCTIONS, function_digest
from kleash.maths.intervals import Interval, mean_interval
from kleash.models.heads import RewardNormaliser
from kleash.models.reward_models import member_folders
from kleash.monitor.pages.audit_page import render
from kleash.progress import progress
from kleash.records import Preference, content_id
from kleash.results import AuditMeasures, AuditSummary
from kleash.rollout.local import SamplingSettings, answer_prompts
from kleash.scorers.function import FunctionScorer
from kleash.scorers.ranked_examples import misordered_pairs
from kleash.settings import Settings
from kleash.stages.context import Plan, StageContext, as_artifact
from kleash.stages.support.encoding import prompts_that_fit

SURE_SHARE = 2 / 3


class AuditSettings(Settings):
    """How much is measured in the audit of a reward model."""

    max_rows: int = Field(2000, ge=40, description="held-out comparisons to measure on")
    max_training_rows: int = Field(
        500, ge=40, description="comparisons it was trained on, to see what it learnt by heart"
    )
    probe_answers: int = Field(200, ge=40, description="preferred answers that probes change")
    stock_phrases: int = Field(8, ge=0, description="phrases of each kind mined from the answers, as probes")
    reference_answers: int = Field(256, ge=20, description="fresh answers of the reference, looked at for novelty")
    max_new_tokens: int = Field(64, ge=1, description="of those answers")
    max_batch_tokens: int = Field(8192, ge=1, description="padded tokens of one forward pass")


@dataclass(frozen=True)
class Material:
    """The pairs an audit is made of: held out (everything, for a model from elsewhere) and trained on."""

    heldout: list[Preference]
    training: list[Preference]
    num_too_long: int


def audit_reward(
    context: StageContext,
    settings: AuditSettings,
    *,
    reward_model: Path | Artifact | str,
    preferences: Path | Artifact,
    output_dir: Path,
    reference: Path | Artifact | None = None,
    benchmarks: Sequence[Path] = (),
    others: Sequence[Path | Artifact] = (),
    previous: Artifact | None = None,
    earlier: Sequence[Artifact] = (),
) -> Artifact:
    """Audit one reward model and write verdict, figures and page.

    reward_model: a reward artifact, a sequence-classification folder, or `module:attribute` of a Python function.
    reference: the policy whose fresh answers the model will have to judge.  benchmarks: files of preferences, by
    subset where they have that column.  others: more reward models, to see how far they disagree.
    previous: the reward model that a refreshed one takes the place of.  earlier: the preferences of the rounds before,
    on whose held-out pairs it may not be worse.
    """
    target = reward_model if isinstance(reward_model, str) else None
    parents = {"preferences": as_artifact(preferences, "preferences")}
    if not isinstance(reward_model, str):
        parents["reward"] = as_artifact(reward_model, "reward model")
    if reference is not None:
        parents["reference"] = as_artifact(reference, "model")
    parents |= {f"benchmark_{i}": as_artifact(file, "benchmark") for i, file in enumerate(benchmarks)}
    parents |= {f"beside_{i}": as_artifact(model, "reward model") for i, model in enumerate(others)}
    if previous is not None:
        parents |= {"previous": previous, **{f"earlier_{i}": labels for i, labels in enumerate(earlier)}}
    named = {"function": target, FUNCTIONS: {"function": vars(function_digest(target))}} if target else {}
    plan: Plan = {"kind": "audit", "parents": parents, "settings": settings, "extra_settings": named}
    if done := context.find_finished(output_dir, **plan):
        return done
    reader = ScorerReader(FunctionScorer(target)) if target else _reader(context, settings, parents["reward"])
    material = gather(parents.get("reward"), parents["preferences"], reader, settings)
    with context.write_artifact(output_dir, **plan) as draft:
        with progress(None, "Audit, answers read") as reader.on_read:
            pairs, figures = measure(material, reader)
            gains, moved = probe(settings, material, reader)
            figures |= surroundings(context, settings, material, reader, parents)
            figures |= memory(context, settings, reader, parents)
            measures = AuditMeasures(**figures)
        misordered = misordered_pairs(reader.scorer) if isinstance(reader, ScorerReader) else []
        reasons = reasons_of(measures, gains, moved, num_misordered=len(misordered))
        verdict = verdict_of(reasons)
        summary = AuditSummary(verdict=verdict, reasons=reasons, accuracy=measures.accuracy, measures=measures)
        draft.summary |= summary.to_json()
        title = target or "/".join(parents["reward"].path.absolute().parts[-3:])
        write_files(draft, title, summary, pairs, gains, moved)
    return read(output_dir)


def write_files(
    draft: Draft,
    title: str,
    summary: AuditSummary,
    pairs: Sequence[ScoredPair],
    gains: Sequence[Gain],
    moved: Sequence[Spread],
) -> None:
    """Write the rows behind the verdict, and the page that shows both."""
    rows = {"probes": probe_rows(gains, moved), "pairs": pair_rows(pairs), "worst": worst_rows(pairs, gains)}
    for name, content in rows.items():
        write_rows(draft.path / f"{name}.jsonl", content)
    write_text(draft.path / "audit.html", render(title, summary, **rows))
    draft.unhashed.add("audit.html")  # plotly's script is in it, and differs from version to version


def gather(trained: Artifact | None, preferences: Artifact, reader: Reader, settings: AuditSettings) -> Material:
    """Read the pairs and part them as the reward model's training did. Raises DataError when none can be used."""
    aspect = trained.settings.get("aspect") if trained is not None and _is_ours(trained) else None
    usable = usable_preferences(read_preferences(preferences.path).records, aspect=aspect)
    training: list[Preference] = []
    heldout = usable
    if trained is not None and _is_ours(trained):
        share, seed = trained.settings["holdout_share"], trained.settings["seed"]
        training, heldout = split_by_prompt(usable, holdout_share=share, seed=seed)
    sampled, extra_settings = _sample(heldout, settings.max_rows), _sample(training, settings.max_training_rows)
    readable = [row for row in sampled if _fits(row, reader)]
    labels = [pair.label for row in readable for pair in row.pairs]
    if len(labels) < 2 or set(labels) == {0.5}:
        raise DataError(
            f"{preferences.path} has {len(labels)} pairs to audit with, in {len(usable)} comparisons. Expected at "
            "least two, not all of them ties, that the reward model was not trained on and has room for. Give more "
            "preferences."
        )
    return Material(readable, [row for row in extra_settings if _fits(row, reader)], len(sampled) - len(readable))


def measure(material: Material, reader: Reader) -> tuple[list[ScoredPair], dict[str, Any]]:
    """Score the pairs; return those held out, and every figure that rests on pairs alone."""
    pairs = _scored(material.heldout, reader)
    measures = {**measure_pairs(pairs), "calibration": calibration_figures(pairs)}
    measures["rows_too_long"] = material.num_too_long
    if material.training:
        trained_on = accuracy([pair for pair in _scored(material.training, reader) if pair.is_decided])
        measures["training_accuracy"] = vars(trained_on)
        measures["training_gap"] = vars(_difference(trained_on, Interval(**measures["accuracy"])))
    return pairs, measures


def probe(settings: AuditSettings, material: Material, reader: Reader) -> tuple[list[Gain], list[Spread]]:
    """Change answers that raters preferred, in ways that must not pay, and in ways that must not matter."""
    # Where few pairs were held out those it was trained on serve as well: it is the change that is measured.
    answers = preferred_answers([*material.heldout, *material.training])[: settings.probe_answers]
    scores = reader.score([(row.prompt, text) for row in material.heldout for text in row.completions])
    rows = [*material.heldout, *material.training]
    mined = stock_phrases(
        ((row.prompt.id, text) for row in rows for text in row.completions), most=settings.stock_phrases
    )
    probes = [
        *written_additions(),
        *padding_probes(answers),
        *(phrase.probe() for phrase in mined),
        *(phrase.probe(times=3) for phrase in mined if phrase.kind == "stock phrase"),
    ]
    sd = stdev(scores) or 1.0
    gains = worst_gains(probes, answers, reader.score, score_sd=sd, can_read=reader.can_read)
    return gains, spreads(rewrites(), answers, reader.score, score_sd=sd, can_read=reader.can_read)


def preferred_answers(rows: Iterable[Preference]) -> list[Answer]:
    """Return one preferred answer per prompt, of pairs on which the raters were of one mind, if possible.

    An empty addition cannot make these better: they were chosen without it.
    """
    preferred: dict[str, tuple[float, Answer]] = {}
    for row in rows:
        for pair in row.pairs:
            share = max(pair.label, 1 - pair.label)
            text = row.completions[pair.first if pair.label > 0.5 else pair.second]
            if share > max(SURE_SHARE, preferred.get(row.prompt.id, (0.0,))[0]):
                preferred[row.prompt.id] = (share, (row.prompt, text))
    return [answer for _, answer in preferred.values()]


def surroundings(
    context: StageContext, settings: AuditSettings, material: Material, reader: Reader, parents: Mapping[str, Artifact]
) -> dict[str, Any]:
    """Measure what depends on more than the pairs: benchmarks, novelty of fresh answers, other reward models."""
    found: dict[str, Any] = {}
    others: dict[str, list[Answer]] = {}
    for role, file in parents.items():
        if role.startswith("benchmark"):
            rows = [row for row in _benchmark_rows(file.path) if _fits(row, reader)]
            others[file.path.stem] = [(row.prompt, text) for row in rows for text in row.completions]
            found.setdefault("benchmarks", {}).update(_by_subset(file.path.stem, _scored(rows, reader)))
    if "reference" in parents:
        others["the reference's answers"] = reference_answers(
            context, settings, material, parents["reference"], on_done=reader.on_read
        )
    trained_on = [(row.prompt, text) for row in material.training or material.heldout for text in row.completions]
    if others and isinstance(reader, ModelReader) and len(trained_on) >= 2 * MIN_STATES:
        training_ND = reader.states(trained_on)
        found["outside"] = {
            name: vars(outside_share(training_ND, reader.states(readable)))
            for name, answers in others.items()
            if (readable := [answer for answer in answers if reader.fits(answer)])
        }
    extra_settings = [_reader(context, settings, model) for role, model in parents.items() if role.startswith("beside")]
    members = [*each_member(reader), *extra_settings]
    if len(members) > 1:
        found["disagreement_sd"] = vars(disagreement(members, material.heldout))
    return found


def memory(
    context: StageContext, settings: AuditSettings, reader: Reader, parents: Mapping[str, Artifact]
) -> dict[str, Any]:
    """Measure a refreshed reward model on what earlier rounds held out, beside the model before it."""
    if "previous" not in parents:
        return {}
    before, trained = _reader(context, settings, parents["previous"]), parents["reward"]
    found = {}
    for role, preferences in parents.items():
        if role.startswith("earlier_"):
            apart = gather(trained, preferences, reader, settings).heldout
            number = int(role.removeprefix("earlier_"))
            found[f"round {number}"] = memory_figures(_scored(apart, before), _scored(apart, reader))
    return {"memory": found}


def reference_answers(
    context: StageContext, settings: AuditSettings, material: Material, reference: Artifact, *, on_done: OnRead
) -> list[Answer]:
    """Have the reference policy answer the held-out prompts anew."""
    model = context.load_policy(reference)
    prompts = list({row.prompt.id: row.prompt for row in material.heldout}.values())[: settings.reference_answers]
    sampling = SamplingSettings(max_new_tokens=settings.max_new_tokens, max_prompt_tokens=model.max_positions)
    fitting = prompts_that_fit(prompts, model, max_tokens=sampling.prompt_room(model))
    rollouts = answer_prompts(model, fitting, sampling, seed=derived_seed(context.seed, "audit"), on_done=on_done)
    return list(zip(rollouts.prompts, rollouts.texts, strict=True))


def disagreement(members: Sequence[Reader], rows: Iterable[Preference]) -> Interval:
    """Return the mean SD among reward models' z-scores of one answer; each has mean 0 and SD 1 over these answers."""
    answers = [(row.prompt, text) for row in rows for text in row.completions]
    scored = [member.score(answers) for member in members]
    z_scores = [[(score - fmean(scores)) / (pstdev(scores) or 1.0) for score in scores] for scores in scored]
    return mean_interval([pstdev(of_answer) for of_answer in zip(*z_scores, strict=True)])


def each_member(reader: Reader) -> list[Reader]:
    """Return a reader for each member of an ensemble; of anything else, the reader itself."""
    if not isinstance(reader, ModelReader) or not reader.others:
        return [reader]
    return [ModelReader(model, max_batch_tokens=reader.max_batch_tokens) for model in (reader.model, *reader.others)]


# ------------------------------------------------------------------------------------------------------------ inside
def _reader(context: StageContext, settings: AuditSettings, model: Artifact) -> ModelReader:
    first, *others = [context.load_scalar_model(folder) for folder in member_folders(model.path)]
    RewardNormaliser.load(model.path).warn_of_precision(first)
    return ModelReader(first, others=others, max_batch_tokens=settings.max_batch_tokens)


def _is_ours(model: Artifact) -> bool:
    """Say whether the reward stage trained a model: then it is known on which pairs, and how it read prompts."""
    return model.kind == "reward" and "holdout_share" in model.settings


def _sample(rows: Sequence[Preference], most: int) -> list[Preference]:
    """Return some of the rows in an order that has nothing to do with that of their file."""
    return sorted(rows, key=lambda row: content_id(row.prompt.id, row.completions))[:most]


def _fits(row: Preference, reader: Reader) -> bool:
    return all(reader.fits((row.prompt, text)) for text in row.completions)


def _scored(rows: Sequence[Preference], reader: Reader) -> list[ScoredPair]:
    answers = [(row.prompt, text) for row in rows for text in row.completions]
    return scored_pairs(rows, reader.score(answers), (reader.length(answer) for answer in answers))


def _difference(first: Interval, second: Interval) -> Interval:
    """Bound the difference of two rates of different items (Newcombe's square-and-add of Wilson's bounds)."""
    low = ((first.value - first.low) ** 2 + (second.high - second.value) ** 2) ** 0.5
    high = ((first.high - first.value) ** 2 + (second.value - second.low) ** 2) ** 0.5
    value = first.value - second.value
    return Interval(value, value - low, value + high, min(first.n, second.n))


def _benchmark_rows(file: Path) -> list[Preference]:
    has_subsets = "subset" in read_file(file, "preferences").columns_unused
    return usable_preferences(read_preferences(file, slice_columns=("subset",) if has_subsets else ()).records)


def _by_subset(name: str, pairs: Sequence[ScoredPair]) -> dict[str, Any]:
    decided = [pair for pair in pairs if pair.is_decided]
    subsets = sorted({pair.slices["subset"] for pair in decided if "subset" in pair.slices})
    return {name: vars(accuracy(decided))} | {
        f"{name}/{subset}": vars(accuracy([pair for pair in decided if pair.slices.get("subset") == subset]))
        for subset in subsets
    }
