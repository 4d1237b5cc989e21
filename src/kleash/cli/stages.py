"""One command per stage, on folders and files: what `kleash run` does in a row, here one by one.

The commands are made from the rows of `stages/table.py`: a row's inputs are options. Settings come from the recipe's
tables (defaults without a recipe) and `--set`. Each command resumes what it began, and shows the artifact where it is
finished.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from inspect import Parameter, Signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kleash.artifacts import Artifact
from kleash.cli.options import RUNS, OutputDir, Overrides, RecipeFile, RunsFolder, Strict, examples, settings_for_stage
from kleash.screen import results
from kleash.stages.table import STAGES, Input, Stage

if TYPE_CHECKING:
    from rich.table import Table

    from kleash.recipe import Recipe
    from kleash.stages.context import StageContext

app = typer.Typer()

PANEL = "Stages, one by one"

_SHARED: Mapping[str, tuple[Any, Any]] = {
    "recipe": (RecipeFile, None),
    "overrides": (Overrides, None),
    "strict": (Strict, False),
    "runs_dir": (RunsFolder, RUNS),
}
_ACCEPT = Annotated[
    str | None, typer.Option("--accept-failed-audit", metavar="WHY", help="Train on a model that failed; recorded.")
]


def stage_command(stage: Stage) -> Callable[..., None]:
    """Return the command of a stage, with an option for each of its inputs."""
    options = [row for row in stage.inputs if row.help]
    parameters = {row.name: (_annotation(row), None if _may_lack(row) else Parameter.empty) for row in options}
    parameters["output_dir"] = (OutputDir, Parameter.empty)
    if "audits" in parameters:
        parameters["accept_failed_audit"] = (_ACCEPT, None)
    parameters |= _SHARED

    def command(
        output_dir: Path,
        recipe: str | None,
        overrides: list[str] | None,
        strict: bool,
        runs_dir: Path,
        accept_failed_audit: str | None = None,
        **inputs: Any,
    ) -> None:
        changes = list(overrides or [])
        if accept_failed_audit:
            changes.append(f"scorer.accept_failed_audit={json.dumps(accept_failed_audit)}")
        read_inputs = {row.name: _read(row, inputs[row.name], runs_dir) for row in options}
        make_and_show(stage.name, read_inputs, output_dir, recipe=recipe, overrides=changes, strict=strict)

    kinds = {name: annotation for name, (annotation, _) in parameters.items()}
    ordered = sorted(parameters.items(), key=lambda item: item[1][1] is not Parameter.empty)
    signature = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in ordered
    ]
    command.__signature__ = Signature(signature)  # type: ignore[attr-defined]  # what typer reads
    command.__annotations__ = kinds
    command.__name__, command.__doc__ = stage.name, stage.about
    return command


def _annotation(row: Input) -> Any:
    kind: Any = Path if row.reads in ("path", "artifact") else str
    kind = list[kind] if row.is_many else kind
    if row.reads == "reward_model":
        return Annotated[kind, typer.Argument(help=row.help)]
    return Annotated[kind | None if _may_lack(row) else kind, typer.Option(row.flag, help=row.help)]


def _may_lack(row: Input) -> bool:
    return row.is_optional or bool(row.alternative or row.when)


def _read(row: Input, value: Any, runs_dir: Path) -> Any:
    """Turn what an option names into what the stage is made from."""
    from kleash.locations import find_policy

    if value is None or row.reads in ("path", "artifact"):
        return value
    if row.is_many:
        return [find_policy(one, runs_dir) for one in value]
    if row.reads == "reward_model" and ":" in value and not value.startswith("hub:") and not Path(value).exists():
        return value  # a function
    return find_policy(value, runs_dir)


for _stage in STAGES.values():
    if _stage.about:
        app.command(_stage.name.replace("_", "-"), rich_help_panel=PANEL, epilog=examples(*_stage.examples))(
            stage_command(_stage)
        )


# ------------------------------------------------------------------------------------------- shared with other commands
def make_and_show(
    stage: str,
    inputs: Mapping[str, Any],
    output_dir: Path,
    *,
    recipe: str | None,
    overrides: list[str] | None,
    strict: bool,
) -> None:
    """Make one stage's artifact from its inputs and show it."""

    def make(settings: Recipe, context: StageContext) -> Artifact:
        from kleash.stages import wiring

        return wiring.make(stage, settings, context, inputs, output_dir)

    run_stage(make, output_dir, recipe, overrides, strict=strict)


def run_stage(
    make: Callable[[Recipe, StageContext], Artifact],
    output_dir: Path,
    recipe: str | None,
    overrides: list[str] | None,
    *,
    strict: bool,
) -> None:
    """Make one artifact and show it."""
    from kleash.runs import context_from, locked

    settings = settings_for_stage(recipe, overrides)
    context = context_from(settings, strict=strict)
    with locked(output_dir):
        artifact = make(settings, context)
    screen = results()
    screen.print(f"{artifact.kind} {artifact.id} in {output_dir}", style="bold", soft_wrap=True)
    screen.print(*_tables(artifact), sep="\n")


def _tables(artifact: Artifact) -> list[Table]:
    """Return what an artifact came to, as its kind is best read."""
    from kleash.cli.suite_tables import suite_tables
    from kleash.cli.tables import figures_table, reasons_table
    from kleash.results import SuitesSummary

    if artifact.kind == "suites":
        return suite_tables(SuitesSummary.of(artifact))
    return [figures_table(artifact), *([reasons_table(artifact)] if artifact.kind == "audit" else [])]
