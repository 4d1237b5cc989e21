"""Where a conversation's prompt ends and its answer begins: HH transcripts, message lists, OpenAssistant trees.

Everything here returns `records.Message` turns; `shapes.py` makes records of them.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kleash.formats import fields
from kleash.formats.rows import RowProblem
from kleash.records import Message, Prompt

HUMAN = "\n\nHuman:"
ASSISTANT = "\n\nAssistant:"
_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")


def is_transcript(value: object) -> bool:
    """Whether a text reads like Anthropic's HH files: turns that open with Human: and Assistant:."""
    return isinstance(value, str) and value.lstrip().startswith("Human:") and ASSISTANT in value


def transcript_turns(transcript: str, name: str) -> tuple[Message, ...]:
    """Split a transcript into its turns, white space around each left off; turns of one speaker in a row become one."""
    parts = _TURN.split(transcript)
    if parts[0].strip() or len(parts) < 3:
        raise RowProblem(
            f"{name!r} does not open with 'Human:'", "write turns as \\n\\nHuman: ... \\n\\nAssistant: ..."
        )
    roles = ("user" if speaker == "Human" else "assistant" for speaker in parts[1::2])
    return fields.merged(
        Message(role, content.strip())  # type: ignore[arg-type]
        for role, content in zip(roles, parts[2::2], strict=True)
    )


def as_transcript(prompt: Prompt) -> Prompt:
    """Write a conversation as one text that ends where the answer begins; plain text stays as it is."""
    if isinstance(prompt.content, str):
        return prompt
    speakers = {"user": HUMAN, "assistant": ASSISTANT, "system": "\n\nSystem:", "tool": "\n\nTool:"}
    turns = "".join(f"{speakers[message.role]} {message.content}" for message in prompt.content)
    return replace(prompt, content=turns + ASSISTANT)


def prompt_and_answer(turns: Sequence[Message], name: str) -> tuple[tuple[Message, ...], str]:
    """Part a conversation before its last turn, which must be the assistant's."""
    if turns[-1].role != "assistant":
        raise RowProblem(f"{name!r} ends with a turn of the {turns[-1].role}", "end it with the assistant's answer")
    if len(turns) == 1:
        raise RowProblem(f"{name!r} has an answer and no prompt", "put the user's turn first")
    return tuple(turns[:-1]), turns[-1].content


def continued(prompt: tuple[Message, ...], turns: tuple[Message, ...], name: str, ask: str) -> tuple[Message, ...]:
    """Return the whole conversation of a prompt and a column `name` that goes on from it.

    The column may repeat all of the prompt, the end of it, or nothing; every turn of both is kept. Raises RowProblem
    where the two do not fit together.
    """
    whole, size = _bare(turns), len(prompt)
    asked = _bare(prompt)
    if any(whole[start : start + size] == asked for start in range(len(whole))):
        return turns
    shared = next((size for size in range(min(size, len(turns)), 0, -1) if asked[-size:] == whole[:size]), 0)
    if not shared and turns[0].role in (prompt[-1].role, "system"):
        raise RowProblem(
            f"{name!r} opens with a turn of the {turns[0].role} that does not follow {ask!r}",
            f"let {name!r} repeat {ask!r}, or begin with the answer to it",
        )
    return (*prompt, *turns[shared:])


def _bare(turns: Sequence[Message]) -> list[tuple[str, str]]:
    return [(turn.role, turn.content.strip()) for turn in turns]


def shared_prompt_and_answers(
    chosen: Sequence[Message], rejected: Sequence[Message], names: tuple[str, str] = ("chosen", "rejected")
) -> tuple[tuple[Message, ...], str, str]:
    """Part two conversations that agree up to their last turn, each an answer of the assistant's."""
    prompt, better = prompt_and_answer(chosen, names[0])
    other_prompt, worse = prompt_and_answer(rejected, names[1])
    if prompt != other_prompt:
        turn = _num_shared(prompt, other_prompt) + 1
        raise RowProblem(
            f"{names[0]!r} and {names[1]!r} part at turn {turn}, before the last answer "
            f"(they have {len(chosen)} and {len(rejected)} turns)",
            "cut both after the first answer that differs, or remove the row",
        )
    return prompt, better, worse


def shared_text_and_rests(chosen: str, rejected: str) -> tuple[str, str, str]:
    """Part two texts after the beginning they share, at its last line break, else at its last space."""
    shared = chosen[: _num_shared(chosen, rejected)]
    cut = shared.rfind("\n") + 1 or max(shared.rfind(" "), 0)
    if not shared[:cut].strip():
        raise RowProblem(
            "'chosen' and 'rejected' share no beginning that could be the prompt", "give the prompt a column of its own"
        )
    return chosen[:cut], chosen[cut:], rejected[cut:]


def _num_shared(one: Sequence[object], other: Sequence[object]) -> int:
    """Return how many members two sequences share from the first one on."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


@dataclass(frozen=True)
class Branching:
    """A point of a conversation tree with the replies it got. rank: 1 = best, None = not ranked."""

    prompt: tuple[Message, ...]
    replies: tuple[str, ...]
    rank: tuple[int | None, ...]
    authors: tuple[str, ...]


def branchings(tree: Mapping[str, Any]) -> Iterator[Branching]:
    """Walk an OpenAssistant tree, depth first, and yield each user's turn with the assistants' replies to it."""
    waiting: list[tuple[Mapping[str, Any], tuple[Message, ...]]] = [(tree, ())]
    while waiting:
        node, path = waiting.pop()
        role = fields.one_of(node, "role", ("prompter", "assistant"))
        turn = Message(fields.ROLE_OF[role], fields.text(node, "text"))
        replies = node.get("replies") or []
        if not isinstance(replies, list) or not all(isinstance(reply, Mapping) for reply in replies):
            raise RowProblem(f"'replies' is {fields.shown(replies)}", "write a list of messages")
        replies = [reply for reply in replies if not reply.get("deleted")]
        here = (*path, turn)
        answers = [reply for reply in replies if reply.get("role") == "assistant"]
        if role == "prompter" and answers:
            yield Branching(
                prompt=fields.merged(here),
                replies=tuple(fields.text(reply, "text") for reply in answers),
                rank=tuple(_rank(reply) for reply in answers),
                authors=tuple(str(reply.get("model_name") or "person") for reply in answers),
            )
        waiting += [(reply, here) for reply in reversed(replies)]


def _rank(reply: Mapping[str, Any]) -> int | None:
    rank = reply.get("rank")
    if isinstance(rank, float):  # what pandas makes of a column with gaps
        rank = int(rank) if rank.is_integer() else None if math.isnan(rank) else rank
    return None if rank is None else fields.whole_number({"rank": rank}, "rank") + 1
