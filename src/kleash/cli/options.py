"""Options that several commands share, each said once."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import is_dataclass
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from kleash.settings import SettingsT, load_toml, names_of

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
TopK = Annotated[int | None, typer.Option("--top-k", min=1, help="Sample from so many likeliest tokens alone.")]
TopP = Annotated[
    float, typer.Option("--top-p", min=0.001, max=1, help="Sample from the likeliest tokens that hold this share.")
]
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
FormatName = Annotated[str | None, typer.Option("--format", help="Name of the format, if it is not found out.")]
SliceColumns = Annotated[
    list[str] | None, typer.Option("--slice", help="Column to keep as a slice; may be given often.")
]

RUNS = Path("runs")
SOURCE = "A file, a folder of shards, FOLDER:SPLIT, a quoted pattern, an artifact, or hub:owner/name[:split]."


def unfolded(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command for typer in which each parameter that is a dataclass stands for the options of its fields."""
    kinds = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in kinds.items() if is_dataclass(kind)}

    def run(**given: Any) -> None:
        for name, kind in groups.items():
            given[name] = kind(**{option: given.pop(option) for option in signature(kind).parameters})
        command(**given)

    parameters: dict[str, Parameter] = {}
    for name, parameter in signature(command).parameters.items():
        of = groups.get(name)
        own = signature(of).parameters.values() if of else [parameter]
        hints = get_type_hints(of, include_extras=True) if of else kinds
        parameters |= {one.name: one.replace(kind=Parameter.KEYWORD_ONLY, annotation=hints[one.name]) for one in own}
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = Signature(list(parameters.values()))  # type: ignore[attr-defined]  # what typer reads
    run.__annotations__ = {name: parameter.annotation for name, parameter in parameters.items()}
    return run


def examples(*commands: str) -> str:
    """Return the last lines of a command's help: whole commands to copy."""
    return "\n\n".join(["Example:" if len(commands) == 1 else "Examples:", *commands])


def settings_for_stage(recipe: str | None, overrides: list[str] | None) -> Recipe:
    """Return a recipe's settings for one stage alone; unlike `run`, the other stages need not make sense."""
    from kleash.idle_settings import refuse_idle_settings
    from kleash.locations import find_recipe
    from kleash.recipe import Recipe

    settings = settings_from(Recipe, overrides, find_recipe(recipe) if recipe else None)
    refuse_idle_settings(settings, names_of(overrides or []))
    return settings


def settings_from(model_class: type[SettingsT], overrides: list[str] | None, file: Path | None = None) -> SettingsT:
    """Return settings made of a file and `--set`; without one of defaults and `--set` alone, as an empty file says."""
    return load_toml(file or Path(os.devnull), model_class, overrides or [])
