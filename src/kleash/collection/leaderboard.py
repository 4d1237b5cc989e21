"""Which policy people prefer: a Bradley-Terry leaderboard of the answers' sources, raw and with length held equal.

    P(i beats j) = sigmoid(s_i - s_j + c * x),   x = log((1 + length_i) / (1 + length_j)), scaled to a mean square of 1

The raw board leaves c out. A tie, and "both bad", is half a win for each. Every interval is by item: the votes on one
item, and the pairs of one ranking, are drawn together. Strengths are in logits, centred on 0: a lead of .4 wins 60 %.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kleash.collection.quality import pair_verdicts
from kleash.collection.recorded import Item, RecordedJudgement
from kleash.maths.agreement import resampling_weights
from kleash.maths.intervals import UNBOUNDED, Bounds, Interval, percentile_interval
from kleash.maths.logistic import fit_logistic
from kleash.records import Comparison

Table = NDArray[np.float64]

_SCORES = {"first": 1.0, "second": 0.0, "tie": 0.5, "both_bad": 0.5}
# Pulls a policy that won (or lost) everything back from infinity; a normal prior with an SD of 10 logits.
_RIDGE = 0.01


@dataclass(frozen=True)
class Standing:
    """One policy's place. n of each interval: the items it was on.

    strength, length_controlled: logits above the mean of its group.  win_share: of its votes against other policies,
    a tie being half.  group: policies of different groups were never compared, not even through others, so their
    strengths say nothing about each other.
    """

    source: str
    strength: Interval
    length_controlled: Interval
    win_share: Interval
    group: int


@dataclass(frozen=True)
class Leaderboard:
    """Standings, by group and best first; `remark` says in words what keeps them from being one board, "" if nothing.

    length_coefficient: what one standard unit of log length is worth, in logits; NaN where lengths never differ.
    """

    standings: tuple[Standing, ...]
    length_coefficient: Interval
    num_votes: int
    remark: str = ""


def leaderboard(
    items: Mapping[str, Item],
    recorded: Sequence[RecordedJudgement],
    *,
    num_resamples: int = 200,
    seed: int = 0,
    confidence: float = 0.95,
) -> Leaderboard:
    """Rank the policies that the answers came from by the votes on ordinary items.

    Answers that name no source, and pairs of answers of the same policy, decide nothing. Where no two policies have
    met, the board is empty and says so.
    """
    contests = _contests(items, recorded)
    unknown = Interval(math.nan, math.nan, math.nan, 0)
    if not contests.sources:
        return Leaderboard((), unknown, 0, _why_empty(items))
    group_S = _groups(contests.meets_MS)
    # The first row is the board itself, every item once; the others are its resamples.
    drawn_RI = resampling_weights(contests.num_items, num_resamples=num_resamples, seed=seed)
    weight_RM = np.vstack([np.ones(contests.num_items), drawn_RI])[:, contests.item_M] * contests.num_votes_M
    win_share_RS = _win_share(contests, weight_RM)
    raw_RS, _ = _fit(contests, weight_RM, np.zeros_like(contests.log_length_M))
    unit = math.sqrt(float(np.average(contests.log_length_M**2, weights=contests.num_votes_M)))
    controlled_RS, coefficient_R = _fit(contests, weight_RM, contests.log_length_M / unit) if unit else (raw_RS, None)

    def bounded(figure_R: Table, n: int, bounds: Bounds = UNBOUNDED) -> Interval:
        return percentile_interval(float(figure_R[0]), figure_R[1:], n=n, confidence=confidence, bounds=bounds)

    def standing(number: int) -> Standing:
        n = len(np.unique(contests.item_M[contests.meets_MS[:, number] != 0]))
        # A resample without the policy says nothing about it.
        is_there_R = ~np.isnan(win_share_RS[:, number])
        return Standing(
            source=contests.sources[number],
            strength=bounded(np.where(is_there_R, _centred(raw_RS, group_S)[:, number], math.nan), n),
            length_controlled=bounded(np.where(is_there_R, _centred(controlled_RS, group_S)[:, number], math.nan), n),
            win_share=bounded(win_share_RS[:, number], n, (0.0, 1.0)),
            group=int(group_S[number]),
        )

    standings = sorted(map(standing, range(len(group_S))), key=lambda s: (s.group, -s.strength.value, s.source))
    return Leaderboard(
        standings=tuple(standings),
        length_coefficient=unknown if coefficient_R is None else bounded(coefficient_R, contests.num_items),
        num_votes=int(contests.num_votes_M.sum()),
        remark=_remark(standings),
    )


# ----------------------------------------------------------------------------------------------------------- contests
@dataclass(frozen=True)
class _Contests:
    """M pairs of answers by different policies, the votes of all raters on a pair taken together.

    meets_MS: 1 for the policy of the pair's first answer, -1 for that of its second, 0 for all others.
    score_M: share of the votes for the first.  log_length_M: log length of the first less that of the second.
    """

    sources: list[str]
    item_M: NDArray[np.int64]
    meets_MS: Table
    score_M: Table
    num_votes_M: Table
    log_length_M: Table

    @property
    def num_items(self) -> int:
        return int(self.item_M.max()) + 1


def _contests(items: Mapping[str, Item], recorded: Sequence[RecordedJudgement]) -> _Contests:
    scores: dict[tuple[str, int, int], list[float]] = defaultdict(list)
    for entry in recorded:
        sources = items[entry.item_id].comparison.sources
        if not entry.is_vote or items[entry.item_id].is_gold or not sources:
            continue
        for (first, second), verdict in pair_verdicts(entry.judgement).items():
            if sources[first] and sources[second] and sources[first] != sources[second]:
                scores[entry.item_id, first, second].append(_SCORES[verdict])
    number_of_item = {item_id: number for number, item_id in enumerate(dict.fromkeys(key[0] for key in scores))}
    compared = [(items[item_id].comparison, first, second) for item_id, first, second in scores]
    named = sorted({comparison.sources[index] for comparison, *pair in compared for index in pair})
    meets_MS = np.zeros((len(compared), len(named)))
    for row, (comparison, first, second) in zip(meets_MS, compared, strict=True):
        row[named.index(comparison.sources[first])], row[named.index(comparison.sources[second])] = 1.0, -1.0
    return _Contests(
        sources=named,
        item_M=np.array([number_of_item[item_id] for item_id, _, _ in scores], dtype=int),
        meets_MS=meets_MS,
        score_M=np.array([sum(votes) / len(votes) for votes in scores.values()]),
        num_votes_M=np.array([len(votes) for votes in scores.values()], dtype=float),
        log_length_M=np.array([_log_length(c, first) - _log_length(c, second) for c, first, second in compared]),
    )


def _log_length(comparison: Comparison, index: int) -> float:
    return math.log1p(len(comparison.completions[index]))


def _groups(meets_MS: Table) -> NDArray[np.int64]:
    """Number the groups of policies that met, if only through others, from 1, the largest first."""
    group_of = list(range(meets_MS.shape[1]))
    for first, second in {tuple(np.flatnonzero(row).tolist()) for row in meets_MS}:
        joined = {group_of[first], group_of[second]}
        group_of = [min(joined) if group in joined else group for group in group_of]
    largest_first = sorted(set(group_of), key=lambda group: (-group_of.count(group), group))
    return np.array([largest_first.index(group) + 1 for group in group_of])


# ---------------------------------------------------------------------------------------------------------- the model
def _win_share(contests: _Contests, weight_RM: Table) -> Table:
    """Return each policy's share of the votes on its contests, NaN where it has none."""
    won_RS = (weight_RM * contests.score_M) @ (contests.meets_MS > 0)
    won_RS += (weight_RM * (1 - contests.score_M)) @ (contests.meets_MS < 0)
    num_RS = weight_RM @ np.abs(contests.meets_MS)
    share_RS: Table = np.divide(won_RS, num_RS, out=np.full_like(num_RS, math.nan), where=num_RS > 0)
    return share_RS


def _fit(contests: _Contests, weight_RM: Table, covariate_M: Table) -> tuple[Table, Table]:
    """Fit all weightings of the contests at once; return (strength_RS, coefficient_R)."""
    parameter_RD = fit_logistic(
        np.column_stack([contests.meets_MS, covariate_M]), contests.score_M, weight_RM, ridge=_RIDGE
    )
    return parameter_RD[:, :-1], parameter_RD[:, -1]


def _centred(strength_RS: Table, group_S: NDArray[np.int64]) -> Table:
    centred_RS = strength_RS.copy()
    for group in np.unique(group_S):
        centred_RS[:, group_S == group] -= strength_RS[:, group_S == group].mean(axis=1, keepdims=True)
    return centred_RS


# -------------------------------------------------------------------------------------------------------------- words
def _remark(standings: Sequence[Standing]) -> str:
    groups = [[s.source for s in group] for _, group in itertools.groupby(standings, key=lambda s: s.group)]
    if len(groups) == 1:
        return ""
    return (
        f"{len(groups)} groups of policies never met: {'; '.join(', '.join(group) for group in groups)}. Strengths of "
        "different groups cannot be compared; label pairs across them."
    )


def _why_empty(items: Mapping[str, Item]) -> str:
    named = sorted({source for item in items.values() for source in item.comparison.sources if source})
    if not named:
        return "No answer names the policy it came from, so there is nothing to rank."
    if len(named) == 1:
        return f"All answers are of one policy, {named[0]}: there is nothing to rank it against."
    return "No vote yet is between answers of two different policies."
