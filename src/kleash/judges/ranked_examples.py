"""A scorer's proof: examples that it carries and must put in order, checked before compute is spent on its word.

A scorer takes part by an attribute `ranked_examples`; a scoring function by the same attribute of the function.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from kleash.errors import SettingsError
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


def check_scorer(scorer: Scorer, *, name: str) -> int:
    """Return how many ranked examples the scorer puts in order; 0 when it carries none.

    name: what the user calls the scorer.
    Raises SettingsError naming the first pair that is out of order.
    """
    pairs = misordered_pairs(scorer)
    if pairs:
        pair = pairs[0]
        raise SettingsError(
            f"Scorer {name} gives {pair.better[:80]!r} the score {pair.better_score:.4g} and {pair.worse[:80]!r} "
            f"{pair.worse_score:.4g}, as answers to {pair.prompt.text[:60]!r}; {len(pairs)} pair(s) of its ranked "
            "examples are so. Expected the first above the second. Correct the scorer or its ranked_examples."
        )
    return len(examples_of(scorer))


def examples_of(scorer: Scorer) -> Sequence[RankedExample]:
    """Return the examples that a scorer carries, if any."""
    return getattr(scorer, "ranked_examples", ())
