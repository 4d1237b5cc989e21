"""Bring in what was made elsewhere, a policy, a reward model or preferences, as an artifact that says where it is from.

Nothing is trained. What comes in is loaded once, so that a folder that is no such thing is refused here rather than in
a later stage, and then copied: the artifact stands on its own, and what is made from it names it as a parent.
The way out is `exporting.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import Field

from kleash.artifacts import Artifact, external, read
from kleash.data.batches import derived_seed
from kleash.data.prompts import drawn
from kleash.errors import SettingsError
from kleash.formats import read_prompts
from kleash.formats.rows import HUB_PREFIX
from kleash.models.folders import copy_model_files, find_model_folder
from kleash.models.heads import RewardNormaliser
from kleash.models.lora import is_adapter_folder
from kleash.models.reward_models import member_folder, member_folders
from kleash.progress import progress
from kleash.results import PolicySummary, RewardSummary
from kleash.rollout.local import SamplingSettings, answer_prompts
from kleash.scorers.reward_model import RewardModelScorer
from kleash.settings import Settings
from kleash.stages.context import Plan, StageContext, as_artifact
from kleash.stages.support.encoding import prompts_that_fit
from kleash.stages.support.freezing import freeze_labels


class Provenance(Settings):
    """Where something came from, in its importer's words; recorded in the artifact and shown in model cards."""

    origin: str = Field(min_length=1, description="where it is from: an address, a paper, a person")
    licence: str = Field("", description="its licence, such as apache-2.0 or cc-by-4.0; empty = not known")


class ScaleSettings(Settings):
    """How the scale of an imported reward model is measured: on answers of the policy that will be the reference."""

    num_samples: int = Field(512, ge=2)
    max_new_tokens: int = Field(64, ge=1)
    temperature: float = Field(1.0, gt=0)


def import_policy(context: StageContext, provenance: Provenance, *, source: str, output_dir: Path) -> Artifact:
    """Import a language model: a Hugging Face folder as it stands, an adapter merged into its base."""
    folder = find_model_folder(source)
    parents = {"source": as_artifact(folder, "model")}
    plan: Plan = {"kind": "policy", "parents": parents, "settings": provenance}
    if done := context.find_finished(output_dir, **plan):
        return done
    model = context.load_policy(folder, whole=True)
    with context.write_artifact(output_dir, **plan, language_model=model) as draft:
        if is_adapter_folder(folder):
            model.save(draft.path)
        else:
            copy_model_files(folder, draft.path)
        draft.summary |= PolicySummary(stage="import", **provenance.model_dump()).to_json()
    return read(output_dir)


def import_reward(
    context: StageContext,
    provenance: Provenance,
    *,
    source: str,
    output_dir: Path,
    reference: Path | Artifact | None = None,
    prompts: Path | None = None,
    scale: ScaleSettings = ScaleSettings(),  # noqa: B008 (frozen)
) -> Artifact:
    """Import a reward model: a sequence-classification folder with one label, or an ensemble that was trained here.

    Its scores mean what beta and the clips suppose only when they are z-scores of the reference policy's answers: with
    `reference` and `prompts` the scale is measured; without, it is the folder's own, or mean 0 and SD 1.
    """
    if (reference is None) != (prompts is None):
        raise SettingsError(
            "The scale of a reward model is measured on answers, and only one of --reference and --prompts is given. "
            "Expected both or neither. Give the other one too."
        )
    folder = find_model_folder(source)
    parents = {"source": as_artifact(folder, "reward model")}
    if reference is not None and prompts is not None:
        parents |= {"reference": as_artifact(reference, "model"), "prompts": as_artifact(prompts, "prompts")}
    extra_settings = {"scale": scale.model_dump() if reference is not None else None}
    plan: Plan = {"kind": "reward", "parents": parents, "settings": provenance, "extra_settings": extra_settings}
    if done := context.find_finished(output_dir, **plan):
        return done
    readers = [
        RewardModelScorer(context.load_scalar_model(member), RewardNormaliser()) for member in member_folders(folder)
    ]
    with context.write_artifact(output_dir, **plan) as draft:
        loaded = zip(member_folders(folder), readers, strict=True)
        normalisers = [RewardNormaliser.load(member).read_as(one.model) for member, one in loaded]
        if prompts is not None:
            normalisers = [_measured_scale(context, one, parents["reference"], prompts, scale) for one in readers]
        for number, (reader, normaliser) in enumerate(zip(readers, normalisers, strict=True)):
            copy = member_folder(draft.path, number)
            copy.mkdir(exist_ok=True)
            if is_adapter_folder(member_folder(folder, number)):
                reader.model.save(copy)
            else:
                copy_model_files(member_folder(folder, number), copy)
            normaliser.save(copy)
        scale_of = RewardSummary(mean=normalisers[0].mean, sd=normalisers[0].sd, **provenance.model_dump())
        draft.summary |= scale_of.to_json()
    return read(output_dir)


def import_preferences(
    context: StageContext,
    provenance: Provenance,
    *,
    source: str,
    output_dir: Path,
    format: str | None = None,
    slice_columns: Sequence[str] = (),
) -> Artifact:
    """Import preferences, or answers with thumbs, in any format `kleash data check` understands."""
    # A hub set is not a file that could be hashed: what was read of it is in the artifact itself.
    parents = {} if source.startswith(HUB_PREFIX) else {"source": external(Path(source), "preferences file")}
    return freeze_labels(
        context,
        provenance,
        source=source,
        parents=parents,
        output_dir=output_dir,
        format=format,
        slice_columns=slice_columns,
        extra_settings={"format": format, "slice_columns": list(slice_columns)},
        **provenance.model_dump(),
    )


def _measured_scale(
    context: StageContext, reader: RewardModelScorer, reference: Artifact, prompts: Path, scale: ScaleSettings
) -> RewardNormaliser:
    """Measure mean and SD of the raw score over answers of the reference policy to the prompts."""
    policy = context.load_policy(reference)
    room = min(policy.max_positions, reader.model.max_positions) - scale.max_new_tokens
    fitting = prompts_that_fit(read_prompts(prompts, strict=context.is_strict).records, policy, max_tokens=room)
    seed = derived_seed(context.seed, "imported scale")
    num_rounds, num_more = divmod(scale.num_samples, len(fitting))
    chosen = [*fitting * num_rounds, *drawn(fitting, num_more, seed=seed)]
    sampling = SamplingSettings(max_new_tokens=scale.max_new_tokens, temperature=scale.temperature)
    with progress(len(chosen), "Reward scale, answers sampled") as advance:
        answers = answer_prompts(policy, chosen, sampling, seed=seed, on_done=advance).completions()
    score_N = torch.tensor(reader.score(answers).parts["raw"], dtype=torch.float64)
    return RewardNormaliser.measured(score_N, reader.model)
