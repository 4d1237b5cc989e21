"""`kleash run`: a recipe from its first unfinished stage to the report; the same command again goes on or shows it.

What a stage does is in `stages/`, their order in `stages/round.py`. Here: which run folder, who may write it, whether
the recipe is still the one it was begun with, and what a branch takes over from its origin.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kleash.artifacts import MANIFEST, Artifact
from kleash.cli.names import RECIPE_FILE, find_recipe, find_run, is_run
from kleash.cli.options import RUNS, Overrides, RunsFolder, Strict, examples
from kleash.cli.screen import is_first_rank, remarks, results
from kleash.durable import read_object
from kleash.errors import RunError, SettingsError

if TYPE_CHECKING:
    from kleash.recipe import Recipe
    from kleash.stages.context import StageContext
    from kleash.stages.round import Round

app = typer.Typer()

ROUND = "round-000"
SUMMARY_FILE = "summary.json"
# A run under way may change these: they change no result, or only that of rounds to come. A stage that was made with
# others says so itself.
_FREE_SETTINGS = {"name", "about", "trackers", "rounds", "refresh", "gate"}


@app.command(
    epilog=examples(
        "kleash run quickstart --set policy.leash.target_nats=3",
        "kleash run mine.toml --branch longer --set policy.steps=200",
    )
)
def run(
    recipe: Annotated[str, typer.Argument(help="Recipe file, or the name of a shipped one such as quickstart.")],
    overrides: Overrides = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the run, instead of the recipe's.")] = None,
    branch: Annotated[
        str | None, typer.Option("--branch", help="Start a sibling run that shares the stages nothing changed for.")
    ] = None,
    runs_dir: RunsFolder = RUNS,
    strict: Strict = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before running a model folder's code.")] = False,
) -> None:
    """Run a recipe: data to an evaluated policy and its report. Run it again to go on where it stopped."""
    from kleash.cli.options import context_from
    from kleash.cli.preflight import look_ahead
    from kleash.durable import lock_run
    from kleash.recipe import load_recipe

    file = find_recipe(recipe)
    changes = [*(overrides or []), *([f"name={json.dumps(name)}"] if name else [])]
    settings = load_recipe(file, changes).settings
    origin = runs_dir / settings.name
    if branch:
        settings = settings.model_copy(update={"name": branch})
        _check_origin(origin, branch)
    folder = run_folder(runs_dir, settings.name)
    _ask_about_remote_code(settings, yes=yes)
    with lock_run(folder) if is_first_rank() else nullcontext():
        context = context_from(settings, strict=strict)
        if context.ranks.is_first:
            settle_recipe(folder, settings)
            if len(_stages_done(folder)) < len(settings.stages):
                look_ahead(settings, strict=strict, source=str(file))
            if branch:
                take_over(origin, folder, settings, context)
        context.ranks.barrier()
        run_round(folder, settings, context)


@app.command(
    "round",
    epilog=examples("kleash round quickstart", "kleash round quickstart --set refresh.start=previous"),
)
def one_more_round(
    run: Annotated[str, typer.Argument(help="Name or folder of a run.")],
    overrides: Overrides = None,
    runs_dir: RunsFolder = RUNS,
    strict: Strict = False,
) -> None:
    """Go round once more: label fresh answers of the current policy, refresh the reward model, train on a new leash."""
    from kleash.cli.options import context_from
    from kleash.durable import lock_run
    from kleash.recipe import load_recipe

    folder = find_run(run, runs_dir)
    num_begun = len(list(folder.glob("round-*")))
    with lock_run(folder) if is_first_rank() else nullcontext():
        settings = load_recipe(folder / RECIPE_FILE, overrides or []).settings
        is_whole = num_begun == settings.rounds and (folder / SUMMARY_FILE).is_file()
        more = settings.model_copy(update={"rounds": max(settings.rounds, num_begun) + (1 if is_whole else 0)})
        context = context_from(more, strict=strict)
        if context.ranks.is_first:
            settle_recipe(folder, more)
            (folder / SUMMARY_FILE).unlink(missing_ok=True)
        context.ranks.barrier()
        run_round(folder, more, context)


def run_folder(runs: Path, name: str) -> Path:
    """Return runs/NAME. Raises SettingsError for a name that is no plain folder name."""
    if name in ("", ".", "..") or Path(name).name != name:
        raise SettingsError(
            f"A run cannot be named {name!r}. Expected a plain folder name, such as quickstart-2. Choose another, and "
            "say where runs are kept by --runs-dir."
        )
    return runs / name


def settle_recipe(folder: Path, recipe: Recipe) -> None:
    """Write the resolved recipe into a new run; refuse one that differs from what an existing run was begun with."""
    from kleash.durable import clear_write_errors, write_text
    from kleash.recipe import Recipe
    from kleash.settings import difference, dump_toml, load_toml

    path = folder / RECIPE_FILE
    if path.exists():
        begun = load_toml(path, Recipe).settings
        changes = difference(*(kept.model_dump(mode="json", exclude=_FREE_SETTINGS) for kept in (begun, recipe)))
        if changes:
            raise SettingsError(
                f"Run {folder} was begun with other settings: {'; '.join(changes)}. An existing run keeps its "
                "settings. Set them back, or add --branch NAME to start a sibling run that takes over every stage "
                "these changes leave as it is."
            )
    with clear_write_errors("recipe", path):
        write_text(path, dump_toml(recipe))


def run_round(folder: Path, recipe: Recipe, context: StageContext) -> None:
    """Run every stage of every round, say what each left behind, and show the result."""
    from kleash.cli.tables import in_a_line, result_tables
    from kleash.monitor.report import REPORT_FILE, write_report
    from kleash.stages.round import run_rounds
    from kleash.stages.summary import summarise_rounds, write_summary

    done_before = _stages_done(folder)
    screen = remarks()
    screen.print(f"{folder}: {' → '.join(recipe.stages)}", style="bold")

    def announce(one: Round, stage: str, artifact: Artifact) -> None:
        if one.before and stage == one.stages[0]:
            screen.print(f"{one.folder.name}: {' → '.join(one.stages)}", style="bold")
        screen.print(f"✓ {in_a_line(stage, artifact, done_before=artifact.path in done_before)}")

    made = run_rounds(recipe, folder, context, announce)
    if not context.ranks.is_first:
        return
    num_stages = sum(len(one.stages) for one in made)
    is_finished = len(done_before) == num_stages and (folder / SUMMARY_FILE).is_file()
    summary = read_summary(folder) if is_finished else summarise_rounds(made)
    if not is_finished:
        write_summary(folder, summary)
    report = folder / REPORT_FILE
    if not is_finished or not report.is_file():
        report = write_report(folder)
    for table in result_tables(summary):
        results().print(table)
    results().print(f"Report: {report}", soft_wrap=True)


def _stages_done(folder: Path) -> set[Path]:
    return {manifest.parent for manifest in folder.glob(f"round-*/*/{MANIFEST}")}


def read_summary(folder: Path) -> dict[str, Any]:
    """Return a finished run's figures. Raises RunError if the file is damaged."""
    remedy = (
        "Expected the JSON that `kleash run` writes. Remove it and run the recipe again; finished stages are not "
        "repeated."
    )
    return read_object(folder / SUMMARY_FILE, remedy=remedy)


# ----------------------------------------------------------------------------------------------------------- branch
def take_over(origin: Path, folder: Path, recipe: Recipe, context: StageContext) -> None:
    """Copy the origin's finished stages, in order, up to the first that the recipe would make otherwise."""
    from kleash.stages.round import Round

    branch = Round(recipe, folder / ROUND, context)
    for stage in recipe.stages:
        source, target = origin / ROUND / stage, branch.folder / stage
        if not target.exists() and (not (source / MANIFEST).is_file() or _is_begun(target)):
            return
        is_copy = not target.exists()
        if is_copy:
            _copy_artifact(source, target)
        if not _fits(branch, stage, target):
            if is_copy:
                shutil.rmtree(target)
            return
        if is_copy:
            remarks().print(f"Taken over from {origin.name}: {stage}")


def _fits(branch: Round, stage: str, target: Path) -> bool:
    """Say whether the stage accepts the finished artifact; it compares settings and parents before it does anything."""
    try:
        branch.made[stage] = getattr(branch, stage)(target)
    except SettingsError:
        return False
    return True


def _copy_artifact(source: Path, target: Path) -> None:
    from kleash.durable import clear_write_errors, partial_path, publish

    # Not the stage's own partial name: a copy that was killed half-way must not pass for a stage under way.
    partial = partial_path(target.with_name(f"{target.name}.copy"))
    with clear_write_errors("branch", target):
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(source, partial, copy_function=_link_or_copy)
        publish(partial, target)


def _link_or_copy(source: str, target: str) -> None:
    """Share the bytes where the file system can: artifacts are never written to again."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _is_begun(target: Path) -> bool:
    from kleash.durable import partial_path

    return partial_path(target).exists()


def _check_origin(origin: Path, branch: str) -> None:
    if origin.name == branch:
        raise SettingsError(
            f"--branch {branch} names the run itself. Expected a name for a sibling of {origin}. Choose another."
        )
    if not is_run(origin):
        raise RunError(
            f"There is no run {origin} to branch from. Expected an existing run. Leave out --branch to start it, or "
            "name the run to branch from by --name."
        )


def _ask_about_remote_code(recipe: Recipe, *, yes: bool) -> None:
    """Ask before running a stranger's code, where there is somebody to ask; elsewhere the recipe's word counts."""
    if recipe.model.trust_remote_code and not yes and sys.stdin.isatty():
        typer.confirm(f"Run the Python code that comes with the model {recipe.base}?", abort=True, err=True)
