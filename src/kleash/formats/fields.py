"""What may stand in a column: texts, messages, truth values, ranks; each reader says what is wrong when it is not so.

Every function takes a row and a column name and raises `RowProblem` with a reason and a fix. Read `shapes.py` next.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from kleash.formats.rows import RowProblem
from kleash.records import TAGS, Message, Prompt, Role, Strength

Content = Mapping[str, Any]

ROLE_OF: Mapping[str, Role] = {
    **{role: role for role in get_args(Role)},
    "human": "user",
    "prompter": "user",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
}
_TRUE = frozenset({True, "true", "1", "yes"})
_FALSE = frozenset({False, "false", "0", "no"})


def shown(value: object, *, max_characters: int = 60) -> str:
    """Return a value as an error message shows it."""
    text = repr(value)
    return text if len(text) <= max_characters else f"{text[: max_characters - 3]}..."


def column(row: Content, name: str) -> Any:
    """Return what stands in a column that must be there."""
    if row.get(name) is None:
        names = ", ".join(map(str, row)) or "none"
        raise RowProblem(f"has nothing in column {name!r} (columns: {names})", f"fill {name!r} or remove the row")
    return row[name]


def text(row: Content, name: str) -> str:
    """Return a column's text as it stands, empty or not."""
    value = column(row, name)
    if isinstance(value, bool):
        raise RowProblem(f"{name!r} is the JSON boolean {str(value).lower()}", "write the text in quotes")
    if not isinstance(value, str):
        raise RowProblem(f"{name!r} is {shown(value)}, not text", "write the text in quotes")
    return value


def answer(row: Content, name: str) -> str:
    """Return an answer worth imitating: text that says something."""
    return not_blank(text(row, name), name)


def not_blank(value: str, name: str) -> str:
    if not value.strip():
        raise RowProblem(f"{name!r} is empty: there is nothing to imitate", "write the answer or remove the row")
    return value


def texts(row: Content, name: str) -> tuple[str, ...]:
    """Return a column's list of texts."""
    values = column(row, name)
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise RowProblem(f"{name!r} is {shown(values)}, not a list of texts", "write a JSON list")
    return tuple(text({f"{name}[{index}]": value}, f"{name}[{index}]") for index, value in enumerate(values))


def whole_numbers(row: Content, name: str) -> tuple[int, ...]:
    """Return a column's list of whole numbers."""
    values = column(row, name)
    if not isinstance(values, Sequence) or not all(type(value) is int for value in values):
        raise RowProblem(f"{name!r} is {shown(values)}, not a list of whole numbers", "write a JSON list of numbers")
    return tuple(values)


def whole_number(row: Content, name: str) -> int:
    value = column(row, name)
    if type(value) is not int:
        raise RowProblem(f"{name!r} is {shown(value)}, not a whole number", "write a number without quotes")
    return value


def number(row: Content, name: str) -> float:
    value = column(row, name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise RowProblem(f"{name!r} is {shown(value)}, not a finite number", "write a number without quotes")
    return float(value)


def numbers(row: Content, name: str) -> tuple[float, ...]:
    values = column(row, name)
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise RowProblem(f"{name!r} is {shown(values)}, not a list of numbers", "write a JSON list of numbers")
    return tuple(number({f"{name}[{index}]": value}, f"{name}[{index}]") for index, value in enumerate(values))


def is_truth_value(value: object) -> bool:
    value = value.strip().lower() if isinstance(value, str) else value
    return isinstance(value, bool | int | float | str) and (value in _TRUE or value in _FALSE)


def truth_value(row: Content, name: str) -> bool:
    """Return true or false, also from the words and digits that CSV files hold."""
    value = column(row, name)
    if not is_truth_value(value):
        raise RowProblem(f"{name!r} is {shown(value)}, neither true nor false", "write true or false")
    return (value.strip().lower() if isinstance(value, str) else value) in _TRUE


def one_of(row: Content, name: str, allowed: Iterable[str]) -> str:
    value = column(row, name)
    choices = list(allowed)
    if not isinstance(value, str) or value not in choices:
        raise RowProblem(f"{name!r} is {shown(value)}, not one of {', '.join(choices)}", "use one of these words")
    return value


def strength(row: Content) -> Strength | None:
    """Return how clearly the better answer is better, where the row says so."""
    if row.get("strength") in (None, ""):
        return None
    return one_of(row, "strength", get_args(Strength))  # type: ignore[return-value]


def with_dimensions(content: str | tuple[Message, ...], row: Content, names: Sequence[str]) -> Prompt:
    """Return the prompt with what stands under "slices" and "tags", and in the named columns; an empty cell is none.

    Which of them are tags is told by their names: earlier versions wrote tags among the slices. Tags of other names,
    which many data sets have, are nothing of ours.
    """
    slices, tags = row.get("slices") or {}, row.get("tags")
    if not isinstance(slices, Mapping):
        raise RowProblem(f"'slices' is {shown(slices)}, not an object", 'write {"dimension": "value"}')
    ours = {name: tags[name] for name in TAGS if name in tags} if isinstance(tags, Mapping) else {}
    dimensions = {**slices, **ours, **{name: row.get(name) for name in names}}
    known = {str(name): str(value) for name, value in dimensions.items() if value not in (None, "")}
    return Prompt(content).with_dimensions(known)


def messages(value: object, name: str) -> tuple[Message, ...]:
    """Return a conversation from [{"role", "content"}], or ShareGPT's [{"from", "value"}].

    Turns of one role in a row become one: chat templates want roles to alternate.
    """
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise RowProblem(f"{name!r} is {shown(value)}, not messages", 'write [{"role": ..., "content": ...}]')
    return merged(_message(turn, f"{name}[{index}]") for index, turn in enumerate(value))


def merged(turns: Iterable[Message]) -> tuple[Message, ...]:
    """Join neighbouring turns of one role, except a tool's, each of which answers its own call."""
    result: list[Message] = []
    for turn in turns:
        if result and result[-1].role == turn.role != "tool":
            result[-1] = Message(turn.role, f"{result[-1].content}\n\n{turn.content}")
        else:
            result.append(turn)
    return tuple(result)


def _message(turn: object, name: str) -> Message:
    if not isinstance(turn, Mapping):
        raise RowProblem(f"{name} is {shown(turn)}, not a message", 'write {"role": ..., "content": ...}')
    role = turn.get("role", turn.get("from"))
    if not isinstance(role, str) or role.lower() not in ROLE_OF:
        raise RowProblem(f"{name} has the role {shown(role)}", f"use one of {', '.join(get_args(Role))}")
    content = turn.get("content", turn.get("value"))
    if isinstance(content, Sequence) and not isinstance(content, str):
        content = _joined_parts(content, name)
    if not isinstance(content, str):
        raise RowProblem(f"{name} has the content {shown(content)}, not text", "give every message a text")
    return Message(ROLE_OF[role.lower()], content)


def _joined_parts(parts: Sequence[object], name: str) -> str:
    """Join a content given as [{"type": "text", "text": ...}]; anything but text cannot be read here."""
    texts = [part.get("text") if isinstance(part, Mapping) and part.get("type") == "text" else None for part in parts]
    if not all(isinstance(part, str) for part in texts):
        raise RowProblem(f"{name} holds parts that are no text: {shown(parts)}", "remove images, audio and the like")
    return "".join(str(part) for part in texts)


def prompt(row: Content, name: str, slice_columns: Sequence[str]) -> Prompt:
    """Return a prompt from text, which is used as it stands, or from a list of messages."""
    value = column(row, name)
    return with_dimensions(value if isinstance(value, str) else messages_not_text(value, name), row, slice_columns)


def messages_not_text(value: object, name: str) -> tuple[Message, ...]:
    if not isinstance(value, list | tuple):
        raise RowProblem(f"{name!r} is {shown(value)}, neither text nor messages", "write the text in quotes")
    return messages(value, name)
