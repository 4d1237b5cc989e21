"""Read settings strictly: TOML into frozen records, with file, line and the nearest valid name in every complaint.

Each component keeps its own small `Settings` record beside the code it steers; this module only loads, compares and
writes them. It knows no setting by name. Read `recipe.py` next for how the records make one recipe.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kleash.errors import SettingsError
from kleash.maths.schedules import Schedule, rate_share

Location = tuple[str | int, ...]


NONE = "none"


class Settings(BaseModel):
    """The parent of every settings record: frozen, and a name it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class AdamSettings(Settings):
    """AdamW wherever weights are trained, and how its learning rate rises and falls over a run."""

    learning_rate: float = Field(1e-5, gt=0)
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.95, ge=0, lt=1)
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float | None = Field(1.0, gt=0, description="clip of the gradient norm; none = off")
    schedule: Schedule = Field("cosine", description="how the rate falls after the warm-up")
    warmup_share: float = Field(0.05, ge=0, lt=1, description="share of the steps in which the rate rises")
    final_share: float = Field(0.0, ge=0, le=1, description="the fall ends at this share of the rate")

    def rate_share(self, step: int, num_steps: int) -> float:
        """Return the share of the learning rate that step 0 .. num_steps - 1 uses."""
        return rate_share(
            step,
            num_steps,
            schedule=self.schedule,
            warmup_share=self.warmup_share,
            final_share=self.final_share,
        )


SettingsT = TypeVar("SettingsT", bound=BaseModel)


def load_toml(
    path: Path,
    model_class: type[SettingsT],
    overrides: Sequence[str] = (),
    *,
    as_now: Callable[[dict[str, Any]], dict[str, Any]] = dict,
) -> SettingsT:
    """Read a TOML file, lay `a.b=value` overrides over it and check the whole against `model_class`.

    An override's value is read as TOML (`6`, `true`, `[1, 2]`); what is not TOML is a plain string. Types are strict:
    "40" is no number.  as_now: turns what an earlier version wrote into what this one would have written.
    Raises SettingsError naming each fault's file and line, or its `--set` argument.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SettingsError(f"No settings file at {path}. Give the path of an existing TOML file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"Cannot read settings from {path}: {error}. Give a readable UTF-8 TOML file.") from error
    try:
        given = as_now(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        where = f"{path}:{line.group(1)}" if line else str(path)
        raise SettingsError(f"{where}: not valid TOML: {error}. Correct it; strings need quotes.") from None
    arguments = {_apply_override(given, argument): f"--set {argument}" for argument in overrides}
    return _validate(given, model_class, _Sources(str(path), _lines_of_keys(text), arguments))


def names_of(overrides: Sequence[str]) -> list[str]:
    """Return the dotted names that `a.b=value` overrides set."""
    return [".".join(map(str, _split_key(argument.partition("=")[0]))) for argument in overrides]


def with_overrides(settings: SettingsT, overrides: Mapping[str, Any]) -> SettingsT:
    """Return settings with some of them changed, by dotted name. Raises SettingsError naming each fault."""
    given = settings.model_dump(mode="json", exclude_unset=True)
    arguments = {_put(given, _split_key(name), value, name): f"{name} = {value!r}" for name, value in overrides.items()}
    return _validate(given, type(settings), _Sources("settings", {}, arguments))


def check_settings(given: Mapping[str, Any], model_class: type[SettingsT], *, source: str) -> SettingsT:
    """Check settings that come from elsewhere than a TOML file, such as a manifest; `source` names them in errors."""
    return _validate(given, model_class, _Sources(source, {}, {}))


def difference(old: Mapping[str, Any] | BaseModel, new: Mapping[str, Any] | BaseModel) -> list[str]:
    """List what differs between two nested settings, one `a.b: 1 -> 2` per setting, in order of name."""
    old_flat, new_flat = dict(_flatten(_as_mapping(old))), dict(_flatten(_as_mapping(new)))
    changed = [key for key in sorted(old_flat | new_flat) if old_flat.get(key, _UNSET) != new_flat.get(key, _UNSET)]
    return [f"{key}: {_shown(old_flat.get(key, _UNSET))} -> {_shown(new_flat.get(key, _UNSET))}" for key in changed]


def dump_toml(settings: Mapping[str, Any] | BaseModel) -> str:
    """Write nested settings as TOML that `load_toml` reads back equal; None, which TOML lacks, is written "none"."""
    lines: list[str] = []
    _dump_table(_as_mapping(settings), (), lines)
    return "\n".join(lines).strip() + "\n"


# ------------------------------------------------------------------------------------------------ faults and where
@dataclass(frozen=True)
class _Sources:
    """Where each setting was written: its line in the file, or the argument that overrode it, such as --set x=1."""

    file: str
    line_of: Mapping[Location, int]
    argument_of: Mapping[Location, str]

    def place(self, location: Location) -> str:
        for length in range(len(location), 0, -1):
            if location[:length] in self.argument_of:
                return self.argument_of[location[:length]]
            if location[:length] in self.line_of:
                return f"{self.file}:{self.line_of[location[:length]]}"
        return self.file


def _validate(given: Mapping[str, Any], model_class: type[SettingsT], sources: _Sources) -> SettingsT:
    try:
        # Through JSON, because pydantic's strict mode then takes lists for tuples and strings for paths and no more.
        return model_class.model_validate_json(json.dumps(_with_none(given, model_class), default=str), strict=True)
    except ValidationError as error:
        faults = [_describe_fault(fault, given, model_class, sources) for fault in error.errors()]
        raise SettingsError("\n".join(dict.fromkeys(faults))) from None


def _with_none(given: Mapping[str, Any], model_class: type[BaseModel]) -> dict[str, Any]:
    """Read "none" as None where a setting may be switched off: TOML has no word for it."""
    read: dict[str, Any] = {}
    for name, value in given.items():
        info = model_class.model_fields.get(name)
        record = record_in(info.annotation) if info else None
        if record is not None and isinstance(value, Mapping):
            read[name] = _with_none(value, record)
        else:
            is_none = value == NONE and info is not None and type(None) in get_args(info.annotation)
            read[name] = None if is_none else value
    return read


def _describe_fault(fault: Any, given: Mapping[str, Any], model_class: type[BaseModel], sources: _Sources) -> str:
    location = _location_as_written(fault, given)
    name, place = ".".join(map(str, location)), sources.place(location)
    if fault["type"] == "extra_forbidden":
        return f"{place}: unknown setting {name}{_advice(location, model_class)}"
    message = str(fault["msg"]).removeprefix("Value error, ").replace("Input should", "should")
    if fault["type"] == "missing":
        return f"{place}: setting {name} is missing. Add it."
    if not name or isinstance(fault["input"], Mapping):
        return f"{place}: {name + ': ' if name else ''}{message.rstrip('.')}. Correct it."
    joint = " " if message.startswith("should") else ": "
    return f"{place}: {name} = {_shown(fault['input'])}{joint}{message.rstrip('.')}. Correct the value."


def _location_as_written(fault: Any, given: Any) -> Location:
    """Drop what pydantic adds to a location for its own use: which member of a union it tried."""
    parts = tuple(fault["loc"])
    last = len(parts) - 1
    written: list[str | int] = []
    for index, part in enumerate(parts):
        is_there = part in given if isinstance(given, Mapping) else isinstance(given, list) and isinstance(part, int)
        if is_there:
            given = given[part]
        if is_there or (fault["type"] == "missing" and index == last):
            written.append(part)
    return tuple(written)


def _advice(location: Location, model_class: type[BaseModel]) -> str:
    wrong = str(location[-1])
    valid = _names_at(location[:-1], model_class)
    nearest = difflib.get_close_matches(wrong, valid, n=1)
    if nearest:
        hint = f"; did you mean {nearest[0]}?"
    else:
        elsewhere = [name for name in _all_names(model_class) if name.rpartition(".")[2] == wrong]
        hint = f"; did you mean {elsewhere[0]}?" if elsewhere else "."
    return f"{hint} Valid: {', '.join(valid)}."


def _names_at(location: Location, model_class: type[BaseModel]) -> list[str]:
    for part in location:
        # A list's index, and the tag of a union, name no field: the record stays the same.
        if isinstance(part, str) and part in model_class.model_fields:
            model_class = record_in(model_class.model_fields[part].annotation) or model_class
    return list(model_class.model_fields)


def record_in(annotation: Any) -> type[BaseModel] | None:
    """Return the settings record that a field holds, the first where it may hold several; None for plain values."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((record for part in get_args(annotation) if (record := record_in(part))), None)


def _all_names(model_class: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model_class.model_fields.items():
        yield prefix + name
        record = record_in(field.annotation)
        if record is not None and record is not model_class:
            yield from _all_names(record, f"{prefix}{name}.")


_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]")
_KEY = re.compile(r"""^\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")


def _lines_of_keys(text: str) -> dict[Location, int]:
    """Map each table and key to its line; a key inside an inline table is found under the table's own line."""
    lines: dict[Location, int] = {}
    table: Location = ()
    num_entries: dict[Location, int] = {}
    in_string = ""
    for number, line in enumerate(text.splitlines(), start=1):
        is_text = bool(in_string)
        for quotes in re.findall(r'"""|\'\'\'', line):
            in_string = "" if in_string == quotes else (in_string or quotes)
        if is_text:
            continue
        if header := _HEADER.match(line):
            table = _split_key(header.group(2))
            if header.group(1) == "[[":
                index = num_entries.get(table, 0)
                num_entries[table] = index + 1
                table = (*table, index)
            lines[table] = number
        elif key := _KEY.match(line):
            location = (*table, *_split_key(key.group(1)))
            for length in range(len(table) + 1, len(location) + 1):
                lines.setdefault(location[:length], number)
    return lines


def _split_key(key: str) -> Location:
    return tuple(part.strip().strip("\"'") for part in key.split("."))


def _apply_override(given: dict[str, Any], argument: str) -> Location:
    key, equals, text = argument.partition("=")
    location = _split_key(key)
    if not equals or not all(location):
        raise SettingsError(f"--set {argument}: expected name=value, such as --set policy.steps=40. Write it so.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    return _put(given, location, value, f"--set {argument}")


def _put(given: dict[str, Any], location: Location, value: Any, argument: str) -> Location:
    """Put a value in its place among nested settings, and return that place."""
    table = given
    for part in location[:-1]:
        table = table.setdefault(str(part), {})
        if not isinstance(table, dict):
            raise SettingsError(f"{argument}: {part} is a value, not a table of settings. Check the name.")
    table[str(location[-1])] = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return location


# --------------------------------------------------------------------------------------------------- plain mappings
_UNSET = object()


def _as_mapping(settings: Mapping[str, Any] | BaseModel) -> Mapping[str, Any]:
    return settings.model_dump(mode="json") if isinstance(settings, BaseModel) else settings


def _flatten(mapping: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", list(value) if isinstance(value, tuple) else value


def _shown(value: Any) -> str:
    return "(not set)" if value is _UNSET else json.dumps(value, ensure_ascii=False, default=str)


def _dump_table(table: Mapping[str, Any], location: tuple[str, ...], lines: list[str]) -> None:
    plain = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    if location and (plain or not table):
        lines += ["", f"[{'.'.join(map(_toml_key, location))}]"]
    lines += [f"{_toml_key(key)} = {_toml_value(value)}" for key, value in plain.items()]
    for key, value in table.items():
        if isinstance(value, Mapping):
            _dump_table(value, (*location, key), lines)


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _toml_string(key)


def _toml_string(text: str) -> str:
    # JSON's escapes are TOML's, save that TOML also wants DEL escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _toml_value(value: Any) -> str:
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_toml_key(key)} = {_toml_value(item)}" for key, item in value.items() if item is not None)
        return f"{{{inner}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml_value(item) for item in value)}]"
    if value is None:
        return _toml_string(NONE)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    return _toml_string(str(value))
