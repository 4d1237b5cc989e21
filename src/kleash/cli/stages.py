"""One command per stage, on folders and files: what `kleash run` does in a row, here one by one.

Settings come from the recipe's table of that stage (defaults without a recipe) and `--set`; inputs are named by their
folders and files. Each command resumes what it began, and shows the artifact where it is finished.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kleash.artifacts import MANIFEST, Artifact
from kleash.cli.names import find_policy
from kleash.cli.options import RUNS, OutputDir, Overrides, RecipeFile, RunsFolder, Strict, examples
from kleash.cli.options import settings_for_stage as _settings
from kleash.cli.screen import is_first_rank, results
from kleash.errors import SettingsError

if TYPE_CHECKING:
    from kleash.recipe import Recipe
    from kleash.stages.context import StageContext

app = typer.Typer()

PANEL = "Stages, one by one"

Prompts = Annotated[Path, typer.Option("--prompts", help="File of prompts.")]
Reference = Annotated[str, typer.Option("--reference", help="Policy to start from and to be held to; usually SFT's.")]
RewardModels = Annotated[
    list[Path] | None, typer.Option("--reward", help="Reward artifact; several make an ensemble (scorer.kind).")
]
PreferencesFolder = Annotated[Path, typer.Option("--preferences", help="Preferences artifact.")]


@app.command(
    rich_help_panel=PANEL,
    epilog=examples("kleash pretrain --documents books/ --into models/small --set pretrain.hidden_size=128"),
)
def pretrain(
    documents: Annotated[Path, typer.Option("--documents", help="Text file, or a folder of .txt files.")],
    output_dir: OutputDir,
    recipe: RecipeFile = None,
    overrides: Overrides = None,
    strict: Strict = False,
) -> None:
    """Make a small model from plain text: learn a tokenizer and train from random weights."""

    def make(settings: Recipe, context: StageContext) -> Artifact:
        from kleash.stages.pretrain import pretrain as stage

        return stage(context, settings.pretrain, documents=documents, output_dir=output_dir)

    run_stage(make, output_dir, recipe, overrides, strict=strict)


@app.command(
    rich_help_panel=PANEL,
    epilog=examples("kleash sft --base models/base --demonstrations good.jsonl --into sft --set sft.fit.epochs=2"),
)
def sft(
    base: Annotated[str, typer.Option("--base", help="Model folder to start from.")],
    demonstrations: Annotated[Path, typer.Option("--demonstrations", help="File of prompts with good answers.")],
    output_dir: OutputDir,
    recipe: RecipeFile = None,
    overrides: Overrides = None,
    strict: Strict = False,
    runs_dir: RunsFolder = RUNS,
) -> None:
    """Fine-tune a model on demonstrations."""

    def make(settings: Recipe, context: StageContext) -> Artifact:
        from kleash.stages.sft import train_sft as stage

        start = find_policy(base, runs_dir)
        return stage(context, settings.sft, base=start, demonstrations=demonstrations, output_dir=output_dir)

    run_stage(make, output_dir, recipe, overrides, strict=strict)


@app.command(
    rich_help_panel=PANEL,
    epilog=examples(
        "kleash candidates --policy sft --prompts prompts.jsonl --into candidates",
        "kleash candidates --policy policy --policy sft --prompts prompts.jsonl --into candidates --reward reward"
        ' --set \'candidates.picks=["best", "worst"]\'',
    ),
)
def candidates(
    policy: Annotated[list[str], typer.Option("--policy", help="Policy that answers; several take turns.")],
    prompts: Prompts,
    output_dir: OutputDir,
    reward: RewardModels = None,
    recipe: RecipeFile = None,
    overrides: Overrides = None,
    strict: Strict = False,
    runs_dir: RunsFolder = RUNS,
) -> None:
    """Sample several answers to each prompt, to be compared."""

    def make(settings: Recipe, context: StageContext) -> Artifact:
        from kleash.artifacts import read
        from kleash.stages.candidates import sample_candidates as stage
        from kleash.stages.scoring import build_scorer

        policies = [find_policy(name, runs_dir) for name in policy]
        scorer_source = None
        if settings.candidates.needs_scorer:
            models = [read(folder) for folder in reward or []]
            scorer_source = build_scorer(context, settings.scorer, reward_models=models)
        return stage(
            context,
            settings.candidates,
            policies=policies,
            prompts=prompts,
            output_dir=output_dir,
            scorer_source=scorer_source,
        )

    run_stage(make, output_dir, recipe, overrides, strict=strict)


@app.command(
    rich_help_panel=PANEL,
    epilog=examples(
        "kleash preferences --from pairs.jsonl --into preferences",
        "kleash preferences --candidates candidates --into preferences --set preferences.comparer=my_judge:score",
    ),
)
def preferences(
    output_dir: OutputDir,
    candidates: Annotated[Path | None, typer.Option("--candidates", help="Candidates artifact to compare.")] = None,
    file: Annotated[Path | None, typer.Option("--from", help="Preference file to import instead.")] = None,
    recipe: RecipeFile = None,
    overrides: Overrides = None,
    strict: Strict = False,
) -> None:
    """Have candidates compared, or import a preference file; either is frozen into an artifact."""
    if (candidates is None) == (file is None):
        raise SettingsError(
            "Preferences come from one place. Expected either --candidates FOLDER or --from FILE. Give one of them."
        )

    def make(settings: Recipe, context: StageContext) -> Artifact:
        from kleash.artifacts import read
        from kleash.collection.store.calls import StoredCalls
        from kleash.stages.preferences import collect_preferences, import_preferences, open_store
        from kleash.stages.scoring import build_comparer

        if file is not None:
            return import_preferences(context, settings.preferences, file=file, output_dir=output_dir)
        assert candidates is not None, "checked above"
        chosen = settings.preferences
        with closing(open_store(chosen, output_dir)) as database:
            comparer = build_comparer(chosen, seed=settings.seed, calls=StoredCalls(database))
            return collect_preferences(
                context,
                chosen,
                candidates=read(candidates),
                comparer=comparer,
                database=database,
                output_dir=output_dir,
            )

    run_stage(make, output_dir, recipe, overrides, strict=strict)


@app.command(
    rich_help_panel=PANEL,
    epilog=examples("kleash reward --base sft --preferences preferences --into reward"),
)
def reward(
    base: Annotated[str, typer.Option("--base", help="Policy to start from; its answers also set the score's scale.")],
    preferences: PreferencesFolder,
    output_dir: OutputDir,
    recipe: RecipeFile = None,
    overrides: Overrides = None,
    strict: Strict = False,
    runs_dir: RunsFolder = RUNS,
) -> None:
    """Train a reward model on preferences and measure it on prompts it has not seen."""

    def make(settings: Recipe, context: StageContext) -> Artifact:
        from kleash.artifacts import read
        from kleash.stages.reward import train_reward as stage

        start = find_policy(base, runs_dir)
        return stage(context, settings.reward, base=start, preferences=read(preferences), output_dir=output_dir)

    run_stage(make, output_dir, recipe, overrides, strict=strict)


@app.command(
    rich_help_panel=PANEL,
    epilog=examples(
        "kleash policy --reference sft --reward reward --audit audit --prompts prompts.jsonl --into policy",
        "kleash policy --reference sft --prompts prompts.jsonl --into policy --set scorer.kind=function"
        " --set scorer.function=my_judge:score",
    ),
)
def policy(
    reference: Reference,
    prompts: Prompts,
    output_dir: OutputDir,
    reward: RewardModels = None,
    audit: Annotated[
        list[Path] | None, typer.Option("--audit", help="Audit of the reward model; of several, one each.")
    ] = None,
    accept_failed_audit: Annotated[
        str | None, typer.Option("--accept-failed-audit", metavar="WHY", help="Train on a model that failed; recorded.")
    ] = None,
    evaluation_prompts: Annotated[
        Path | None, typer.Option("--evaluation-prompts", help="Prompts to answer now and then while training.")
    ] = None,
    demonstrations: Annotated[
        Path | None, typer.Option("--demonstrations", help="For the pretraining mix (policy.pretraining_coefficient).")
    ] = None,
    recipe: RecipeFile = None,
    overrides: Overrides = None,
    strict: Strict = False,
    runs_dir: RunsFolder = RUNS,
) -> None:
    """Train a policy by reinforcement on a KL leash: PPO, RLOO, GRPO or REINFORCE."""

    def make(settings: Recipe, context: StageContext) -> Artifact:
        from kleash.artifacts import read
        from kleash.stages.alarming import build_alarms
        from kleash.stages.policy import train_policy as stage
        from kleash.stages.scoring import build_scorer

        models, audits = ([read(folder) for folder in folders or []] for folders in (reward, audit))
        scorer, clip = settings.scorer, settings.policy.score_clip
        if accept_failed_audit:
            scorer = scorer.model_copy(update={"accept_failed_audit": accept_failed_audit})
        scorer_source = build_scorer(context, scorer, reward_models=models, audits=audits, z_clip=clip)
        return stage(
            context,
            settings.policy,
            reference=find_policy(reference, runs_dir),
            scorer_source=scorer_source,
            prompts=prompts,
            evaluation_prompts=evaluation_prompts,
            alarm_setup=build_alarms(settings.alarms, seed=settings.seed),
            texts_to_keep=demonstrations,
            output_dir=output_dir,
        )

    run_stage(make, output_dir, recipe, overrides, strict=strict)


@app.command(
    rich_help_panel=PANEL,
    epilog=examples("kleash direct --reference sft --preferences preferences --into dpo --set direct.algorithm=ipo"),
)
def direct(
    reference: Reference,
    preferences: PreferencesFolder,
    output_dir: OutputDir,
    recipe: RecipeFile = None,
    overrides: Overrides = None,
    strict: Strict = False,
    runs_dir: RunsFolder = RUNS,
) -> None:
    """Train a policy on preferences directly, without a reward model: DPO, IPO or KTO."""

    def make(settings: Recipe, context: StageContext) -> Artifact:
        from kleash.artifacts import read
        from kleash.stages.direct import train_direct as stage

        start = find_policy(reference, runs_dir)
        return stage(context, settings.direct, reference=start, preferences=read(preferences), output_dir=output_dir)

    run_stage(make, output_dir, recipe, overrides, strict=strict)


# ------------------------------------------------------------------------------------------- shared with `evaluate`
def run_stage(
    make: Callable[[Recipe, StageContext], Artifact],
    output_dir: Path,
    recipe: str | None,
    overrides: list[str] | None,
    *,
    strict: bool,
) -> None:
    """Make one artifact and show it."""
    from kleash.cli.options import context_from
    from kleash.cli.tables import artifact_tables

    settings = _settings(recipe, overrides)
    context = context_from(settings, strict=strict)
    with locked(output_dir):
        made = make(settings, context)
    screen = results()
    screen.print(f"{made.kind} {made.id} in {output_dir}", style="bold", markup=False, soft_wrap=True)
    screen.print(*artifact_tables(made), sep="\n")


@contextmanager
def locked(output_dir: Path) -> Iterator[None]:
    """Keep two commands off one artifact. The lock lies among its checkpoints and goes with them."""
    from kleash.durable import lock_run, partial_path

    if (output_dir / MANIFEST).is_file() or not is_first_rank():
        yield
        return
    work = partial_path(output_dir) / "work"
    try:
        with lock_run(work):
            yield
    finally:
        # A stage that was refused before it began leaves nothing behind; one under way is not empty and stays.
        if not (work / "begun.json").exists():
            (work / ".lock").unlink(missing_ok=True)
            for folder in (work, work.parent):
                with suppress(OSError):
                    folder.rmdir()
