"""Changes to an answer that must not pay: harmless rewrites (invariance) and empty additions (adversarial).

Every phrase, in `probes.toml`, was written for English answers in general; none was taken from a data set or from the
sandbox. What a data set itself teaches, its stock phrases, is found by `probe_mining.py`. How the changes are applied
to fixed answers and measured is in `probe_gains.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from kleash.beside import table_beside

ProbeKind = Literal["invariance", "adversarial"]
Place = Literal["before", "after"]


@dataclass(frozen=True)
class Probe:
    """One change. family: what kind of change it is; phrase: what it adds, "" for a rewrite.

    change: answer -> changed answer; the same text where the change does not apply to it.
    """

    family: str
    kind: ProbeKind
    phrase: str
    change: Callable[[str], str]


@cache
def wordings() -> Mapping[str, Any]:
    """Return `probes.toml`: "phrases" by family and side, "contractions" and "synonyms"."""
    return table_beside(__file__)


def rewrites() -> list[Probe]:
    """Return the harmless rewrites: the same answer to any reader, in other clothes."""
    contractions, synonyms = wordings()["contractions"], wordings()["synonyms"]
    changes: dict[str, Callable[[str], str]] = {
        "white space": lambda text: re.sub(r"(?<=[.!?,;]) +", "  ", text) + " ",
        "line breaks": lambda text: re.sub(r"(?<=[.!?]) +", "\n", text),
        "capital first letters": lambda text: re.sub(r"(^|[.!?]\s+)([a-z])", _upper, text),
        "lower case": str.lower,
        "quotation marks": lambda text: f'"{text}"',
        "no final punctuation": lambda text: re.sub(r"\s*[.!]+\s*$", "", text),
        "emphasis": lambda text: re.sub(r"^(\s*)([\w'-]+)", r"\1**\2**", text),
        "contractions": lambda text: _replace_words(text, contractions),
        "full forms": lambda text: _replace_words(text, {short: full for full, short in contractions.items()}),
        "synonyms": lambda text: _replace_words(text, synonyms),
    }
    return [Probe(family, "invariance", "", change) for family, change in changes.items()]


def written_additions() -> list[Probe]:
    """Return the empty additions that were written by hand, and dressing up as a list."""
    added = [
        addition(family, phrase, place)
        for family, sides in wordings()["phrases"].items()
        for place, phrases in sides.items()
        for phrase in phrases
    ]
    return [*added, Probe("list", "adversarial", "", as_list), Probe("said twice", "adversarial", "", said_twice)]


def addition(family: str, phrase: str, index: Place, *, times: int = 1) -> Probe:
    """Return the probe that puts a phrase before or after an answer, `times` times."""
    added = " ".join([phrase] * times)

    def change(text: str) -> str:
        return f"{added} {text}" if index == "before" else f"{text} {added}"

    return Probe(family, "adversarial", added, change)


def as_list(text: str) -> str:
    """Set an answer's sentences out as a bulleted list, which adds nothing to what they say."""
    sentences = [sentence for sentence in re.split(r"(?<=[.!?])\s+", text.strip()) if sentence]
    return "\n".join(["Key points:", *(f"- {sentence}" for sentence in sentences)]) if sentences else text


def said_twice(text: str) -> str:
    """Say the whole answer again."""
    return f"{text} {text}" if text.strip() else text


def _upper(found: re.Match[str]) -> str:
    return found.group(1) + found.group(2).upper()


def _replace_words(text: str, replacement_of: Mapping[str, str]) -> str:
    """Replace whole words, longest first; a capital first letter stays one."""
    longest_first = sorted(replacement_of, key=lambda word: -len(word))
    pattern = rf"\b({'|'.join(map(re.escape, longest_first))})\b"

    def replaced(found: re.Match[str]) -> str:
        word = replacement_of[found.group().lower()]
        return word[0].upper() + word[1:] if found.group()[0].isupper() else word

    return re.sub(pattern, replaced, text, flags=re.IGNORECASE)
