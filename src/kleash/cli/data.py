"""`kleash data check` and `show`: what a data file was understood as, and as which tokens it will be trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kleash.cli.options import SOURCE, FormatName, SliceColumns, SystemPrompt, TurnsOption, examples
from kleash.screen import remarks, results

DataFile = Annotated[str, typer.Argument(help=SOURCE)]
KindOfFile = Annotated[
    str | None, typer.Option("--kind", help="Read it as: prompts, demonstrations, preferences, labelled ...")
]

app = typer.Typer(help="Look at data files.", epilog=examples("kleash data check pairs.jsonl"))


@app.callback()
def _group() -> None:
    """Look at data files."""


@app.command(
    epilog=examples(
        "kleash data check pairs.jsonl --tokenizer models/base",
        "kleash data check evaluation.jsonl --against prompts.jsonl --strict",
    )
)
def check(
    file: DataFile,
    kind: KindOfFile = None,
    tokenizer: Annotated[
        str | None, typer.Option("--tokenizer", help="Model folder, to measure lengths in tokens.")
    ] = None,
    against: Annotated[
        str | None, typer.Option("--against", help="A second file whose prompts should not occur here.")
    ] = None,
    format: FormatName = None,
    slices: SliceColumns = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 2 if any row is bad.")] = False,
) -> None:
    """Say what a file was understood as, which rows are bad and why, and what is odd about it."""
    from typing import get_args

    from kleash.data.inspection import inspect_file, render
    from kleash.errors import SettingsError
    from kleash.formats import Kind

    if kind is not None and kind not in get_args(Kind):
        raise SettingsError(f"There is no kind {kind!r}. Expected one of {', '.join(get_args(Kind))}. Use one of them.")
    report = inspect_file(
        file,
        kind=kind,  # type: ignore[arg-type]
        tokenizer=tokenizer,
        against=against,
        format=format,
        slice_columns=slices or (),
        strict=strict,
    )
    if tokenizer is not None and Path(tokenizer).is_dir():
        from kleash.cli.tokens import held_against_template

        report = held_against_template(report, tokenizer, is_strict=strict)
    results().print(render(report))


@app.command(
    epilog=examples(
        "kleash data show pairs.jsonl --tokenizer models/base -n 3",
        'kleash data show talks.jsonl --tokenizer models/chat --turns chat --system-prompt "Be brief."',
    )
)
def show(
    file: DataFile,
    tokenizer: Annotated[str, typer.Option("--tokenizer", help="Model folder whose tokenizer and template are used.")],
    num_rows: Annotated[int, typer.Option("-n", "--num-rows", min=1, help="Show the first so many rows.")] = 3,
    turns: TurnsOption = "auto",
    system_prompt: SystemPrompt = None,
    kind: KindOfFile = None,
    format: FormatName = None,
) -> None:
    """Print the first rows as the tokens that will be trained: what is learnt stands in ⟦ ⟧, in green."""
    from kleash.cli.tokens import LEGEND, tokens_of_file

    remarks().print(LEGEND, style="dim")
    for part in tokens_of_file(
        file, tokenizer, num_rows=num_rows, turns=turns, system_prompt=system_prompt, kind=kind, format=format
    ):
        results().print(part, soft_wrap=True)
