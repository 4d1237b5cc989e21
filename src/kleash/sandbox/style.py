"""Manner apart from matter: filler, flattery, refusals, and how to tell them from what an answer says.

`read_style(text)` strips the manner from any text and returns what is left as words. Demonstrations use the same
phrases, those of `style.toml`, to write, the gold reward to read. Read `slices.py` for what answers say.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kleash.beside import table_beside

_PHRASES = table_beside(__file__)
FLATTERY: tuple[str, ...] = tuple(_PHRASES["flattery"])
FILLER_BEFORE: tuple[str, ...] = tuple(_PHRASES["filler_before"])
FILLER_AFTER: tuple[str, ...] = tuple(_PHRASES["filler_after"])
REFUSALS: tuple[str, ...] = tuple(_PHRASES["refusals"])
ASKING_BACK: tuple[str, ...] = tuple(_PHRASES["asking_back"])
DO_NOT_KNOW: tuple[str, ...] = tuple(_PHRASES["do_not_know"])
OPENERS: tuple[str, ...] = tuple(_PHRASES["openers"])

_WORD = re.compile(r"[a-z0-9]+|[^\sa-z0-9]")
_ENDINGS = frozenset(".?!")


def split_words(text: str) -> list[str]:
    """Return lower-case words and punctuation marks in order, whatever the spacing."""
    return _WORD.findall(text.lower())


def bare_words(text: str) -> tuple[str, ...]:
    """Return the words without punctuation: what two answers that say the same share."""
    return tuple(token for token in split_words(text) if token.isalnum())


_FLATTERY_WORDS = tuple(bare_words(phrase) for phrase in FLATTERY)
_FILLER_WORDS = tuple(bare_words(phrase) for phrase in FILLER_BEFORE + FILLER_AFTER)
_REFUSAL_WORDS = frozenset(bare_words(phrase) for phrase in REFUSALS)
_DO_NOT_KNOW_WORDS = frozenset(bare_words(phrase) for phrase in DO_NOT_KNOW)


@dataclass(frozen=True)
class Style:
    """An answer taken apart.

    words: all words, manner included.  core: the words left when filler and flattery are removed.
    num_flattery: flattering phrases.  num_filler_words: words of filler phrases.
    num_repeats: runs of three words that occurred before in the same answer.
    is_refusal, is_do_not_know: the core is one of the stock phrases.  is_finished: ends with a full stop, ? or !.
    """

    words: tuple[str, ...]
    core: tuple[str, ...]
    num_flattery: int
    num_filler_words: int
    num_repeats: int
    is_refusal: bool
    is_do_not_know: bool
    is_finished: bool


def read_style(text: str) -> Style:
    """Take any text apart into what it says and how it says it. Never raises."""
    tokens = split_words(text)
    words = tuple(token for token in tokens if token.isalnum())
    core, num_flattery = _strip(words, _FLATTERY_WORDS)
    num_before_filler = len(core)
    core, _ = _strip(core, _FILLER_WORDS)
    triples = list(zip(words, words[1:], words[2:], strict=False))
    return Style(
        words=words,
        core=core,
        num_flattery=num_flattery,
        num_filler_words=num_before_filler - len(core),
        num_repeats=len(triples) - len(set(triples)),
        is_refusal=core in _REFUSAL_WORDS,
        is_do_not_know=core in _DO_NOT_KNOW_WORDS,
        is_finished=bool(tokens) and tokens[-1] in _ENDINGS,
    )


def _strip(words: tuple[str, ...], phrases: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], int]:
    """Remove every occurrence of the phrases; return the remaining words and how many phrases went."""
    left: list[str] = []
    num_removed = 0
    index = 0
    while index < len(words):
        for phrase in phrases:
            if words[index : index + len(phrase)] == phrase:
                index += len(phrase)
                num_removed += 1
                break
        else:
            left.append(words[index])
            index += 1
    return tuple(left), num_removed
