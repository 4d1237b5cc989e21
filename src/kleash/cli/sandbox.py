"""`kleash sandbox`: the built-in world, shown, written as files, and its base model made again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kleash.cli.options import OutputDir, Seed, examples
from kleash.errors import ArtifactError
from kleash.screen import remarks, results

app = typer.Typer(
    help="The built-in world, whose true reward is known.",
    epilog=examples("kleash sandbox show"),
)


@app.command(epilog=examples("kleash sandbox show --seed 3"))
def show(seed: Seed = 0) -> None:
    """Show a prompt of every slice with a good, a bad and a flattering answer, and what each is truly worth."""
    from kleash.sandbox.show import print_examples

    print_examples(seed=seed)


@app.command(epilog=examples("kleash sandbox write --into data/sandbox --demonstrations 3000"))
def write(
    output_dir: Annotated[Path, typer.Option("--into", help="Folder for the files; made if missing.")],
    demonstrations: Annotated[int, typer.Option(min=1, help="Prompts with good answers.")] = 12_000,
    prompts: Annotated[int, typer.Option(min=1, help="Prompts to train on.")] = 6_000,
    evaluation_per_slice: Annotated[int, typer.Option(min=1, help="Prompts kept apart, per slice.")] = 100,
    seed: Seed = 0,
) -> None:
    """Write the world as data files, such as you would bring of your own."""
    from kleash.durable import clear_write_errors
    from kleash.sandbox.files import write_files

    with clear_write_errors("sandbox files", output_dir):
        write_files(
            output_dir,
            seed=seed,
            num_demonstrations=demonstrations,
            num_prompts=prompts,
            num_evaluation_per_slice=evaluation_per_slice,
        )
    for path in sorted(output_dir.glob("*.jsonl")):
        results().print(path, soft_wrap=True)


@app.command(epilog=examples("kleash sandbox suite --into data/sandbox-suite.jsonl --per-slice 50"))
def suite(
    output_dir: Annotated[Path, typer.Option("--into", help="File of the suite.")],
    per_slice: Annotated[int, typer.Option(min=1, help="Held-out prompts per slice.")] = 50,
) -> None:
    """Write held-out prompts with their right answers, as a suite for `kleash evaluate`."""
    from kleash.durable import clear_write_errors
    from kleash.sandbox.files import write_suite

    with clear_write_errors("suite", output_dir):
        write_suite(output_dir, num_per_slice=per_slice)
    results().print(output_dir, soft_wrap=True)


@app.command(epilog=examples("kleash sandbox base --into models/sandbox-base"))
def base(
    output_dir: OutputDir,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps; the shipped model had the default.")] = 4600,
    seed: Seed = 0,
) -> None:
    """Train the world's small base model from nothing, as the shipped one was; takes a while on a CPU."""
    from kleash.cli.tables import rows_table
    from kleash.durable import clear_write_errors, partial_path, publish
    from kleash.sandbox.base_model import train_base
    from kleash.web.wording import percent

    if output_dir.exists():
        raise ArtifactError(f"{output_dir} exists already. Expected a folder to be made. Choose another, or remove it.")
    screen = remarks()
    with clear_write_errors("base model", output_dir):
        output_dir.parent.mkdir(parents=True, exist_ok=True)
        found = train_base(partial_path(output_dir), seed=seed, num_steps=steps, report=screen.print)
        publish(partial_path(output_dir), output_dir)
    rows = [(topic, percent(share)) for topic, share in found.accuracy.items()]
    results().print(rows_table(("slice", "right greedy answers"), rows))
    results().print(output_dir, soft_wrap=True)
