"""`kleash run`: a recipe from its first unfinished stage to the report; the same command again goes on or shows it.

What a run is on the disk, and how it is carried out, is in `runs.py`; here is what the screen shows of it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kleash.artifacts import Artifact
from kleash.cli.options import RUNS, Overrides, RunsFolder, Strict, examples
from kleash.locations import RECIPE_FILE, find_recipe, find_run
from kleash.runs import Announcer, carry_out, go_round_again, read_summary
from kleash.screen import is_first_rank, remarks, results

if TYPE_CHECKING:
    from kleash.recipe import Recipe
    from kleash.stages.round import Round

app = typer.Typer()


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
    from kleash.recipe import load_recipe

    file = find_recipe(recipe)
    changes = [*(overrides or []), *([f"name={json.dumps(name)}"] if name else [])]
    settings = load_recipe(
        file, changes, is_begun=lambda recipe: (runs_dir / (branch or recipe.name) / RECIPE_FILE).exists()
    )
    _ask_about_remote_code(settings, yes=yes)
    screen = RunOnScreen()
    folder = carry_out(settings, runs_dir, announcer=screen, branch=branch, is_strict=strict, source=str(file))
    screen.show_result(folder)


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
    folder = find_run(run, runs_dir)
    screen = RunOnScreen()
    go_round_again(folder, overrides or [], announcer=screen, is_strict=strict)
    screen.show_result(folder)


class RunOnScreen(Announcer):
    """Says a line about each stage on the way, on standard error, and shows the result at the end."""

    def run_begins(self, folder: Path, recipe: Recipe) -> None:
        remarks().print(f"{folder}: {' → '.join(recipe.stages)}", style="bold")

    def stage_is_done(self, one: Round, stage: str, artifact: Artifact, *, was_done: bool) -> None:
        from kleash.cli.tables import in_a_line

        if one.before and stage == one.stages[0]:
            remarks().print(f"{one.folder.name}: {' → '.join(one.stages)}", style="bold")
        remarks().print(f"✓ {in_a_line(stage, artifact, done_before=was_done)}")

    def stage_is_taken_over(self, origin: Path, stage: str) -> None:
        remarks().print(f"Taken over from {origin.name}: {stage}")

    def show_result(self, folder: Path) -> None:
        """Print the tables of a finished run, and where its report is."""
        from kleash.cli.tables import result_tables
        from kleash.monitor.pages.report import REPORT_FILE

        if not is_first_rank():
            return
        for table in result_tables(read_summary(folder)):
            results().print(table)
        results().print(f"Report: {folder / REPORT_FILE}", soft_wrap=True)


def _ask_about_remote_code(recipe: Recipe, *, yes: bool) -> None:
    """Ask before running a stranger's code, where there is somebody to ask; elsewhere the recipe's word counts."""
    if recipe.model.trust_remote_code and not yes and sys.stdin.isatty():
        typer.confirm(f"Run the Python code that comes with the model {recipe.base}?", abort=True, err=True)
