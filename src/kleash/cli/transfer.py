"""`kleash import`, `kleash export`: models and preferences from elsewhere and to elsewhere, with their provenance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kleash.artifacts import MANIFEST, Artifact
from kleash.cli.options import (
    RUNS,
    SOURCE,
    FormatName,
    OutputDir,
    Overrides,
    RecipeFile,
    RunsFolder,
    SliceColumns,
    Strict,
    examples,
    settings_for_stage,
    unfolded,
)
from kleash.cli.stages import run_stage
from kleash.locations import find_policy, find_run_or_artifact
from kleash.screen import results

if TYPE_CHECKING:
    from kleash.recipe import Recipe
    from kleash.stages.context import StageContext

bringing_in = typer.Typer(
    help="Bring in what was made elsewhere as an artifact with recorded provenance.",
    epilog=examples('kleash import policy models/theirs --into models/sft --origin "their SFT, June" --licence mit'),
)
handing_on = typer.Typer(
    help="Hand on a policy, a reward model or preferences as ordinary files.",
    epilog=examples("kleash export policy quickstart --into exported/quickstart --licence apache-2.0"),
)

Licence = Annotated[
    str, typer.Option("--licence", help="Its licence, such as apache-2.0; recorded and shown in cards.")
]


@dataclass(frozen=True)
class Importing:
    """What every import is told."""

    output_dir: OutputDir
    origin: Annotated[str, typer.Option("--origin", help="Where it is from: an address, a paper, a person.")]
    licence: Licence = ""
    recipe: RecipeFile = None
    overrides: Overrides = None

    def run(self, stage: Callable[..., Artifact], *, strict: bool = False, **inputs: Any) -> None:
        """Import by one of the functions of `stages/importing.py`, and show the artifact."""
        from kleash.stages.importing import Provenance

        def make(settings: Recipe, context: StageContext) -> Artifact:
            provenance = Provenance(origin=self.origin, licence=self.licence)
            return stage(context, provenance, output_dir=self.output_dir, **inputs)

        run_stage(make, self.output_dir, self.recipe, self.overrides, strict=strict)


@bringing_in.command(
    "policy",
    epilog=examples('kleash import policy hub:owner/name --into models/start --origin "hub, 2026-11" --licence mit'),
)
@unfolded
def import_policy(
    source: Annotated[str, typer.Argument(help="Model folder, adapter folder, or hub:owner/name.")], how: Importing
) -> None:
    """Import a language model, to start from or to compare with; an adapter is merged into its base."""
    from kleash.stages.importing import import_policy as stage

    how.run(stage, source=source)


@bringing_in.command(
    "reward",
    epilog=examples(
        'kleash import reward models/theirs --into reward --origin "a leaderboard"',
        'kleash import reward hub:owner/name --into reward --origin "hub" --reference sft --prompts prompts.jsonl',
    ),
)
@unfolded
def import_reward(
    source: Annotated[str, typer.Argument(help="Sequence-classification folder with one label, or hub:owner/name.")],
    how: Importing,
    reference: Annotated[
        str | None, typer.Option("--reference", help="Policy on whose answers the score's scale is measured.")
    ] = None,
    prompts: Annotated[Path | None, typer.Option("--prompts", help="Prompts that it answers for that.")] = None,
    runs_dir: RunsFolder = RUNS,
) -> None:
    """Import a reward model; reward.normaliser_* say on how many answers its scale is measured."""
    from kleash.stages.importing import ScaleSettings
    from kleash.stages.importing import import_reward as stage

    settings = settings_for_stage(how.recipe, how.overrides).reward
    scale = ScaleSettings(
        num_samples=settings.normaliser_samples,
        max_new_tokens=settings.normaliser_max_new_tokens,
        temperature=settings.normaliser_temperature,
    )
    answering = find_policy(reference, runs_dir) if reference else None
    how.run(stage, source=source, reference=answering, prompts=prompts, scale=scale)


@bringing_in.command(
    "preferences",
    epilog=examples('kleash import preferences hh.jsonl --into preferences --origin "HH-RLHF" --licence mit'),
)
@unfolded
def import_preferences(
    source: Annotated[str, typer.Argument(help=SOURCE)],
    how: Importing,
    format: FormatName = None,
    slices: SliceColumns = None,
    strict: Strict = False,
) -> None:
    """Import preferences in any format that `kleash data check` understands."""
    from kleash.stages.importing import import_preferences as stage

    how.run(stage, strict=strict, source=source, format=format, slice_columns=slices or ())


@handing_on.command(
    "policy", epilog=examples("kleash export policy quickstart/policy --into exported --licence apache-2.0")
)
def export_policy(
    policy: Annotated[str, typer.Argument(help="Run, RUN/STAGE, or the folder of a policy artifact.")],
    output_dir: Annotated[Path, typer.Option("--into", help="Folder to make.")],
    licence: Licence = "",
    name: Annotated[str | None, typer.Option("--name", help="Name in the card; without one, the folder's.")] = None,
    runs_dir: RunsFolder = RUNS,
) -> None:
    """Export a policy as a Hugging Face folder: safetensors, tokenizer, and a card filled from the lineage."""
    from kleash.artifacts import read
    from kleash.lineage import lineage_of, run_around
    from kleash.monitor.cards import model_card
    from kleash.stages.exporting import export_policy as write

    source = read(find_policy(policy, runs_dir))
    # Of the whole run: what audited the reward model is neither an ancestor of the policy nor made from it.
    card = model_card(
        lineage_of(run_around(source.path.absolute())), source.id, name=name or output_dir.name, licence=licence
    )
    write(source, output_dir=output_dir, card=card)
    results().print(f"{source.kind} {source.id} in {output_dir}", style="bold", soft_wrap=True)


@handing_on.command("reward", epilog=examples("kleash export reward quickstart/reward --into exported-reward"))
def export_reward(
    reward: Annotated[str, typer.Argument(help="RUN/reward, or the folder of a reward artifact.")],
    output_dir: Annotated[Path, typer.Option("--into", help="Folder to make.")],
    runs_dir: RunsFolder = RUNS,
) -> None:
    """Export a reward model as a sequence-classification folder; an adapter is merged into its base."""
    from kleash.artifacts import read
    from kleash.stages.exporting import export_reward as write

    source = read(find_run_or_artifact(reward, runs_dir))
    write(source, output_dir=output_dir)
    results().print(f"{source.kind} {source.id} in {output_dir}", style="bold", markup=False, soft_wrap=True)


@handing_on.command(
    "preferences", epilog=examples("kleash export preferences quickstart/preferences --into pairs --format trl")
)
def export_preferences(
    preferences: Annotated[str, typer.Argument(help="RUN/preferences, an artifact's folder, or a preference file.")],
    output_dir: Annotated[Path, typer.Option("--into", help="Folder to make.")],
    format: Annotated[str, typer.Option("--format", help="jsonl (loses nothing), parquet or trl.")] = "jsonl",
    licence: Licence = "",
    strict: Strict = False,
    runs_dir: RunsFolder = RUNS,
) -> None:
    """Export preferences as JSON lines, as Parquet, or as TRL's prompt, chosen and rejected."""
    from kleash.formats import read_preferences
    from kleash.lineage import lineage_of
    from kleash.monitor.cards import preferences_card
    from kleash.stages.exporting import export_preferences as write

    source = Path(preferences) if Path(preferences).exists() else find_run_or_artifact(preferences, runs_dir)
    loaded = read_preferences(source, strict=strict)
    lineage = lineage_of(source) if (source / MANIFEST).is_file() else None
    card = preferences_card(lineage, loaded.records, name=output_dir.name, licence=licence)
    made = write(loaded.records, output_dir=output_dir, format=format, card=card)
    results().print(f"{made.path}: {made.num_rows:,} rows", soft_wrap=True)
    for reason, number in made.num_left_out.items():
        results().print(f"  not for training: {number:,} ({reason})", soft_wrap=True)
