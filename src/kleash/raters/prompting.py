"""How two answers are put before an AI judge: a rubric that is ours, and texts that may be anybody's.

Prompt and answers are hostile input: an answer may hold instructions, our own markers or a ready-made verdict. They
stand between markers that carry a digest of the very texts, which no text can contain, and the rules are said outside.
The digest comes from the content, so that the same question has the same key on every machine. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, Unpack

from kleash.raters.verdicts import CHOICES, OVERALL, RationalePlace, verdict_schema
from kleash.records import Comparison, content_id

ChatMessages = tuple[Mapping[str, str], ...]


def _read(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8").rstrip("\n")


DEFAULT_RUBRIC = _read("rubric.md")
_RULES, _ABOUT_CRITERIA = _read("rules.txt"), _read("about_criteria.txt") + "\n\n"


@dataclass(frozen=True)
class JudgeQuestion:
    """One request to a judge: the messages, and which answers they show first and second.

    key: digest over model, messages and the settings that shape a reply; equal keys are the same question.
    """

    key: str
    messages: ChatMessages
    order: tuple[int, int]
    prompt_digest: str


class Form(TypedDict):
    """What a judge is asked by, whatever the texts: the rubric, and what the reply is to hold."""

    rubric: str
    aspects: Sequence[str]
    rationale: RationalePlace


def judge_question(
    comparison: Comparison, order: tuple[int, int], *, request: Mapping[str, Any], **form: Unpack[Form]
) -> JudgeQuestion:
    """Put two of a comparison's answers into a question in one order. request: model and sampling, part of the key."""
    first, second = (comparison.completions[index] for index in order)
    messages = judge_messages(comparison.prompt.text, first, second, criteria=comparison.prompt.criteria, **form)
    return JudgeQuestion(
        key=content_id("judge call", list(messages), dict(request)),
        messages=messages,
        order=order,
        prompt_digest=content_id("judge messages", list(messages)),
    )


def judge_messages(prompt: str, first: str, second: str, *, criteria: str = "", **form: Unpack[Form]) -> ChatMessages:
    """Return the chat messages that ask for a verdict on two answers. criteria: of this prompt, beside the rubric."""
    names = ("PROMPT", "FIRST ANSWER", "SECOND ANSWER", *(("CRITERIA",) if criteria else ()))
    texts = [_sendable(text) for text in (prompt, first, second, criteria)][: len(names)]
    mark = _mark(texts)
    named = zip(names, texts, strict=True)
    blocks = [f"<<<{name} {mark}>>>\n{text}\n<<<END OF {name} {mark}>>>" for name, text in named]
    reply, rubric = _reply_form(form["aspects"], form["rationale"]), _sendable(form["rubric"]).strip()
    rules = _RULES.format(rubric=rubric, mark=mark, about_criteria=_ABOUT_CRITERIA if criteria else "", form=reply)
    request = f"The markers end here. Compare the two answers by the rubric. {reply}"
    return ({"role": "system", "content": rules}, {"role": "user", "content": "\n\n".join([*blocks, request])})


def prompt_form(**form: Unpack[Form]) -> str:
    """Return a digest of everything in the messages that is not the texts to judge: rubric, rules and form."""
    return content_id(list(judge_messages("", "", "", **form)))


def rubric_digest(rubric: str) -> str:
    """Return the digest by which judgements name the rubric they were made by."""
    return content_id("rubric", rubric)


def _reply_form(aspects: Sequence[str], rationale: RationalePlace) -> str:
    keys = verdict_schema(aspects, rationale=rationale)["properties"]
    example = {key: "one or two sentences" if key == "rationale" else _alternatives(key) for key in keys}
    return "Reply with one JSON object of this form, with its keys in this order, and nothing after it: " + json.dumps(
        example, ensure_ascii=False
    )


def _alternatives(key: str) -> str:
    return " | ".join(OVERALL if key == "overall" else CHOICES)


def _mark(texts: Sequence[str]) -> str:
    """Return a code that no text holds, since it would have to hold its own digest; the same in both orders."""
    prompt, first, second, *criteria = texts
    return content_id("mark", prompt, sorted((first, second)), *criteria)


def _sendable(text: str) -> str:
    """Replace what UTF-8 cannot carry: a model cut off in mid-character may leave half of one."""
    return text.encode("utf-8", "replace").decode("utf-8")
