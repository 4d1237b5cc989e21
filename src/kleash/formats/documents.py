"""Plain text into documents short enough to train on: books, stories, any `.txt`.

A document becomes a demonstration with an empty prompt, so that pretraining is ordinary supervised fine-tuning.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

END_OF_TEXT = "<|endoftext|>"

# About 430 tokens of a 512-word vocabulary, 250 of a usual one: a document fits where an answer fits.
MAX_CHARACTERS = 1000

_SINGLE_BREAK = re.compile(r"(?<!\n)\n(?!\n)")
_BLANK_LINE = re.compile(r"\n[ \t]*\n\s*")
_SENTENCE_END = frozenset(".!?\"'”’)…")


def documents_of(text: str, *, max_characters: int = MAX_CHARACTERS) -> Iterator[tuple[int, str]]:
    """Yield (line, document) for each document of a text; consecutive paragraphs share one while they fit.

    Documents end at `<|endoftext|>` where the text has such marks. Otherwise the layout tells: in a text whose lines
    are not wrapped, the rarer of line break and blank line is the larger unit (stories of several paragraphs, one after
    the other); in a wrapped one, such as a book, there are only paragraphs. A document longer than max_characters
    becomes several, cut between paragraphs, else between lines, else between words.
    """
    text = text.replace("\r\n", "\n")
    line, counted = 1, 0
    for start, whole in _split(text, _document_border(text)):
        for offset, piece in _packed(whole, max_characters):
            if piece.strip():
                first = start + offset + len(piece) - len(piece.lstrip())
                line, counted = line + text.count("\n", counted, first), first
                yield line, piece.strip()


def _document_border(text: str) -> re.Pattern[str] | None:
    """Return what separates documents; None if there are only paragraphs."""
    if END_OF_TEXT in text:
        return re.compile(re.escape(END_OF_TEXT))
    body = text.strip()
    breaks = [match.start() for match in _SINGLE_BREAK.finditer(body)]
    is_wrapped = sum(body[at - 1] in _SENTENCE_END for at in breaks) < 0.9 * len(breaks)
    if is_wrapped or not breaks:
        return None
    num_blank_lines = len(_BLANK_LINE.findall(body))
    return _BLANK_LINE if 0 < num_blank_lines <= len(breaks) else _SINGLE_BREAK


def _split(text: str, border: re.Pattern[str] | None) -> Iterator[tuple[int, str]]:
    """Yield (position, part) for the parts between the borders."""
    position = 0
    for match in border.finditer(text) if border else ():
        yield position, text[position : match.start()]
        position = match.end()
    yield position, text[position:]


def _packed(text: str, max_characters: int) -> Iterator[tuple[int, str]]:
    """Yield (position, piece) of pieces of at most max_characters, each as long as the borders in it allow."""
    position = 0
    while len(text) - position > max_characters:
        window = text[position : position + max_characters]
        cut = max(window.rfind("\n\n"), 0) or max(window.rfind("\n"), 0) or max(window.rfind(" "), 0) or len(window)
        yield position, window[:cut]
        position += cut
    yield position, text[position:]
