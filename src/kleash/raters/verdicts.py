"""What an AI judge must answer, and how its reply is read: anything doubtful is no verdict, and never a vote.

Pure. A verdict speaks of the answers as they were shown, "first" and "second"; `merging.py` turns the verdicts of both
orders into a judgement of the comparison.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

PairChoice = Literal["first", "second", "tie"]
Overall = Literal["first", "second", "tie", "both_bad"]
RationalePlace = Literal["before", "after", "none"]

CHOICES: tuple[PairChoice, ...] = ("first", "second", "tie")
OVERALL: tuple[Overall, ...] = (*CHOICES, "both_bad")
ASPECTS = ("factuality", "helpfulness", "style")


@dataclass(frozen=True)
class JudgeVerdict:
    """What a judge said of two answers shown in one order; each aspect is asked apart from the overall choice."""

    overall: Overall
    aspects: Mapping[str, PairChoice] = field(default_factory=dict)
    rationale: str = ""


def verdict_schema(aspects: Sequence[str] = ASPECTS, *, rationale: RationalePlace = "after") -> dict[str, Any]:
    """Return the JSON schema of a reply; its keys are in the order in which the judge is to write them."""
    choices: dict[str, Any] = {aspect: {"type": "string", "enum": list(CHOICES)} for aspect in aspects}
    choices["overall"] = {"type": "string", "enum": list(OVERALL)}
    reasons: dict[str, Any] = {} if rationale == "none" else {"rationale": {"type": "string"}}
    properties = reasons | choices if rationale == "before" else choices | reasons
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def parse_verdict(reply: str, *, aspects: Sequence[str] = ASPECTS) -> JudgeVerdict | None:
    """Read a judge's reply; None when it holds no verdict beyond doubt.

    A reply that is JSON throughout is taken at its word. Otherwise the last JSON object counts, fenced or not, and
    only if it ends the reply and no verdict before it says otherwise: a judge that quotes an answer's own "verdict",
    changes its mind or was cut short has not voted. What a reasoning model thinks aloud, up to </think>, is not read.
    A key given twice, a missing aspect and a word that is no choice make the object no verdict; further keys are let
    pass.
    """
    try:
        return _as_verdict(json.loads(reply, object_pairs_hook=_doubles_as_none), aspects)
    except (ValueError, RecursionError):
        pass
    said = _after_thoughts(reply)
    found = list(_json_objects(said))
    if not found or re.sub(r"[\s`]", "", said[found[-1][1] :]):
        return None
    *others, verdict = [_as_verdict(value, aspects) for value, _ in found]
    if verdict is None or any(other and _choices(other) != _choices(verdict) for other in others):
        return None
    return verdict


def _choices(verdict: JudgeVerdict) -> tuple[str, Mapping[str, str]]:
    return verdict.overall, verdict.aspects


def _as_verdict(value: Any, aspects: Sequence[str]) -> JudgeVerdict | None:
    if not isinstance(value, dict):
        return None
    overall, rationale = _word(value.get("overall")), value.get("rationale")
    chosen = {aspect: _word(value.get(aspect)) for aspect in aspects}
    is_legal = overall in OVERALL and all(choice in CHOICES for choice in chosen.values())
    if not is_legal or not isinstance(rationale, str | None):
        return None
    return JudgeVerdict(overall, chosen, (rationale or "").strip())  # type: ignore[arg-type]  # looked up in the literals above


def _word(value: Any) -> str:
    return value.strip().lower() if isinstance(value, str) else ""


def _after_thoughts(reply: str) -> str:
    """Return what follows a reasoning model's thoughts; nothing, when they were cut short."""
    before, mark, after = reply.rpartition("</think>")
    if mark:
        return after
    return "" if before == "" and after.lstrip().startswith("<think>") else after


def _json_objects(text: str) -> Iterator[tuple[Any, int]]:
    """Yield a text's outermost JSON objects in order, each with where it ends; None for one with a key given twice."""
    decoder = json.JSONDecoder(object_pairs_hook=_doubles_as_none)
    start = text.find("{")
    while start >= 0:
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            end = start + 1
        else:
            yield value, end
        start = text.find("{", end)


def _doubles_as_none(pairs: list[tuple[str, Any]]) -> dict[str, Any] | None:
    content = dict(pairs)
    return content if len(content) == len(pairs) else None
