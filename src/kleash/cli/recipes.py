"""`kleash recipe`: start a recipe, check one before compute is spent, explain every setting there is."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

import typer

from kleash.cli.options import Overrides, Strict, examples
from kleash.cli.screen import results
from kleash.errors import KleashError, SettingsError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from kleash.recipe import Recipe

app = typer.Typer(
    help="Write, check and explain recipes.",
    epilog=examples("kleash recipe new mine.toml", "kleash recipe explain policy.leash"),
)

STARTER = """\
# A run on your own model and data. Check it with `kleash recipe check`, run it with `kleash run`.
# Every setting not named here has the default that `kleash recipe explain` prints.
name = "{name}"
about = "what this run is for"
seed = 0
base = "models/base"  # a Hugging Face folder with safetensors
stages = ["sft", "candidates", "preferences", "reward", "policy", "evaluation"]

[data]  # any layout that `kleash data check FILE` understands; paths are relative to where you run
demonstrations = "data/demonstrations.jsonl"  # {{"prompt": ..., "completion": ...}}
prompts = "data/prompts.jsonl"  # {{"prompt": ...}}, to train on
evaluation_prompts = "data/evaluation.jsonl"  # {{"prompt": ...}}, kept apart
preferences = "data/preferences.jsonl"  # {{"prompt": ..., "chosen": ..., "rejected": ...}}
# With your own preferences, nothing compares candidates: take "candidates" out of the stages to save the time.
# Without them, a Python function may compare: remove the line above and set preferences.comparer below.

[model]
device = "auto"
dtype = "bfloat16_autocast"  # computes in bfloat16 where that is safe; "float32" for exactness
lora_rank = 16  # 0 trains all weights, which needs about eight times the memory

[sft]
max_tokens = 512
[sft.fit]
epochs = 2.0
learning_rate = 1e-4

# [preferences]
# comparer = "my_judge:score"  # my_judge.py, score(prompt, completion) -> float; the higher one is preferred

[reward]
max_tokens = 512
[reward.fit]
learning_rate = 2e-5

[policy]
algorithm = "ppo"  # or rloo, grpo (both need samples_per_prompt of 2 or more), reinforce
steps = 100
prompts_per_step = 64
max_new_tokens = 128
[policy.leash]
target_nats = 4.0  # how far answers may move from SFT, in nats per answer
[policy.optimiser]
learning_rate = 2e-5

[evaluation]
judge = "proxy"  # better: "my_judge:score", something that did not train the policy
max_new_tokens = 128
"""


@app.command(epilog=examples("kleash recipe new mine.toml", "kleash recipe new mine.toml --from quickstart"))
def new(
    file: Annotated[Path, typer.Argument(help="File to write.")],
    origin: Annotated[str | None, typer.Option("--from", help="Recipe to copy, such as quickstart.")] = None,
) -> None:
    """Write a commented recipe for your own model and data, or a copy of another recipe."""
    from kleash.cli.places import find_recipe
    from kleash.durable import clear_write_errors, write_text

    if file.exists():
        raise SettingsError(f"{file} exists already. Expected a file to be made. Choose another name, or remove it.")
    text = find_recipe(origin).read_text(encoding="utf-8") if origin else STARTER.format(name=file.stem)
    with clear_write_errors("recipe", file):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, text)
    typer.echo(f"{file}\nNext: edit it, then `kleash recipe check {file}` and `kleash run {file}`.")


@app.command(epilog=examples("kleash recipe check mine.toml --set policy.steps=20"))
def check(
    recipe: Annotated[str, typer.Argument(help="Recipe file, or the name of a shipped one.")],
    overrides: Overrides = None,
    strict: Strict = False,
) -> None:
    """Check every setting and data file of a recipe, and say what would run. Nothing is computed."""
    from kleash.cli.places import find_recipe
    from kleash.cli.tables import rows_table
    from kleash.recipe import load_recipe

    path = find_recipe(recipe)
    settings = load_recipe(path, overrides or []).settings
    faults, rows = _look_at(settings, strict=strict)
    if faults:
        raise SettingsError(f"{path} cannot run yet. " + "\n".join(faults))
    results().print(rows_table(("what", "is"), rows))
    results().print(f"✓ {path} would run: {' → '.join(settings.stages)}", markup=False, soft_wrap=True)


@app.command(epilog=examples("kleash recipe explain", "kleash recipe explain policy.leash.target_nats"))
def explain(
    setting: Annotated[str | None, typer.Argument(help="A setting or a table, such as policy.leash.")] = None,
) -> None:
    """Print every setting of a recipe, or those below one name: type, default and what it does."""
    from rich.table import Table
    from rich.text import Text

    from kleash.recipe import Recipe

    known = list(settings_of(Recipe))
    chosen = [entry for entry in known if setting is None or f"{entry.name}.".startswith(f"{setting}.")]
    if not chosen:
        tables = {entry.name.rpartition(".")[0] for entry in known} - {""}
        nearest = difflib.get_close_matches(str(setting), [*(entry.name for entry in known), *tables], n=1, cutoff=0.5)
        hint = f" Did you mean {nearest[0]}?" if nearest else ""
        raise SettingsError(f"There is no setting {setting}.{hint} Expected a name that `kleash recipe explain` lists.")
    table = Table(box=None)
    for heading in ("setting", "type", "default", "what it is"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "setting")
    for entry in chosen:
        table.add_row(Text(entry.name, style="bold"), Text(entry.type), Text(entry.default), Text(entry.description))
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
def _look_at(recipe: Recipe, *, strict: bool) -> tuple[list[str], list[tuple[str, str]]]:
    """Return what stands in a recipe's way, and what each thing it names turned out to be."""
    faults: list[str] = []
    rows: list[tuple[str, str]] = []
    for what, look in _things_named(recipe, strict=strict):
        try:
            rows.append((what, look()))
        except KleashError as error:
            faults.append(f"{what}: {error}")
    return faults, rows


def _things_named(recipe: Recipe, *, strict: bool) -> Iterator[tuple[str, Any]]:
    from kleash import formats
    from kleash.models.folders import find_model_folder
    from kleash.plugins import resolve
    from kleash.stages.pretrain import read_documents

    if "pretrain" not in recipe.stages and recipe.base is not None:
        base = recipe.base
        # A hub model is not fetched for a check; whether it is there shows when the run starts.
        yield "base", lambda: base if base.startswith("hub:") else str(find_model_folder(base))
    elif "world" in recipe.stages:
        yield "base", lambda: str(find_model_folder(resolve("world_base", recipe.world.kind)()))
    readers = {
        "demonstrations": formats.read_demonstrations,
        "prompts": formats.read_prompts,
        "evaluation_prompts": formats.read_prompts,
        "preferences": formats.read_preferences,
    }
    for name, reader in readers.items():
        if (path := getattr(recipe.data, name)) is not None:
            yield f"data.{name}", lambda path=path, reader=reader: _counted(reader(path, strict=strict))
    if recipe.data.documents is not None:
        documents = recipe.data.documents
        yield "data.documents", lambda: f"{len(read_documents(documents)):,} documents"
    yield from _components_named(recipe)


def _components_named(recipe: Recipe) -> Iterator[tuple[str, Any]]:
    from kleash.algorithms.direct import DIRECT_ALGORITHMS
    from kleash.plugins import resolve
    from kleash.stages.policy import algorithm_named
    from kleash.stages.scoring import build_comparer

    if "world" in recipe.stages:
        yield "world.kind", lambda: _found(resolve("world", recipe.world.kind), recipe.world.kind)
    if "preferences" in recipe.stages and recipe.data.preferences is None:
        named = recipe.preferences.comparer
        yield "preferences.comparer", lambda: _found(build_comparer(recipe.preferences, seed=recipe.seed), named)
    if "policy" in recipe.stages:
        yield "policy.algorithm", lambda: algorithm_named(recipe.policy).name
        yield "scorer.kind", lambda: _scorer_named(recipe)
    if "direct" in recipe.stages:
        known = ", ".join(DIRECT_ALGORITHMS)
        yield "direct.algorithm", lambda: _one_of(recipe.direct.algorithm, known.split(", "))
    for tracker in recipe.trackers:
        yield f"trackers.{tracker}", lambda tracker=tracker: _found(resolve("tracker", tracker), tracker)


def _scorer_named(recipe: Recipe) -> str:
    from kleash.judges.function import FunctionScorer
    from kleash.plugins import resolve

    kind = recipe.scorer.kind
    if kind in ("reward_model", "ensemble"):
        if "reward" not in recipe.stages:
            raise SettingsError(
                f"scorer.kind is {kind!r} and no reward stage comes before policy. Add the stage, or set scorer.kind "
                "to function."
            )
        return kind
    if kind == "function" and recipe.scorer.function:
        FunctionScorer(recipe.scorer.function)
        return recipe.scorer.function
    if kind == "function":
        raise SettingsError("scorer.function is not set. Expected module:attribute of a Python function. Set it.")
    return _found(resolve("scorer", kind), kind)


def _one_of(name: str, known: list[str]) -> str:
    if name not in known:
        raise SettingsError(f"there is no algorithm {name!r}. Expected one of {', '.join(known)}. Change it.")
    return name


def _found(component: Any, name: str) -> str:
    return name


def _counted(loaded: Any) -> str:
    bad = f", {len(loaded.bad_rows):,} bad rows left out" if loaded.bad_rows else ""
    return f"{len(loaded.records):,} rows, format {loaded.format}{bad}"


def _type_name(annotation: Any) -> str:
    """Return a type in a reader's words: number, text, one of these, a list."""
    arguments = get_args(annotation)
    names = {int: "whole number", float: "number", bool: "true or false", str: "text", Path: "path", type(None): "none"}
    if annotation in names:
        return names[annotation]
    if get_origin(annotation) is tuple:
        of = _type_name(arguments[0])
        return f"list of {of}" if "|" in of else f"list of {of}s"
    if arguments and all(isinstance(argument, str) for argument in arguments):
        return " | ".join(arguments)
    return " or ".join(map(_type_name, arguments)) if arguments else str(annotation)


def _limit(constraint: Any) -> str:
    """Return one limit of a field, such as "at least 1", from pydantic's own record of it."""
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    return "".join(f"{word} {getattr(constraint, name)}" for name, word in words.items() if hasattr(constraint, name))


def _as_toml(value: Any) -> str:
    from kleash.settings import dump_toml

    return "none" if value is None else dump_toml({"x": value}).removeprefix("x = ").strip()
