"""Look at what is there: figures, report, lineage, integrity, plug-ins. No model is loaded and nothing is trained."""

from __future__ import annotations

from typing import Annotated

import typer

from kleash.cli.options import RUNS, RunsFolder, examples
from kleash.errors import ArtifactError
from kleash.locations import find_run, find_run_or_artifact
from kleash.runs import summary_of, vouch
from kleash.screen import results, show_json

app = typer.Typer()

EXIT_ALTERED = 1

RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run: its name, or its folder.")]
RunOrArtifact = Annotated[str, typer.Argument(metavar="RUN|ARTIFACT", help="A run, RUN/STAGE, or an artifact folder.")]


@app.command(epilog=examples("kleash summary quickstart", "kleash summary quickstart --json"))
def summary(
    run: RunName,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
    runs_dir: RunsFolder = RUNS,
) -> None:
    """Show a run's figures; of an unfinished run, those there are so far."""
    from kleash.cli.tables import result_tables

    folder = find_run(run, runs_dir)
    figures = summary_of(folder)
    if as_json:
        show_json(figures.to_json(), indent=2)
        return
    for table in result_tables(figures):
        results().print(table)
    if figures.unfinished:
        results().print(f"Still to do: {', '.join(figures.unfinished)}", style="yellow")


@app.command(epilog=examples("kleash report quickstart"))
def report(run: RunName, runs_dir: RunsFolder = RUNS) -> None:
    """Write the report of a run, finished or not: one HTML file that works offline. Prints its path."""
    from kleash.monitor.pages.report import write_report

    results().print(write_report(find_run(run, runs_dir)), soft_wrap=True)


@app.command(epilog=examples("kleash lineage quickstart", "kleash lineage quickstart --label expert-1"))
def lineage(
    source: RunOrArtifact,
    label: Annotated[
        str | None, typer.Option("--label", help="A comparison's id or a rater's name: list what it entered.")
    ] = None,
    runs_dir: RunsFolder = RUNS,
) -> None:
    """Show what a result was made from, down to the labels, and what was made from it."""
    from kleash.lineage import describe, labels_behind, lineage_of, made_with_label, render

    found = lineage_of(find_run_or_artifact(source, runs_dir))
    screen = results()
    if label is not None:
        entered = made_with_label(found, label)
        if not entered:
            raise ArtifactError(
                f"No artifact around {source} holds a label {label!r}. Expected a comparison's id or a rater's name, "
                "as in judgements.jsonl. Correct it, or name the run that collected it."
            )
        screen.print(f"{label} entered:")
        for artifact in entered:
            screen.print(f"  {describe(artifact)}", soft_wrap=True)
        return
    for line in render(found):
        screen.print(line, soft_wrap=True)
    for identity in found.focus:
        labels = list(labels_behind(found, identity))
        if labels and not found.children_of(identity):
            raters = {row.get("rater") for row in labels}
            text = f"{describe(found.artifacts[identity])} rests on {len(labels):,} judgements by {len(raters)} raters"
            screen.print(text, soft_wrap=True)


@app.command(epilog=examples("kleash verify quickstart", "kleash verify runs/quickstart/round-000/policy"))
def verify(source: RunOrArtifact, runs_dir: RunsFolder = RUNS) -> None:
    """Hash every file again and compare with what is recorded; exits with 1 when something was altered."""
    folder = find_run_or_artifact(source, runs_dir)
    problems, unvouched = vouch(folder)
    screen = results()
    for remark in unvouched:
        screen.print(f"? {remark}", style="dim", soft_wrap=True)
    for problem in problems:
        screen.print(f"✗ {problem}", style="red", soft_wrap=True)
    if problems:
        raise typer.Exit(EXIT_ALTERED)
    screen.print(f"✓ {folder} is whole: every file is what its manifest says", soft_wrap=True)


@app.command(epilog=examples("kleash plugins"))
def plugins() -> None:
    """List what a recipe may name: trackers, worlds, comparers, scorers; built in or installed."""
    from kleash.cli.tables import rows_table
    from kleash.plugins import list_plugins

    rows = [(plugin.kind, plugin.name, plugin.package, plugin.target) for plugin in list_plugins()]
    results().print(rows_table(("kind", "name", "package", "where"), rows))
