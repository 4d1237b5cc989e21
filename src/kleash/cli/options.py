"""Options that several commands share, each said once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kleash.settings import SettingsT, load_toml

if TYPE_CHECKING:
    from kleash.recipe import Recipe

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Change one setting of the recipe; may be given often."),
]
RunsFolder = Annotated[Path, typer.Option("--runs-dir", help="Folder that holds the runs.")]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse a data file with bad rows instead of leaving them out.")]
RecipeFile = Annotated[
    str | None, typer.Option("--recipe", help="Recipe whose settings to use; without one, the defaults.")
]
OutputDir = Annotated[Path, typer.Option("--into", help="Folder of the artifact to make.")]
Device = Annotated[str, typer.Option("--device", help="auto (a GPU if there is one), cpu, cuda, cuda:1 ...")]
MaxNewTokens = Annotated[int, typer.Option("--max-new-tokens", min=1, help="Longest answer, in tokens.")]
Temperature = Annotated[float, typer.Option("--temperature", min=0, help="Sampling temperature; 0 = likeliest token.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of the sampling; the same seed gives the same answers.")]
TurnsOption = Annotated[
    Literal["auto", "chat", "text"],
    typer.Option(
        "--turns",
        help="Plain prompts: a user's turn of the chat template, as they stand, or as the model was trained.",
    ),
]
SystemPrompt = Annotated[
    str | None, typer.Option("--system-prompt", help="A system turn before prompts that have none.")
]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run Python code that comes with the model folder.")
]

RUNS = Path("runs")
SOURCE = "A file, a folder of shards, FOLDER:SPLIT, a quoted pattern, an artifact, or hub:owner/name[:split]."


def examples(*commands: str) -> str:
    """Return the last lines of a command's help: whole commands to copy."""
    return "\n\n".join(["Example:" if len(commands) == 1 else "Examples:", *commands])


def settings_for_stage(recipe: str | None, overrides: list[str] | None) -> Recipe:
    """Return a recipe's settings for one stage alone; unlike `run`, the other stages need not make sense."""
    from kleash.locations import find_recipe
    from kleash.recipe import Recipe

    return (
        load_toml(find_recipe(recipe), Recipe, overrides or []).settings if recipe else settings_from(Recipe, overrides)
    )


def settings_from(model_class: type[SettingsT], overrides: list[str] | None) -> SettingsT:
    """Return settings made of defaults and `--set` alone."""
    # Without a file there are only defaults and overrides: an empty file says just that.
    return load_toml(Path(os.devnull), model_class, overrides or []).settings
