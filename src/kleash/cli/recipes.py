"""`kleash recipe`: start a recipe, check one before compute is spent, explain every setting there is."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

import typer

from kleash.cli.options import Overrides, Strict, examples
from kleash.errors import SettingsError
from kleash.screen import results

if TYPE_CHECKING:
    from pydantic import BaseModel

    from kleash.recipe import Recipe

app = typer.Typer(
    help="Write, check and explain recipes.",
    epilog=examples("kleash recipe new mine.toml", "kleash recipe explain policy.leash"),
)

STARTER = Path(__file__).parent / "starter.toml"
"""What a recipe of one's own begins as; NAME is its name."""


@app.command(epilog=examples("kleash recipe new mine.toml", "kleash recipe new mine.toml --from quickstart"))
def new(
    file: Annotated[Path, typer.Argument(help="File to write.")],
    origin: Annotated[str | None, typer.Option("--from", help="Recipe to copy, such as quickstart.")] = None,
) -> None:
    """Write a commented recipe for your own model and data, or a copy of another recipe."""
    from kleash.durable import clear_write_errors, write_text
    from kleash.locations import find_recipe

    if file.exists():
        raise SettingsError(f"{file} exists already. Expected a file to be made. Choose another name, or remove it.")
    text = (find_recipe(origin) if origin else STARTER).read_text(encoding="utf-8")
    text = text if origin else text.replace("NAME", file.stem)
    with clear_write_errors("recipe", file):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, text)
    results().print(
        f"{file}\nNext: edit it, then `kleash recipe check {file}` and `kleash run {file}`.", soft_wrap=True
    )


@app.command(epilog=examples("kleash recipe check mine.toml --set policy.steps=20 --memory 24GB"))
def check(
    recipe: Annotated[str, typer.Argument(help="Recipe file, or the name of a shipped one.")],
    overrides: Overrides = None,
    strict: Strict = False,
    memory: Annotated[
        str | None,
        typer.Option("--memory", help="What there is, such as 24GB: says what to change if it is less."),
    ] = None,
) -> None:
    """Check every setting and data file of a recipe; say what would run, in how much memory and about how long."""
    from kleash.cli.tables import rows_table
    from kleash.locations import find_recipe
    from kleash.plan import bytes_in
    from kleash.preflight import look_ahead
    from kleash.recipe import load_recipe

    path = find_recipe(recipe)
    settings = load_recipe(path, overrides or [])
    rows = look_ahead(settings, strict=strict, source=str(path))
    results().print(rows_table(("what", "is"), rows))
    results().print(f"✓ {path} would run: {' → '.join(settings.stages)}", soft_wrap=True)
    _print_plan(settings, dict(rows).get("base", ""), bytes_in(memory) if memory else None)


@app.command(epilog=examples("kleash recipe explain", "kleash recipe explain policy.leash.target_nats"))
def explain(
    setting: Annotated[str | None, typer.Argument(help="A setting or a table, such as policy.leash.")] = None,
) -> None:
    """Print every setting of a recipe, or those below one name: type, default and what it does."""
    from rich.text import Text

    from kleash.cli.tables import rows_table
    from kleash.recipe import Recipe

    known = list(settings_of(Recipe))
    chosen = [entry for entry in known if setting is None or f"{entry.name}.".startswith(f"{setting}.")]
    if not chosen:
        tables = {entry.name.rpartition(".")[0] for entry in known} - {""}
        nearest = difflib.get_close_matches(str(setting), [*(entry.name for entry in known), *tables], n=1, cutoff=0.5)
        hint = f" Did you mean {nearest[0]}?" if nearest else ""
        raise SettingsError(f"There is no setting {setting}.{hint} Expected a name that `kleash recipe explain` lists.")
    rows = [(Text(entry.name, style="bold"), entry.type, entry.default, entry.description) for entry in chosen]
    table = rows_table(("setting", "type", "default", "what it is"), rows)
    table.columns[0].no_wrap = True
    results().print(table)


@dataclass(frozen=True)
class Setting:
    """One setting as `explain` shows it: dotted name, type with its limits, default as TOML, description."""

    name: str
    type: str
    default: str
    description: str


def settings_of(model_class: type[BaseModel], prefix: str = "") -> Iterator[Setting]:
    """Yield every setting of a record and of the records in it, in the order in which they are declared."""
    from pydantic import BaseModel

    for name, field in model_class.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from settings_of(field.annotation, f"{prefix}{name}.")
            continue
        limits = [str(limit) for limit in map(_limit, field.metadata) if limit]
        type_ = ", ".join([_type_name(field.annotation), *limits])
        default = "(required)" if field.is_required() else _as_toml(field.get_default(call_default_factory=True))
        yield Setting(f"{prefix}{name}", type_, default, field.description or name.replace("_", " "))


# ----------------------------------------------------------------------------------------------------------- inside
def _print_plan(recipe: Recipe, base: str, limit: float | None) -> None:
    """Print memory by role and time by stage, and what to change where the memory is more than there is."""
    from kleash.cli.tables import rows_table
    from kleash.plan import memory_of, proposals, size_text, times_of
    from kleash.plan_probe import plan_of
    from kleash.web.wording import duration

    if not Path(base, "config.json").is_file():
        results().print("No plan of memory and time: no base is on this machine yet.")
        return
    shape, lengths, rows, speeds = plan_of(recipe, Path(base))
    of = lengths["policy"]
    need = memory_of(recipe, shape, of)
    dearest = max(need.passing, key=need.passing.__getitem__)
    sizes = {**need.held, f"at most, while {dearest}": need.passing[dearest], "together": need.peak}
    held = [(name, size_text(size)) for name, size in sizes.items()]
    results().print(rows_table(("memory, beside the program's own", "about"), held, right=["about"]))
    times = [
        (one.stage, f"{one.steps:,}", duration(one.seconds_per_step), duration(one.seconds))
        for one in times_of(recipe, shape, lengths, speeds, rows)
    ]
    if times:
        results().print(rows_table(("training", "steps", "a step", "in all, on this machine"), times))
    how = "assumed, for no file of them is there yet" if of.is_assumed else "the file's mean"
    results().print(
        f"For prompts of {of.prompt:.0f} tokens ({how}) and answers of {of.answer:.0f}, the policy's limit; from a "
        "short probe of layers of this shape.",
        soft_wrap=True,
    )
    if limit is None or need.peak <= limit:
        return
    changes = list(proposals(recipe, shape, of, limit))
    fits = bool(changes) and changes[-1][1].peak <= limit
    results().print(f"More than {size_text(limit)}. {'It fits with' if fits else 'It does not fit even with'}")
    for change, then in changes:
        results().print(f"  {change}  # then {size_text(then.peak)}", soft_wrap=True)


def _type_name(annotation: Any) -> str:
    """Return a type in a reader's words: number, text, one of these, a list."""
    arguments = get_args(annotation)
    names = {int: "whole number", float: "number", bool: "true or false", str: "text", Path: "path", type(None): "none"}
    if annotation in names:
        return names[annotation]
    if get_origin(annotation) is tuple:
        of = _type_name(arguments[0])
        return f"list of {of}" if "|" in of else f"list of {of}s"
    if get_origin(annotation) is Annotated:
        return _type_name(arguments[0])
    if get_origin(annotation) is dict:
        return f"table of {_type_name(arguments[1])}s"
    if arguments and all(isinstance(argument, str) for argument in arguments):
        return " | ".join(arguments)
    return " or ".join(map(_type_name, arguments)) if arguments else str(annotation)


def _limit(constraint: Any) -> str:
    """Return one limit of a field, such as "at least 1", from pydantic's own record of it."""
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    return "".join(f"{word} {getattr(constraint, name)}" for name, word in words.items() if hasattr(constraint, name))


def _as_toml(value: Any) -> str:
    from kleash.settings import dump_toml

    if value == {}:
        return "{}"
    return "none" if value is None else dump_toml({"x": value}).removeprefix("x = ").strip()
