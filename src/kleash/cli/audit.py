"""`kleash audit`: may this reward model train a policy? Ours, or any sequence-classification folder, or a function."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kleash.artifacts import Artifact
from kleash.cli.names import find_policy
from kleash.cli.options import RUNS, OutputDir, Overrides, RecipeFile, RunsFolder, Strict, examples
from kleash.cli.stages import PANEL, run_stage

if TYPE_CHECKING:
    from kleash.recipe import Recipe
    from kleash.stages.context import StageContext

app = typer.Typer()


@app.command(
    rich_help_panel=PANEL,
    epilog=examples(
        "kleash audit reward --preferences preferences --reference sft --into audit",
        "kleash audit models/their-reward --preferences pairs.jsonl --benchmark rewardbench.jsonl --into audit",
    ),
)
def audit(
    reward_model: Annotated[
        str,
        typer.Argument(help="Reward artifact, RUN/reward, sequence-classification folder, or function (module:name)."),
    ],
    preferences: Annotated[
        Path, typer.Option("--preferences", help="Preferences artifact or file; of our models' own, what was held out.")
    ],
    output_dir: OutputDir,
    benchmark: Annotated[
        list[Path] | None,
        typer.Option("--benchmark", help="File of prompt, chosen, rejected, and subset if it has one."),
    ] = None,
    reference: Annotated[
        str | None, typer.Option("--reference", help="Policy whose fresh answers it is to judge; usually SFT's.")
    ] = None,
    extra_settings: Annotated[
        list[Path] | None, typer.Option("--beside", help="Another reward model, to see how far they disagree.")
    ] = None,
    recipe: RecipeFile = None,
    overrides: Overrides = None,
    strict: Strict = False,
    runs_dir: RunsFolder = RUNS,
) -> None:
    """Audit a reward model: does it order, is it calibrated, and does saying nothing pay?

    Writes the verdict (pass, warn or fail) with its reasons, the figures, and a page, audit.html.
    """

    def make(settings: Recipe, context: StageContext) -> Artifact:
        from kleash.stages.audit import audit_reward as stage

        is_function = ":" in reward_model and not reward_model.startswith("hub:") and not Path(reward_model).exists()
        return stage(
            context,
            settings.audit,
            reward_model=reward_model if is_function else find_policy(reward_model, runs_dir),
            preferences=preferences,
            reference=None if reference is None else find_policy(reference, runs_dir),
            benchmarks=benchmark or (),
            extra_settings=extra_settings or (),
            output_dir=output_dir,
        )

    run_stage(make, output_dir, recipe, overrides, strict=strict)
