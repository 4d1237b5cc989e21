"""Save what a stage trained: with an adapter its merged form too, compared with it on answers of the model itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kleash.artifacts import Draft
from kleash.data.batches import TokenSequence, derived_seed
from kleash.models.causal_lm import LanguageModel
from kleash.records import Prompt
from kleash.results import PolicySummary
from kleash.rollout.local import SamplingSettings, answer_prompts
from kleash.stages.context import StageContext
from kleash.stages.support.encoding import prompts_that_fit

_PROBES = SamplingSettings(max_new_tokens=32)
_NUM_PROBES = 16


def save_policy(context: StageContext, model: LanguageModel, draft: Draft, prompts: Sequence[Prompt]) -> None:
    """Write a policy into its draft; how far the merged weights are from the adapter goes on record."""
    if not context.ranks.is_first:
        return
    probes: Sequence[TokenSequence] = ()
    if model.has_adapters:
        fitting = prompts_that_fit(prompts, model, max_tokens=_PROBES.prompt_room(model))[:_NUM_PROBES]
        probes = answer_prompts(model, fitting, _PROBES, seed=derived_seed(context.seed, "merge")).sequences
    gap = model.save(draft.path, probes=probes)
    leave_places_out(draft, draft.path)
    if gap is not None:
        draft.summary |= PolicySummary(merge_gap_nats=gap._asdict()).to_json()


def leave_places_out(draft: Draft, folder: Path) -> None:
    """Keep the files of an adapter that name the place of its base out of the artifact's id: it may lie anywhere."""
    draft.unhashed |= {file.relative_to(draft.path).as_posix() for file in folder.glob("*/*adapter*.json")}
