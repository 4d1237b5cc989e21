"""Know a function of one's own again: by its name in a recipe, and by a digest of what it does.

A reward, a comparer or a judge decides a result as data do, so its digest is recorded with the settings and an edited
one refuses a resume; so does a file that a setting names and that is no parent, such as a rubric. The digest covers
the function's file and its module's; of a function that has no file, being typed into a notebook or a script that
runs, the source, the values it closes over and the globals it names. What other files do is not covered. No torch
here; how a name is found among plug-ins is in `plugins.py`.
"""

from __future__ import annotations

import dis
import functools
import importlib.util
import inspect
import json
import logging
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from pydantic import BaseModel

from kleash.durable import file_digest
from kleash.errors import SettingsError, raised
from kleash.plugins import OWN, resolve
from kleash.records import content_id

FUNCTIONS = "functions"
"""Where an artifact's settings keep the functions among them: {setting: {"name": ..., "digest": ...}}."""

NAMES_FUNCTION: dict[str, Any] = {"names_function": True}
"""Marks a field of a settings record that may name a function: `Field(..., json_schema_extra=NAMES_FUNCTION)`."""

NAMES_FILE: dict[str, Any] = {"names_file": True}
"""Marks a field that names a file which decides the result and is no input of the stage, such as a rubric."""

_OURS = ("kleash.", "kleash:")
_FOLDERS: list[str] = []
"""Where files of functions lie, the one used last first."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FunctionRecord:
    """A function's name and the digest of what it does; None where that cannot be recorded."""

    name: str
    digest: str | None


def register(function: Callable[..., Any]) -> str:
    """Return the name by which a recipe of this process names the function: its module:attribute where it has one."""
    name = _name(function)
    module_name, _, attribute = name.partition(":")
    if module_name != "__main__" and _attribute(sys.modules.get(module_name), attribute) is function:
        return name
    if "<" in name or not hasattr(function, "__qualname__"):  # two of these may well have one name
        name = f"{name}#{(function_digest(function).digest or f'{id(function):x}')[:8]}"
    OWN[name] = function
    return name


def load_function(target: str, *, kind: str = "scorer") -> Any:
    """Return what "module:attribute", "path/file.py:attribute", a registered name or a plug-in's of a kind stands for.

    Raises SettingsError when it does not import.
    """
    place, _, attribute = target.rpartition(":")
    return _from_file(Path(place), attribute) if place.endswith(".py") else resolve(kind, target)


def function_digest(target: str | Callable[..., Any]) -> FunctionRecord:
    """Return the record of a function, named or given itself. Raises SettingsError when there is none of that name."""
    if not isinstance(target, str):
        return FunctionRecord(_name(target), _digest(target))
    place, _, _ = target.rpartition(":")
    if place.endswith(".py"):
        try:
            return FunctionRecord(target, content_id("function", [file_digest(Path(place))]))
        except OSError as error:
            raise SettingsError(
                f"The file of function {target} cannot be read: {error}. Expected a Python file. Correct the path; it "
                "starts where you run."
            ) from error
    return FunctionRecord(target, _digest(resolve("scorer", target), module=place if target not in OWN else ""))


def recorded_functions(settings: BaseModel, prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the functions and marked files that a settings record names, by setting; KLeash's own are left out."""
    for name, field in type(settings).model_fields.items():
        value, extra = getattr(settings, name), field.json_schema_extra
        if isinstance(value, BaseModel):
            yield from recorded_functions(value, f"{prefix}{name}.")
        elif isinstance(value, tuple) and value and all(isinstance(one, BaseModel) for one in value):
            for number, one in enumerate(value):
                yield from recorded_functions(one, f"{prefix}{name}.{number}.")
        elif extra == NAMES_FILE and value is not None:
            digest = _file_digest(value) if value.is_file() else None
            yield f"{prefix}{name}", vars(FunctionRecord(str(value), digest))
        elif extra == NAMES_FUNCTION:
            for number, target in enumerate(value if isinstance(value, tuple) else (value,)):
                if isinstance(target, str) and ":" in target and not target.startswith(_OURS):
                    yield f"{prefix}{name}{f'.{number}' if number else ''}", vars(function_digest(target))


def edited(recorded: Mapping[str, Any], wanted: Mapping[str, Any], *, place: Path) -> list[str]:
    """List what is to be said of functions that are not, or not surely, those with which `place` was begun."""
    changes = []
    for setting in sorted(recorded.keys() | wanted.keys()):
        was, now = recorded.get(setting), wanted.get(setting)
        if now is not None and now["digest"] is None:
            changes.append(
                f"{setting} {now['name']} is unrecorded (it has no source or file, or holds what has no digest), so "
                "nobody can tell whether it is the same: write it into a file to go on with it"
            )
        elif was is None and now is not None:
            _say_once(f"{place}: no digest of {setting} {now['name']} was recorded; it is taken to be unedited.")
        elif was is not None and now is not None and was["name"] == now["name"]:
            if was["digest"] != now["digest"]:
                changes.append(f"{setting} {now['name']} was edited since: digest {was['digest']} -> {now['digest']}")
        elif was != now:
            changes.append(f"{setting}: function {(was or {}).get('name')} -> {(now or {}).get('name')}")
    return changes


@functools.cache
def _say_once(message: str) -> None:
    _logger.warning(message)


# ----------------------------------------------------------------------------------------------------------- loading
def _from_file(path: Path, attribute: str) -> Any:
    try:
        spec = importlib.util.spec_from_file_location(f"{path.stem} of {path.resolve().parent}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # where dataclasses look for the module of what they decorate
        _import_beside(path.resolve().parent)
        spec.loader.exec_module(module)
        return getattr(module, attribute)
    except (Exception, SystemExit) as error:  # whatever a user's file raises at import becomes a message that names it
        raise SettingsError(
            f"Scoring function {path}:{attribute} cannot be loaded: {raised(error)}. Expected a Python file that "
            "imports without an error and defines it. Correct the path, the name or the file."
        ) from error


def _import_beside(folder: Path) -> None:
    """Let a function's file import its neighbours; those of another function's folder do not stand in for them.

    They come last, so that they can hide no installed package.
    """
    others = [one for one in _FOLDERS if one != str(folder)]
    for name, module in list(sys.modules.items()):
        place = getattr(module, "__file__", None) or ""
        if str(Path(place).parent) in others and (folder / f"{name}.py").is_file():
            del sys.modules[name]
    sys.path[:] = [one for one in sys.path if one not in _FOLDERS] + [str(folder), *others]
    _FOLDERS[:] = [str(folder), *others]


def _attribute(module: ModuleType | None, attribute: str) -> Any:
    return functools.reduce(lambda found, part: getattr(found, part, None), attribute.split("."), module)


def _name(function: Any) -> str:
    if isinstance(function, functools.partial):
        return _name(function.func)
    owner = function if hasattr(function, "__qualname__") else type(function)
    return f"{owner.__module__}:{owner.__qualname__}"


# ---------------------------------------------------------------------------------------------------------- digests
class _Unrecorded(Exception):
    """Raised where something takes part whose content cannot be told."""


def _digest(function: Any, *, module: str = "") -> str | None:
    try:
        files = [_file_digest(_file_of(sys.modules[module]))] if module else []
        return content_id("function", [*files, _described(function, ())])
    except (_Unrecorded, OSError, TypeError, ValueError):
        return None


def _described(value: Any, within: tuple[int, ...]) -> Any:
    """Return JSON that is equal for what does the same; `within`: what it is part of, so that circles end."""
    if id(value) in within:
        return ["circle", within.index(id(value))]
    inside = (*within, id(value))
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | Path):
        return [type(value).__name__, repr(value)]
    if isinstance(value, list | tuple):
        return [type(value).__name__, [_described(item, inside) for item in value]]
    if isinstance(value, set | frozenset):
        return [type(value).__name__, sorted(json.dumps(_described(item, inside)) for item in value)]
    if isinstance(value, dict):
        return ["dict", [[_described(part, inside) for part in item] for item in value.items()]]
    if isinstance(value, re.Pattern):
        return ["pattern", repr(value.pattern), value.flags]
    if isinstance(value, ModuleType):
        return ["module", value.__name__]
    if isinstance(value, functools.partial):
        return ["partial", *(_described(part, inside) for part in (value.func, value.args, value.keywords))]
    if isinstance(value, property | staticmethod | classmethod):
        inner = value.fget if isinstance(value, property) else value.__func__
        return [type(value).__name__, _described(inner, inside)]
    if inspect.ismethod(value):
        return ["method", _described(value.__func__, inside), _described(value.__self__, inside)]
    if inspect.isbuiltin(value) or _is_kleash(value):
        return ["built in", _name(value)]
    if isinstance(value, FunctionType):
        return _function(value, inside)
    if isinstance(value, type):
        return _class(value, inside)
    if hasattr(value, "__wrapped__"):  # a cache around a function
        return ["wrapped", _described(value.__wrapped__, inside)]
    return _instance(value, inside)


def _function(function: FunctionType, within: tuple[int, ...]) -> Any:
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    values = _described([cells, function.__defaults__, function.__kwdefaults__], within)
    if file := _file_of(function):
        files = [_file_digest(one) for one in (file, _file_of(sys.modules.get(function.__module__)))]
        return ["file", function.__qualname__, *files, values]
    try:
        source = textwrap.dedent(inspect.getsource(function.__code__))
    except (OSError, TypeError) as error:
        raise _Unrecorded from error
    if function.__name__ == "<lambda>":  # its source is the lines around it, which may hold several
        source += function.__code__.co_code.hex()
    used = {name: function.__globals__[name] for name in _globals_of(function.__code__) & function.__globals__.keys()}
    return ["source", source, values, _described([dict(sorted(used.items())), vars(function)], within)]


def _class(owner: type, within: tuple[int, ...]) -> Any:
    if file := _file_of(owner):
        return ["file", owner.__qualname__, _file_digest(file)]
    if owner.__module__ != "__main__":
        return ["built in", _name(owner)]
    members = {name: value for name, value in vars(owner).items() if name not in _ABOUT_CLASSES}
    bases = [base for base in owner.__bases__ if base is not object]
    return ["class", owner.__qualname__, _described([bases, members], within)]


def _instance(value: Any, within: tuple[int, ...]) -> Any:
    """Describe an object by its class and attributes; one that keeps anything elsewhere, as C does, is unrecorded."""
    owners = [owner for owner in type(value).__mro__ if owner is not object]
    if any("__slots__" in vars(owner) or not (_file_of(owner) or owner.__module__ == "__main__") for owner in owners):
        raise _Unrecorded
    return ["object", _described(type(value), within), _described(vars(value), within)]


def _file_of(thing: Any) -> Path | None:
    """Return the Python file that defines it, if it is of one that can be imported."""
    if getattr(thing, "__module__", "") == "__main__":
        return None
    try:
        name = thing.__code__.co_filename if isinstance(thing, FunctionType) else inspect.getsourcefile(thing)
    except (TypeError, OSError):
        return None
    return Path(name) if name and Path(name).is_file() else None


def _file_digest(file: Path | None) -> str | None:
    return file_digest(file) if file else None


def _globals_of(code: CodeType) -> set[str]:
    own = {step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return own.union(*(_globals_of(inner) for inner in code.co_consts if isinstance(inner, CodeType)))


def _is_kleash(value: Any) -> bool:
    return isinstance(value, FunctionType | type) and f"{value.__module__}:".startswith(_OURS)


class _Empty:
    """A class without members of its own."""


_ABOUT_CLASSES = {*vars(_Empty), "__annotations__"}
