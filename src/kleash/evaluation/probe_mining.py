"""Find a data set's own empty phrases: what answers to many different prompts say, whatever was asked.

A reward model cannot be fooled by words it never met, but it may well have learnt to like a phrase that its raters
liked. Such phrases are in the answers that were compared, so they are looked for there; no word list is involved.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from kleash.evaluation.probes import Place, Probe, addition

StockKind = Literal["stock phrase", "stock answer"]

_BORDER = re.compile(r"(?<=[.!?;:,])\s+|\n+")
_WORD = re.compile(r"\w")
LARGEST_LIFT = {"stock phrase": 1.4, "stock answer": 3.0}
"""An empty phrase is no likelier in an answer when another answer to the same prompt has it. A refusal may well be, and
is still no answer to most prompts; "it is 12" is ten times as likely, for the prompt asks for it."""
ALONE_SHARE = 0.1
MIN_PROMPTS = 10
MIN_EXPECTED = 3.0
"""Of a phrase that chance would put into fewer than three second answers the lift cannot be told."""


@dataclass(frozen=True)
class StockPhrase:
    """A clause that many prompts' answers share.

    kind: "stock phrase" goes along with something said, "stock answer" often is all that is said (a refusal, "I do not
    know").  num_prompts: prompts with an answer that has it.  lift: P(an answer has it | another answer to the same
    prompt has it) / P(an answer has it); 1 = the prompt does not matter.  alone_share: of the answers that have it,
    those that consist of it.
    """

    text: str
    kind: StockKind
    place: Place
    num_prompts: int
    lift: float
    alone_share: float

    def probe(self, *, times: int = 1) -> Probe:
        family = self.kind if times == 1 else f"{self.kind}, {times} times"
        return addition(family, self.text, self.place, times=times)


def clauses(text: str) -> list[str]:
    """Cut a text behind every punctuation mark and line break; pieces without a letter or digit are left out."""
    return [piece.strip() for piece in _BORDER.split(text) if _WORD.search(piece)]


def stock_phrases(
    answers: Iterable[tuple[str, str]], *, most: int = 16, min_prompts: int = MIN_PROMPTS
) -> list[StockPhrase]:
    """Return the commonest stock phrases and stock answers, at most `most` of each kind, commonest first.

    answers: (prompt, answer); the lift needs prompts with several answers, and without any no phrase can be told from
    what the prompt asked for: the result is empty.
    min_prompts: a phrase must occur with so many prompts.
    """
    pieces_of: dict[str, list[list[str]]] = defaultdict(list)
    for prompt, answer in dict.fromkeys(answers):
        pieces_of[prompt].append(clauses(answer))
    several = [group for group in pieces_of.values() if len(group) > 1]
    num_prompts = Counter(piece for group in pieces_of.values() for piece in {p for pieces in group for p in pieces})
    common = {piece for piece, number in num_prompts.items() if number >= min_prompts}
    found = [_described(piece, num_prompts[piece], pieces_of.values(), several) for piece in sorted(common)]
    empty = [one for one in found if one.lift <= LARGEST_LIFT[one.kind]]
    return _commonest(empty, "stock phrase", most) + _commonest(empty, "stock answer", most)


def _described(
    piece: str, num_prompts: int, groups: Iterable[Sequence[Sequence[str]]], several: Sequence[Sequence[Sequence[str]]]
) -> StockPhrase:
    having = [pieces for group in groups for pieces in group if piece in pieces]
    alone_share = sum(set(pieces) == {piece} for pieces in having) / len(having)
    num_first = sum(pieces[0] == piece for pieces in having if len(set(pieces)) > 1)
    num_last = sum(pieces[-1] == piece for pieces in having if len(set(pieces)) > 1)
    return StockPhrase(
        text=piece,
        kind="stock answer" if alone_share >= ALONE_SHARE else "stock phrase",
        place="before" if num_first > num_last else "after",
        num_prompts=num_prompts,
        lift=_lift(piece, several),
        alone_share=alone_share,
    )


def _lift(piece: str, several: Sequence[Sequence[Sequence[str]]]) -> float:
    """Return how much likelier an answer has the piece when another answer to its prompt has it; inf if untold."""
    num_with = num_answers = 0
    num_both = num_beside = 0
    for group in several:
        having = sum(piece in pieces for pieces in group)
        num_with, num_answers = num_with + having, num_answers + len(group)
        num_both, num_beside = num_both + having * (having - 1), num_beside + having * (len(group) - 1)
    expected = num_beside * num_with / max(1, num_answers)
    return num_both / expected if expected >= MIN_EXPECTED else math.inf


def _commonest(phrases: Sequence[StockPhrase], kind: StockKind, most: int) -> list[StockPhrase]:
    return sorted((one for one in phrases if one.kind == kind), key=lambda one: -one.num_prompts)[:most]
