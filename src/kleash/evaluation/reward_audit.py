"""How well a reward model orders, separates and calibrates pairs it was not trained on: pure figures from scored pairs.

No model here: pairs come with their scores. What an answer gains by empty additions is measured in `probe_gains.py`,
which figures make a reward model pass or fail is decided in `gates.py`, and the stage that puts it all together is
`stages/audit.py`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kleash.maths.intervals import Interval, bootstrap_interval, paired_difference_interval, wilson_interval
from kleash.records import Pair, Preference, slice_names

Figures = dict[str, Any]

FACTUALITY, STYLE = "factuality", "style"
NUM_BINS = 10
MIN_PER_BIN = 20
LARGEST_LOG_TEMPERATURE = 4.0


@dataclass(frozen=True)
class ScoredPair:
    """Two answers to one prompt with their scores, the preferred one first (of a tie, either).

    label: share of the votes for the preferred answer, .5 (a tie) to 1.  margin: preferred answer's raw score less the
    other's.  lengths: of the preferred answer and the other.  factuality, style: share of the raters who, asked for
    that aspect alone, took the preferred answer; None = not asked.
    """

    prompt: str
    preferred: str
    other: str
    label: float
    margin: float
    lengths: tuple[int, int]
    strength: str | None = None
    slices: Mapping[str, str] = field(default_factory=dict)
    factuality: float | None = None
    style: float | None = None

    @property
    def is_decided(self) -> bool:
        return self.label != 0.5

    @property
    def confidence(self) -> float:
        """How sure the model is of its own order, max(p, 1 - p) with p = sigmoid(margin): it has no orientation."""
        return 1 / (1 + math.exp(-min(abs(self.margin), 700.0)))

    @property
    def agreement(self) -> float:
        """The share of the votes that are for the model's own order."""
        return self.label if self.margin > 0 else 1 - self.label if self.margin < 0 else 0.5

    @property
    def difficulty(self) -> str:
        """easy, near miss (slightly better, or a tie) or hard (split votes); a slice named so goes before."""
        if "difficulty" in self.slices:
            return self.slices["difficulty"]
        if not self.is_decided or self.strength == "slightly":
            return "near miss"
        return "hard" if self.label < 1 else "easy"


def scored_pairs(
    preferences: Iterable[Preference], scores: Iterable[float], lengths: Iterable[int]
) -> list[ScoredPair]:
    """Join preferences with the raw score and the length of each of their completions, in order."""
    score_of, length_of = iter(scores), iter(lengths)
    found = []
    for row in preferences:
        row_scores = [next(score_of) for _ in row.completions]
        row_lengths = [next(length_of) for _ in row.completions]
        found += [_scored(row, pair, row_scores, row_lengths) for pair in row.pairs]
    return found


def measure_pairs(pairs: Sequence[ScoredPair]) -> Figures:
    """Return accuracy (over all, by slice, strength and difficulty), length and aspect figures of held-out pairs."""
    decided = [pair for pair in pairs if pair.is_decided]
    longer_wins = [_longer_wins(pair) for pair in decided]
    length_baseline = sum(longer_wins) / max(1, len(longer_wins))
    figures: Figures = {
        "accuracy": vars(accuracy(decided)),
        "pairs": len(pairs),
        "ties": len(pairs) - len(decided),
        "slices": _by_group(decided, lambda pair: slice_names(pair.slices)),
        "strengths": _by_group(decided, lambda pair: [pair.strength] if pair.strength else []),
        "difficulties": _by_group(decided, lambda pair: [pair.difficulty]),
        "longer_wins": vars(wilson_interval(sum(longer_wins), len(longer_wins))),
        "length_baseline_accuracy": max(length_baseline, 1 - length_baseline),
        "accuracy_where_longer_preferred": vars(accuracy([p for p in decided if p.lengths[0] > p.lengths[1]])),
        "accuracy_where_shorter_preferred": vars(accuracy([p for p in decided if p.lengths[0] < p.lengths[1]])),
        "margin_length_correlation": vars(margin_length_correlation(pairs)),
        **aspect_figures(pairs),
    }
    # A rate of nothing, or a correlation with lengths that are all the same, is left out rather than NaN.
    return {name: value for name, value in figures.items() if not _is_undefined(value)}


def accuracy(decided: Sequence[ScoredPair]) -> Interval:
    """Return the share of pairs whose preferred answer scores higher, with Wilson's interval."""
    return wilson_interval(sum(pair.margin > 0 for pair in decided), len(decided))


def memory_figures(before: Sequence[ScoredPair], after: Sequence[ScoredPair]) -> Figures:
    """Compare two reward models on the same pairs: what a refreshed one still knows of an earlier round.

    "before", "after": accuracy of the older and the newer model; "change": after less before, paired.
    Raises DataError when nothing is decided, or the pairs differ.
    """
    older, newer = ([pair for pair in pairs if pair.is_decided] for pairs in (before, after))
    is_right = ([pair.margin > 0 for pair in pairs] for pairs in (newer, older))
    change = paired_difference_interval(*is_right, bounds=(-1.0, 1.0))
    return {"before": vars(accuracy(older)), "after": vars(accuracy(newer)), "change": vars(change)}


def aspect_figures(pairs: Sequence[ScoredPair]) -> Figures:
    """Say whom the model follows where raters found one answer more factual and the other better in style.

    "sides_with_facts": share of those pairs in which the more factual answer scores higher; "raters_side_with_facts":
    in which the raters preferred it over all. Empty where raters were not asked, or were of one mind.
    """
    apart = [
        pair
        for pair in pairs
        if pair.factuality is not None and pair.style is not None and (pair.factuality - 0.5) * (pair.style - 0.5) < 0
    ]
    if not apart:
        return {}
    model = sum((pair.margin > 0) == (pair.factuality > 0.5) for pair in apart if pair.factuality is not None)
    decided = [pair for pair in apart if pair.is_decided]
    raters = sum(pair.factuality > 0.5 for pair in decided if pair.factuality is not None)
    return {
        "sides_with_facts": vars(wilson_interval(model, len(apart))),
        "raters_side_with_facts": vars(wilson_interval(raters, len(decided))),
    }


def margin_length_correlation(pairs: Sequence[ScoredPair]) -> Interval:
    """Return Pearson's correlation of margin and length difference within pairs, which takes the prompt out of both."""
    table = np.array([[pair.margin, pair.lengths[0] - pair.lengths[1]] for pair in pairs], dtype=float)
    # Seen from either side a pair says the same: without its mirror image the chosen-first order would shift both.
    return bootstrap_interval(table, statistic=_mirrored_correlation, num_resamples=400, bounds=(-1.0, 1.0))


# ------------------------------------------------------------------------------------------------------- calibration
def calibration_figures(pairs: Sequence[ScoredPair]) -> Figures:
    """Return ECE, Brier score and reliability bins as the scores are, and ECE after one temperature is fitted.

    "ece_after" is of pairs that the temperature was not fitted on: each half of the pairs is judged at the other
    half's temperature. "temperature" itself is fitted on all of them; above 1 = the model is too sure of itself.
    """
    first, second = pairs[::2], pairs[1::2]
    cooled = [*cooled_by(first, fit_temperature(second)), *cooled_by(second, fit_temperature(first))]
    return {
        "ece": expected_calibration_error(pairs),
        "ece_after": expected_calibration_error(cooled),
        "brier": brier_score(pairs),
        "brier_after": brier_score(cooled),
        "temperature": fit_temperature(pairs),
        "reliability": reliability(pairs),
        "reliability_after": reliability(cooled),
        "n": len(pairs),
    }


def reliability(pairs: Sequence[ScoredPair]) -> list[dict[str, float]]:
    """Return (confidence, agreement, n) of up to ten bins of as many pairs each, least confident first."""
    ordered = sorted(pairs, key=lambda pair: pair.confidence)
    num_bins = max(1, min(NUM_BINS, len(ordered) // MIN_PER_BIN))
    edges = [round(index * len(ordered) / num_bins) for index in range(num_bins + 1)]
    bins = [ordered[low:high] for low, high in pairwise(edges) if high > low]
    return [
        {
            "confidence": fmean([pair.confidence for pair in part]),
            "agreement": fmean([pair.agreement for pair in part]),
            "n": len(part),
        }
        for part in bins
    ]


def expected_calibration_error(pairs: Sequence[ScoredPair]) -> float:
    """Return the mean over bins, by size, of |confidence - share of the votes that agree|."""
    bins = reliability(pairs)
    return sum(part["n"] * abs(part["confidence"] - part["agreement"]) for part in bins) / len(pairs)


def brier_score(pairs: Sequence[ScoredPair]) -> float:
    """Return the mean squared error of p = sigmoid(margin) against single votes; .25 for a model that knows nothing."""
    p_N, label_N = _probabilities(_column(pairs, "margin")), _column(pairs, "label")
    return float(np.mean(label_N * (1 - p_N) ** 2 + (1 - label_N) * p_N**2))


def fit_temperature(pairs: Sequence[ScoredPair]) -> float:
    """Return the T that makes sigmoid(margin / T) likeliest under the votes; from e^-4 to e^4.

    Source: Guo et al. 2017, arXiv:1706.04599.
    """
    from scipy.optimize import minimize_scalar

    margin_N, label_N = _column(pairs, "margin"), _column(pairs, "label")

    def loss(log_temperature: float) -> float:
        scaled_N = margin_N / math.exp(log_temperature)
        return float(np.mean(label_N * np.logaddexp(0, -scaled_N) + (1 - label_N) * np.logaddexp(0, scaled_N)))

    bounds = (-LARGEST_LOG_TEMPERATURE, LARGEST_LOG_TEMPERATURE)
    return math.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x)


def cooled_by(pairs: Sequence[ScoredPair], temperature: float) -> list[ScoredPair]:
    """Return the pairs with their margins divided by a temperature."""
    return [replace(pair, margin=pair.margin / temperature) for pair in pairs]


# ------------------------------------------------------------------------------------------------------------ inside
def _scored(row: Preference, pair: Pair, scores: Sequence[float], lengths: Sequence[int]) -> ScoredPair:
    is_first = pair.label >= 0.5
    preferred, other = (pair.first, pair.second) if is_first else (pair.second, pair.first)
    asked = {name: _aspect_label(row, name, pair) for name in (FACTUALITY, STYLE)}
    turned = {name: None if label is None else label if is_first else 1 - label for name, label in asked.items()}
    return ScoredPair(
        prompt=row.prompt.text,
        preferred=row.completions[preferred],
        other=row.completions[other],
        label=pair.label if is_first else 1 - pair.label,
        margin=scores[preferred] - scores[other],
        lengths=(lengths[preferred], lengths[other]),
        strength=pair.strength,
        slices=dict(row.prompt.dimensions),
        factuality=turned[FACTUALITY],
        style=turned[STYLE],
    )


def _aspect_label(row: Preference, name: str, pair: Pair) -> float | None:
    for asked in row.aspects.get(name, ()):
        if (asked.first, asked.second) == (pair.first, pair.second):
            return asked.label
        if (asked.second, asked.first) == (pair.first, pair.second):
            return 1 - asked.label
    return None


def _by_group(decided: Sequence[ScoredPair], groups_of: Any) -> dict[str, Figures]:
    groups: dict[str, list[ScoredPair]] = defaultdict(list)
    for pair in decided:
        for name in groups_of(pair):
            groups[name].append(pair)
    return {name: vars(accuracy(part)) for name, part in sorted(groups.items())}


def _longer_wins(pair: ScoredPair) -> float:
    first, second = pair.lengths
    return 0.5 if first == second else float(first > second)


def _mirrored_correlation(table: NDArray[np.float64]) -> float:
    margin_N, length_N = table.T
    scale = math.sqrt(float(margin_N @ margin_N) * float(length_N @ length_N))
    return float(margin_N @ length_N) / scale if scale else math.nan


def _column(pairs: Sequence[ScoredPair], name: str) -> NDArray[np.float64]:
    return np.array([getattr(pair, name) for pair in pairs], dtype=float)


def _probabilities(margin_N: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.exp(-np.logaddexp(0, -margin_N))
    return found


def _is_undefined(figure: Any) -> bool:
    return isinstance(figure, dict) and "value" in figure and math.isnan(figure["value"])
