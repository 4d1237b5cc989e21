"""What may stand in a column: texts, messages, truth values, ranks; each reader says what is wrong when it is not so.

Every function takes a row and a column name and raises `RowProblem` with a reason and a fix. Read `shapes.py` next.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
THUMBS = ("label", "kto_tag", "thumb", "thumbs", "is_desirable")
_UP = "true yes y good up thumbs_up thumbs-up thumbsup 👍 positive desirable chosen like liked accepted"
_DOWN = "false no n bad down thumbs_down thumbs-down thumbsdown 👎 negative undesirable rejected dislike disliked"
_THUMB_OF: Mapping[str, bool] = {**dict.fromkeys(_UP.split(), True), **dict.fromkeys(_DOWN.split(), False)}
_THUMB_OF_NUMBER: Mapping[float, bool] = {1.0: True, 0.0: False, -1.0: False}

SYSTEM = ("system", "system_prompt")
HISTORY = "history"
CRITERIA = ("criteria", "rubric")
CHECKED = ("check", "instruction_id_list", "kwargs", "entry_point", "test")
_XSTEST = {"unsafe": "refuses", "safe": "answers"}
_WORDS_OF_CRITERION = ("criterion", "criteria", "description", "text", "title")
# What a turn may hold that changes what an answer is; templates and trainers here read its text alone.
_UNREAD = ("tool_calls", "function_call", "reasoning_content", "reasoning", "thinking")
_PARTS_OF_A_TURN = frozenset({"role", "content", "from", "value"})
_CONVERSATION = re.compile(
    r"""^["\s]*(?:array\()?\[\s*\{\s*\\*['"](?:role|content|from|value)\\*['"]\s*:""", re.IGNORECASE
)


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


def thumb_of(row: Content) -> bool | None:
    """Return a row's thumb, up or down, in any spelling that people write; None where there is none."""
    return next((thumb for name in THUMBS if (thumb := _as_thumb(row.get(name))) is not None), None)


def thumb(row: Content) -> bool:
    found = thumb_of(row)
    if found is None:
        name = next((name for name in THUMBS if name in row), THUMBS[0])
        raise RowProblem(f"{name!r} is {shown(row.get(name))}, neither a thumb up nor down", "write true or false")
    return found


def _as_thumb(value: object) -> bool | None:
    if isinstance(value, str):
        word = value.strip().lower().replace(" ", "_")
        if word in _THUMB_OF:
            return _THUMB_OF[word]
        try:
            value = float(word)
        except ValueError:
            return None
    return _THUMB_OF_NUMBER.get(value) if isinstance(value, bool | int | float) else None


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


def prompt_of(content: str | tuple[Message, ...], row: Content, names: Sequence[str]) -> Prompt:
    """Return the prompt with the system turn and the history that stand in columns of their own, and its dimensions.

    Dimensions are what stands under "slices" and "tags", and in the named columns; an empty cell is none.
    Which of them are tags is told by their names: earlier versions wrote tags among the slices. Tags of other names,
    which many data sets have, are nothing of ours.
    """
    slices, tags = row.get("slices") or {}, row.get("tags")
    if not isinstance(slices, Mapping):
        raise RowProblem(f"'slices' is {shown(slices)}, not an object", 'write {"dimension": "value"}')
    ours = {name: tags[name] for name in TAGS if name in tags} if isinstance(tags, Mapping) else {}
    dimensions = {**slices, **ours, **{name: row.get(name) for name in names}}
    known = {str(name): str(value) for name, value in dimensions.items() if value not in (None, "")}
    return Prompt(_in_context(content, row), criteria=_criteria(row), check=check_of(row)).with_dimensions(known)


def check_of(row: Content) -> Mapping[str, Any]:
    """Return how a row's answers can be checked by rule, as a suite says it under "check"; empty where nothing says it.

    IFEval, GSM8K, HumanEval and XSTest say it in columns of their own.
    """
    given, instructions, answered = row.get("check"), row.get("instruction_id_list"), row.get("answer")
    if isinstance(given, Mapping) and isinstance(given.get("kind"), str):
        return given
    if isinstance(instructions, list | tuple):
        return {"kind": "constraints", "instructions": list(instructions), "kwargs": row.get("kwargs")}
    if isinstance(answered, str) and "####" in answered:
        return {"kind": "numeric", "expected": answered.rpartition("####")[2].strip()}
    if isinstance(row.get("entry_point"), str) and isinstance(row.get("test"), str):
        tests = f"{row['test']}\n\ncheck({row['entry_point']})\n"
        return {"kind": "code", "tests": tests, "begun": row.get("prompt"), "entry_point": row["entry_point"]}
    if {"label", "type", "focus"} <= row.keys() and (kind := _XSTEST.get(str(row["label"]))):
        return {"kind": kind}
    return {}


def _criteria(row: Content) -> str:
    """Return what a row's answers are to be judged by: a text, or a line for each of several."""
    name = next((name for name in CRITERIA if row.get(name) not in (None, "", [], ())), "")
    value = row.get(name)
    if not name or isinstance(value, str):
        return str(value or "").strip()
    given = value if isinstance(value, list | tuple) else [value]
    lines = [_criterion(one) if isinstance(one, Mapping) else one for one in given]
    texts = [line.strip() for line in lines if isinstance(line, str)]
    if len(texts) < len(lines):
        raise RowProblem(f"{name!r} is {shown(value)}, neither text nor a list of texts", "write texts, or rename it")
    return "\n".join(f"- {line}" for line in texts)


def _criterion(one: Mapping[str, Any]) -> str | None:
    """Return a criterion's words, and what it counts, from an object as published rubrics have it."""
    words = next((one[name] for name in _WORDS_OF_CRITERION if isinstance(one.get(name), str)), None)
    weight = one.get("weight", one.get("points"))
    return words if words is None or weight is None else f"{words} (weight {weight})"


def _in_context(content: str | tuple[Message, ...], row: Content) -> str | tuple[Message, ...]:
    system = next((text(row, name) for name in SYSTEM if row.get(name) not in (None, "")), "")
    before = ([Message("system", system)] if system.strip() else []) + _history(row)
    if before and content != "":
        asked = (Message("user", content),) if isinstance(content, str) else content
        content = merged([*before, *(asked[1:] if asked[0] == before[0] else asked)])
    if isinstance(content, tuple):
        first = next((turn.role for turn in content if turn.role != "system"), None)
        if first != "user":
            opens = f"opens with a turn of the {first}" if first else "has no turn of the user"
            raise RowProblem(f"its conversation {opens}", "begin with the user's turn, or remove the row")
    return content


def _history(row: Content) -> list[Message]:
    """Return earlier turns, given as messages or as [question, answer] pairs."""
    turns = row.get(HISTORY)
    if turns in (None, "", [], ()):
        return []
    if isinstance(turns, list | tuple) and all(isinstance(turn, Mapping) for turn in turns):
        return list(messages(turns, HISTORY))
    is_pairs = isinstance(turns, list | tuple) and all(isinstance(t, list | tuple) and len(t) == 2 for t in turns)
    if not is_pairs or not all(isinstance(part, str) for turn in turns for part in turn):
        raise RowProblem(f"{HISTORY!r} is {shown(turns)}, neither messages nor pairs of texts", "write messages")
    return [turn for asked, said in turns for turn in (Message("user", asked), Message("assistant", said))]


def messages(value: object, name: str) -> tuple[Message, ...]:
    """Return a conversation from [{"role", "content"}], or ShareGPT's [{"from", "value"}].

    Turns of one role in a row become one: chat templates want roles to alternate. One turn may stand without a list.
    """
    value = [value] if isinstance(value, Mapping) else value
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise RowProblem(f"{name!r} is {shown(value)}, not messages", 'write [{"role": ..., "content": ...}]')
    return merged(_message(turn, f"{name}[{index}]") for index, turn in enumerate(value))


def unpacked(row: Content) -> Content:
    """Return the row with conversations that were stored as text, as JSON or as Python prints them, read as lists.

    Raises RowProblem for what looks like one and cannot be read: it must not be trained on as it stands.
    """
    packed = {name: value for name, value in row.items() if isinstance(value, str) and _CONVERSATION.match(value)}
    if not packed:
        return row
    return {**row, **{name: _parsed(value, name) for name, value in packed.items()}}


def _parsed(value: str, name: str) -> Any:
    for parse in (json.loads, ast.literal_eval):
        try:
            found = parse(value.strip())
            found = parse(found) if isinstance(found, str) else found
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        roles = [turn.get("role", turn.get("from")) if isinstance(turn, Mapping) else None for turn in found]
        # An answer may well be a list of objects in JSON; one that has a conversation's roles is no such answer.
        return found if all(roles) and any(str(role).lower() in ROLE_OF for role in roles) else value
    if any(re.search(rf"""['"](role|from)\\*['"]\s*:\s*\\*['"]{role}\\*['"]""", value) for role in ROLE_OF):
        raise RowProblem(
            f"{name!r} is a conversation stored as text that cannot be read: {shown(value)}",
            'store it as a list of {"role": ..., "content": ...}, or as JSON',
        )
    return value


def parts_of_turns(row: Content) -> Iterator[str]:
    """Yield what stands in conversations beside roles and texts, such as messages[].name: nothing here reads it."""
    for name, value in row.items():
        turns = value["messages"] if isinstance(value, Mapping) and isinstance(value.get("messages"), list) else value
        if isinstance(value, Mapping) and turns is not value:
            yield from (f"{name}.{key}" for key in value if key != "messages" and value[key])
        for turn in turns if isinstance(turns, list | tuple) else ():
            if isinstance(turn, Mapping) and ("role" in turn or "from" in turn):
                yield from (f"{name}[].{key}" for key in turn if key not in _PARTS_OF_A_TURN and turn[key] is not None)


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
    if unread := [key for key in _UNREAD if turn.get(key)]:
        raise RowProblem(
            f"{name} holds {', '.join(unread)}, and only the text of turns is read", "write it into the text, as served"
        )
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


def content(row: Content, name: str, about: Sequence[str] = ()) -> str | tuple[Message, ...]:
    """Return what a column asks: text as it stands, with the text it is about after a blank line; or messages."""
    value = column(row, name)
    if isinstance(value, Mapping) and "messages" in value:
        value = value["messages"]
    if not isinstance(value, str):
        return messages_not_text(value, name)
    texts_about = [text(row, more) for more in about if row.get(more) is not None and more != name]
    return "\n\n".join([value, *(more for more in texts_about if more.strip())])


def prompt(row: Content, name: str, slice_columns: Sequence[str], about: Sequence[str] = ()) -> Prompt:
    """Return a prompt from text, which is used as it stands, or from a list of messages."""
    return prompt_of(content(row, name, about), row, slice_columns)


def messages_not_text(value: object, name: str) -> tuple[Message, ...]:
    if not isinstance(value, list | tuple):
        raise RowProblem(f"{name!r} is {shown(value)}, neither text nor messages", "write the text in quotes")
    return messages(value, name)
