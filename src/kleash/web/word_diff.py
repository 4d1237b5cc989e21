"""Which words two answers share, so that a reader sees at a glance where they differ. Pure, and bounded in cost."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import takewhile

from kleash.web.visible import visible_text

# Comparing takes time quadratic in the words that differ; what lies beyond is shown as not compared.
MAX_COMPARED_WORDS = 1_500
_WORD = re.compile(r"\s+|\w+|[^\w\s]")


@dataclass(frozen=True)
class Segment:
    """A stretch of an answer.  is_shared: the other answer has it too; None where the two were not compared."""

    text: str
    is_shared: bool | None


@dataclass(frozen=True)
class WordDiff:
    """Two answers cut into stretches; the stretches of each join to its whole visible text."""

    first: tuple[Segment, ...]
    second: tuple[Segment, ...]


def word_diff(first: str, second: str) -> WordDiff:
    """Mark the words of two texts that the other one has not, in order."""
    words, others = (_WORD.findall(visible_text(text)) for text in (first, second))
    num_before = _num_shared_at_start(words, others)
    num_after = _num_shared_at_start(words[num_before:][::-1], others[num_before:][::-1])
    middle = words[num_before : len(words) - num_after]
    other_middle = others[num_before : len(others) - num_after]
    matcher = SequenceMatcher(None, middle[:MAX_COMPARED_WORDS], other_middle[:MAX_COMPARED_WORDS])
    blocks = matcher.get_matching_blocks()
    before, after = words[:num_before], words[len(words) - num_after :]
    return WordDiff(
        _segments(before, middle, after, [(block.a, block.size) for block in blocks]),
        _segments(before, other_middle, after, [(block.b, block.size) for block in blocks]),
    )


def _num_shared_at_start(words: Sequence[str], others: Sequence[str]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(words, others, strict=False)))


def _segments(
    before: Sequence[str], middle: Sequence[str], after: Sequence[str], shared: Sequence[tuple[int, int]]
) -> tuple[Segment, ...]:
    """Cut an answer's words. shared: (start, length) of the stretches of `middle` that the other answer has as well."""
    parts: list[tuple[Sequence[str], bool | None]] = [(before, True)]
    position = 0
    for start, length in shared:
        parts.append((middle[position:start], False))
        parts.append((middle[start : start + length], True))
        position = start + length
    parts += [(middle[position:], None), (after, True)]
    return tuple(Segment("".join(words), is_shared) for words, is_shared in parts if words)
