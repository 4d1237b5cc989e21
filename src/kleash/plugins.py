"""Find a component by kind and name: built in, installed by another package, or a function of your own.

Built-ins come through this same door, as the strings of `plugins.toml` that are imported only when asked for. Another
package adds its own under the entry-point group `kleash.plugins`, named "kind.name". Wherever a recipe names a
component, "my_module:my_function" works too, found beside the recipe in the working folder. What each kind must
look like is in `protocols.py`.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from kleash.beside import table_beside
from kleash.errors import SettingsError, raised, shortened

GROUP = "kleash.plugins"

# What a made component of a kind must be able to do, of `protocols.py`.
METHODS: Mapping[str, str] = {
    "comparer": "compare",
    "engine": "annotate",
    "generator": "generate",
    "scorer": "score",
}

_FUNCTIONS = dict.fromkeys(("scorer", "comparer"), ", or a function of (prompt, completion) that returns a number")

BUILT_INS: Mapping[str, Mapping[str, str]] = table_beside(__file__)

OWN: dict[str, Any] = {}
"""Functions that only this process has, by the name that `functions.register` gave them."""


@dataclass(frozen=True)
class Plugin:
    """One component that a recipe may name: `target` is where it is, `package` who brings it."""

    kind: str
    name: str
    target: str
    package: str


def list_plugins() -> list[Plugin]:
    """Return every named component, built in or installed, in order of kind and name; nothing is imported."""
    found = [
        Plugin(kind, name, target, "kleash") for kind, targets in BUILT_INS.items() for name, target in targets.items()
    ]
    for entry in entry_points(group=GROUP):
        kind, dot, name = entry.name.partition(".")
        if not dot or not kind or not name:
            raise SettingsError(
                f"Package {_package(entry)} names a plug-in {entry.name!r}. A name must be kind.name, such as "
                "scorer.politeness. Correct its entry point, or uninstall it."
            )
        found.append(Plugin(kind, name, entry.value, _package(entry)))
    return sorted(found, key=lambda plugin: (plugin.kind, plugin.name, plugin.package))


def resolve(kind: str, name: str) -> Any:
    """Import and return the component of a kind that `name` stands for: a known name or "module:attribute".

    Raises SettingsError for an unknown name (with the nearest known one), for a name that two packages claim, and
    for a component that does not import (naming the package that brings it).
    """
    if name in OWN:
        return OWN[name]
    if ":" in name:
        return _load(name, f"{kind} {name!r}", package="")
    of_kind = [plugin for plugin in list_plugins() if plugin.kind == kind]
    matching = [plugin for plugin in of_kind if plugin.name == name]
    if not matching:
        names = sorted({plugin.name for plugin in of_kind})
        nearest = difflib.get_close_matches(name, names, n=1)
        hint = f" Did you mean {nearest[0]}?" if nearest else ""
        raise SettingsError(
            f"Unknown {kind.replace('_', ' ')} {name!r}.{hint} Known: {', '.join(names) or 'none'}. "
            f"Use one of them, or name your own as module:attribute."
        )
    if len(matching) > 1:
        packages = " and ".join(plugin.package for plugin in matching)
        raise SettingsError(
            f"{kind} {name!r} is claimed by {packages}. A name must have one owner. "
            f"Uninstall one of them, or name the one you mean: {' or '.join(plugin.target for plugin in matching)}."
        )
    return _load(matching[0].target, f"{kind} {name!r}", package=matching[0].package)


def resolve_row(kind: str, name: str, *row_types: type) -> Any:
    """Return the row of a table that `name` stands for. Raises SettingsError for what is no row, as `resolve` does."""
    row = resolve(kind, name)
    if not isinstance(row, row_types):
        wanted = " or ".join(row_type.__name__ for row_type in row_types)
        raise SettingsError(f"{kind} {name!r} is {shortened(row)}. Expected a row, {wanted}. Name one, as module:ROW.")
    return row


def make_component(kind: str, name: str, target: Any, *arguments: Any, **settings: Any) -> Any:
    """Make a component of what `name` resolved to, by calling the class or factory with what its kind is made from.

    What can do a component's work already is taken as it is. Raises SettingsError for what is none and makes none.
    """
    method = METHODS[kind]
    if not isinstance(target, type) and callable(getattr(target, method, None)):
        return target
    try:
        inspect.signature(target).bind(*arguments, **settings)
    except (TypeError, ValueError) as error:
        wanted = [f"{len(arguments)} arguments" if arguments else "", *(f"{setting}=" for setting in settings)]
        raise SettingsError(
            f"{kind} {name!r} is {shortened(target)}: {error}. Expected an object with a method `{method}`, or a class "
            f"or function that makes one of ({', '.join(filter(None, wanted))}){_FUNCTIONS.get(kind, '')}. Correct it."
        ) from error
    made = target(*arguments, **settings)
    if not callable(getattr(made, method, None)):
        raise SettingsError(
            f"{kind} {name!r} made {shortened(made)}. Expected an object with a method `{method}`. See protocols.py."
        )
    return made


def is_scoring_function(target: Any) -> bool:
    """Tell a plain function of (prompt, completion) from a component and from what makes one."""
    if isinstance(target, type) or not callable(target) or any(hasattr(target, name) for name in METHODS.values()):
        return False
    try:
        signature = inspect.signature(target)
        signature.bind("", "")
    except TypeError:
        return False
    except ValueError:  # some functions written in C tell no signature
        return True
    return "seed" not in signature.parameters


def _load(target: str, what: str, *, package: str) -> Any:
    module_name, _, attribute = target.partition(":")
    bringer = f" of package {package}" if package else ""
    # A recipe's own functions lie in the working folder, which a console script does not search by itself. It comes
    # last, so that it can hide no installed package.
    here = str(Path.cwd())
    if not package and here not in sys.path:
        sys.path.append(here)
    try:
        found = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:  # whatever a stranger's module raises becomes a message that names it
        raise SettingsError(
            f"Cannot load {what}{bringer} ({target}): {raised(error)}. "
            "module:attribute must import without an error. "
            + (f"Update or uninstall {package}." if package else "Correct the name or the module.")
        ) from error
    return found


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.value
