"""Points of a curve, from the answers a run kept: KL to the SFT policy, proxy, and gold, which judges afterwards.

All arms of a seed answer the same held-out prompts with the same random numbers, so differences to the SFT policy's
answers (update 0) are paired.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import fmean, pstdev

from kleash.data.preferences import usable_pairs
from kleash.evaluation.gold import GoldScorer
from kleash.experiments.curves import Point
from kleash.maths.best_of_n import best_of_n_kl, expected_best_of_n
from kleash.maths.intervals import paired_difference_interval
from kleash.protocols import Scorer
from kleash.records import Completion, Preference
from kleash.sandbox.style import read_style


def gold_of(answers: Sequence[Completion]) -> Sequence[float]:
    """Return the true reward of answers; that of the SFT policy's is what every gain is measured from and in."""
    return GoldScorer().score(answers).total


def point(
    at: int,
    answers: Sequence[Completion],
    *,
    kl_nats: float,
    proxy: float,
    yardstick: Sequence[float],
) -> Point:
    """Measure one policy's answers. yardstick: `gold_of` the SFT policy's, to the same prompts.

    kl_nats: their mean KL to the SFT policy.  proxy: their mean score less that of the SFT policy's answers.
    """
    gain, sd = paired_difference_interval(gold_of(answers), yardstick), pstdev(yardstick)
    styles = [read_style(answer.text) for answer in answers]
    return Point(
        at=at,
        kl_nats=kl_nats,
        proxy=proxy,
        gold=gain.value / sd,
        gold_low=gain.low / sd,
        gold_high=gain.high / sd,
        num_words=fmean(len(style.words) for style in styles),
        num_flattery=fmean(style.num_flattery for style in styles),
    )


def best_of_n_points(pool: Sequence[Completion], scorer: Scorer, *, largest_n: int) -> list[Point]:
    """Measure best of 1, 2, 4 ... largest_n of a pool of the SFT policy's answers, several per prompt, exactly.

    Gains are in SD of the pool's gold over all its answers, as for the other arms.
    """
    proxies, golds = scorer.score(pool).total, gold_of(pool)
    rows_of: dict[str, list[int]] = {}
    for row, answer in enumerate(pool):
        rows_of.setdefault(answer.prompt.id, []).append(row)
    sd, points = pstdev(golds), []
    first: tuple[list[float], float] | None = None
    for n in (2**power for power in range(largest_n.bit_length())):
        groups = [(_of(proxies, rows), _of(golds, rows)) for rows in rows_of.values() if len(rows) >= n]
        per_prompt = [expected_best_of_n(proxy, n, gold=gold) for proxy, gold in groups]
        proxy_n = fmean(expected_best_of_n(proxy, n) for proxy, _ in groups)
        first = first or (per_prompt, proxy_n)
        gain = paired_difference_interval(per_prompt, first[0])
        low, value, high = (bound / sd for bound in (gain.low, gain.value, gain.high))
        points.append(Point(n, best_of_n_kl(n), proxy_n - first[1], value, low, high))
    return points


def pair_accuracy(preferences: Iterable[Preference], scorer: Scorer) -> tuple[float, int]:
    """Return the share of decided pairs that a scorer orders as the labels do (NaN of none), and their number."""
    pairs = list(usable_pairs(preferences, keeps_ties=False))
    first, second = (
        scorer.score([Completion(row.prompt, row.completions[index]) for row, index in answers]).total
        for answers in ([(row, pair.first) for row, pair in pairs], [(row, pair.second) for row, pair in pairs])
    )
    right = [(a > b) == (pair.label > 0.5) for a, b, (_, pair) in zip(first, second, pairs, strict=True)]
    return (fmean(right) if right else math.nan), len(right)


def _of(values: Sequence[float], rows: Sequence[int]) -> list[float]:
    return [values[row] for row in rows]
