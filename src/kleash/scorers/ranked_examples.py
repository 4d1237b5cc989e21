"""A scorer's proof: examples that it carries and must put in order, checked before compute is spent on its word.

A scorer takes part by an attribute `ranked_examples`; a scoring function by the same attribute of the function.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from kleash.protocols import Scorer
from kleash.records import Completion, Prompt


@dataclass(frozen=True)
class RankedExample:
    """Answers to one prompt, best first, no two alike in worth."""

    prompt: Prompt
    completions: tuple[str, ...]


@dataclass(frozen=True)
class MisorderedPair:
    """Two answers that a scorer does not put in the order it promised, with their scores."""

    prompt: Prompt
    better: str
    worse: str
    better_score: float
    worse_score: float


def misordered_pairs(scorer: Scorer) -> list[MisorderedPair]:
    """Return the neighbours in the scorer's ranked examples that it scores level or the wrong way round."""
    found: list[MisorderedPair] = []
    for example in examples_of(scorer):
        answers = [Completion(example.prompt, text, finish_reason="stop") for text in example.completions]
        scored = list(zip(example.completions, scorer.score(answers).total, strict=True))
        for (better, better_score), (worse, worse_score) in itertools.pairwise(scored):
            if not better_score > worse_score:
                found.append(MisorderedPair(example.prompt, better, worse, better_score, worse_score))
    return found


def examples_of(scorer: Scorer) -> Sequence[RankedExample]:
    """Return the examples that a scorer carries, if any."""
    return getattr(scorer, "ranked_examples", ())
