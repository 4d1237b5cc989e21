"""A judge of helpfulness that shares nothing with what is trained: a bag of words fitted on people's comparisons.

    python recipes/hh_judge.py    # how often it agrees with people whose comparisons it has not seen

It learns from hh_methods/judge.jsonl, which `make_hh_methods.py` keeps apart: Bradley-Terry in an answer's words, each
counted once, and the logarithm of its length, with a ridge. It knows as much of helpfulness as words
without their order can say; `docs/choosing-a-method.md` has its agreement beside the figures it gave.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from kleash.formats import read_preferences
from kleash.records import Preference

COMPARISONS = Path("hh_methods/judge.jsonl")
LEAST_ANSWERS = 5
"""Answers that a word must occur in to count."""
RIDGE = 100.0
FOLDS = 5


class WordJudge:
    """Bradley-Terry in words: P(a beats b) = sigmoid(weights . (features(a) - features(b)))."""

    def __init__(self, comparisons: Sequence[Preference]) -> None:
        seen = Counter(word for row in comparisons for text in row.completions for word in set(_words(text)))
        known = [word for word, count in sorted(seen.items()) if count >= LEAST_ANSWERS]
        self.place_of = {word: index for index, word in enumerate(known)}
        gaps = self.gaps(comparisons)

        def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
            margins = gaps @ weights
            value = np.logaddexp(0, -margins).sum() + RIDGE / 2 * weights @ weights
            return value, -gaps.T @ (1 / (1 + np.exp(margins))) + RIDGE * weights

        self.weights = minimize(loss, np.zeros(gaps.shape[1]), jac=True, method="L-BFGS-B").x

    def score(self, text: str) -> float:
        return float(self._features(text) @ self.weights)

    def gaps(self, comparisons: Sequence[Preference]) -> np.ndarray:
        """Return (row, feature): what the preferred answer has more of than the other."""
        pairs = [(row.completions, pair) for row in comparisons for pair in row.pairs if pair.label != 0.5]
        return np.array(
            [
                (self._features(texts[pair.first]) - self._features(texts[pair.second]))
                * (1 if pair.label > 0.5 else -1)
                for texts, pair in pairs
            ]
        )

    def _features(self, text: str) -> np.ndarray:
        words = _words(text)
        features = np.zeros(len(self.place_of) + 1)
        features[[self.place_of[word] for word in words if word in self.place_of]] = 1.0
        features[-1] = np.log1p(len(words))
        return features


@cache
def fitted() -> WordJudge:
    return WordJudge(list(read_preferences(COMPARISONS).records))


def helpfulness(prompt: str, completion: str) -> float:
    """Return how helpful an answer sounds, in log-odds; only a difference between two answers to one prompt counts."""
    return fitted().score(completion)


def agreement() -> tuple[int, int]:
    """Return on how many comparisons it agrees with people, each judged by a fit without its fold, and of how many."""
    rows = list(read_preferences(COMPARISONS).records)
    margins = [
        margin
        for fold in range(FOLDS)
        for judge in [WordJudge([row for number, row in enumerate(rows) if number % FOLDS != fold])]
        for margin in judge.gaps(rows[fold::FOLDS]) @ judge.weights
    ]
    return sum(margin > 0 for margin in margins), len(margins)


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z']+|[?!.]", text.lower())


if __name__ == "__main__":
    right, n = agreement()
    print(f"agrees with people on {right / n:.1%} of {n} comparisons it was not fitted on")
