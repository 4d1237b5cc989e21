"""The sandbox behind the plug-in door: the world stage, its base model, its simulated labellers and AI judge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kleash.artifacts import Artifact, read
from kleash.data.batches import derived_seed
from kleash.formats import write_jsonl
from kleash.results import WorldSummary
from kleash.sandbox.files import write_files
from kleash.sandbox.labellers import SimulatedJudge, SimulatedLabellers
from kleash.sandbox.world import train_prompts

if TYPE_CHECKING:
    from kleash.recipe import WorldSettings
    from kleash.stages.context import StageContext
    from kleash.stages.preferences import PreferencesSettings

NUM_WATCHED_PROMPTS = 250


def make_world(context: StageContext, settings: WorldSettings, output_dir: Path) -> Artifact:
    """Write the sandbox's data files as an artifact: what a user of real data would bring."""
    if done := context.find_finished(output_dir, kind="world", parents={}, settings=settings):
        return done
    with context.write_artifact(output_dir, kind="world", parents={}, settings=settings) as draft:
        write_files(
            draft.path,
            seed=context.seed,
            num_demonstrations=settings.num_demonstrations,
            num_prompts=settings.num_prompts,
            num_evaluation_per_slice=settings.num_evaluation_per_slice,
        )
        (draft.path / "evaluation.jsonl").rename(draft.path / "evaluation_prompts.jsonl")
        watched = train_prompts(NUM_WATCHED_PROMPTS, seed=derived_seed(context.seed, "watched prompts"))
        write_jsonl(draft.path / "watched_prompts.jsonl", watched)
        draft.summary |= WorldSummary(
            demonstrations=settings.num_demonstrations,
            prompts=settings.num_prompts,
            evaluation_per_slice=settings.num_evaluation_per_slice,
        ).to_json()
    return read(output_dir)


def simulated_labellers(settings: PreferencesSettings, *, seed: int) -> SimulatedLabellers:
    """Return simulated labellers, as many as the campaign has raters per item."""
    return SimulatedLabellers(settings.panel, bias=settings.bias, num_raters=settings.campaign.overlap, seed=seed)


def simulated_judge(settings: PreferencesSettings, *, seed: int) -> SimulatedJudge:
    """Return the simulated judge, and in `expert` the labellers who stand in for the people of its share."""
    judge = settings.simulated_judge
    return SimulatedJudge(
        accuracy=judge.accuracy,
        accuracy_after=judge.accuracy_after,
        degrades_after=judge.degrades_after,
        seed=seed,
        expert=SimulatedLabellers(
            settings.panel, bias=settings.bias, num_raters=settings.campaign.people_overlap, seed=seed
        ),
    )
