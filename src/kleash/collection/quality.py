"""How good the labels are: how far raters agree, what each rater is like, and which items to look at again.

Records in, figures out: no database, no clock, no settings of a campaign. A verdict is about a pair of answers in the
comparison's own order, so what was shown where changes nothing but `first_position_share`. A k-way ranking counts as
its pairs, which belong to one item: intervals of coefficients are by item. Thresholds are in `gates.py`.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kleash.collection.recorded import Item, RecordedJudgement, by_item, by_rater, ordinary_votes
from kleash.maths.agreement import (
    agreement_interval,
    fleiss_kappa,
    gwet_ac1,
    gwet_ac2,
    krippendorff_alpha,
    mean_cohen_kappa,
    percent_agreement,
)
from kleash.maths.intervals import Interval, bootstrap_interval, wilson_interval
from kleash.records import Judgement, RaterKind, group_by_slice, split_slice

PairVerdict = Literal["first", "tie", "second", "both_bad"]

# Ascending from the second answer to the first, so that the first three are an ordered scale as well.
_CODES: dict[PairVerdict, float] = {"second": -1.0, "tie": 0.0, "first": 1.0, "both_bad": 2.0}
EASY = "easy"


@dataclass(frozen=True)
class Agreement:
    """How far independent raters agree on the same pairs; each n counts the items behind it that were judged twice.

    "Both bad" is a category of its own, save where order matters (alpha_ordinal, ac2): there it is a tie. Show
    several: kappa and alpha collapse when nearly all verdicts are the same, AC1 and AC2 do not.
    """

    percent: Interval
    percent_without_ties: Interval
    cohen_kappa: Interval
    fleiss_kappa: Interval
    alpha_nominal: Interval
    alpha_ordinal: Interval
    ac1: Interval
    ac2: Interval


@dataclass(frozen=True)
class RaterRow:
    """One rater's habits. Shares are of the rater's own votes, gold and repeats only where the name says so.

    too_fast: of all looks with a verdict and a time.  gold_accuracy, easy_gold_accuracy: see the functions.
    with_others: share of the other raters' verdicts on the same pairs that are the same, averaged over items.
    """

    rater: str
    kind: RaterKind
    num_items: int
    median_seconds: Interval
    too_fast: Interval
    gold_accuracy: Interval
    easy_gold_accuracy: Interval
    self_consistency: Interval
    first_position: Interval
    longer: Interval
    with_others: Interval
    num_skipped: int
    flags: Mapping[str, int]


@dataclass(frozen=True)
class Disagreement:
    """An item whose raters differ. entropy_bits: of the verdicts on a pair, averaged over the item's pairs."""

    item_id: str
    entropy_bits: float
    num_votes: int
    verdicts: Mapping[PairVerdict, int]


# ---------------------------------------------------------------------------------------------------------- agreement
def agreement(
    items: Mapping[str, Item],
    recorded: Sequence[RecordedJudgement],
    *,
    aspect: str = "",
    num_resamples: int = 1000,
    seed: int = 0,
) -> Agreement:
    """Measure agreement on ordinary items, gold apart, from the votes (`RecordedJudgement.is_vote`).

    aspect: measure the verdicts on this aspect instead of the overall one.
    """
    nominal_LN, item_N = _verdict_table(items, recorded, aspect)
    ordinal_LN = np.where(nominal_LN == _CODES["both_bad"], _CODES["tie"], nominal_LN)
    decided_LN = np.where(ordinal_LN == _CODES["tie"], math.nan, ordinal_LN)

    def bounded(coefficient: Callable[..., float], table_LN: NDArray[np.float64], **settings: Any) -> Interval:
        return agreement_interval(
            coefficient, table_LN, item_N=item_N, num_resamples=num_resamples, seed=seed, **settings
        )

    return Agreement(
        percent=bounded(percent_agreement, nominal_LN),
        percent_without_ties=bounded(percent_agreement, decided_LN),
        cohen_kappa=bounded(mean_cohen_kappa, nominal_LN),
        fleiss_kappa=bounded(fleiss_kappa, nominal_LN),
        alpha_nominal=bounded(krippendorff_alpha, nominal_LN),
        alpha_ordinal=bounded(krippendorff_alpha, ordinal_LN, level="ordinal"),
        ac1=bounded(gwet_ac1, nominal_LN),
        ac2=bounded(gwet_ac2, ordinal_LN),
    )


def agreement_by_slice(
    items: Mapping[str, Item], recorded: Sequence[RecordedJudgement], *, num_resamples: int = 200, seed: int = 0
) -> dict[str, dict[str, Agreement]]:
    """Measure agreement within each value of each slice: {dimension: {value: agreement}}, sorted."""
    votes = ordinary_votes(items, recorded)
    agreements: dict[str, dict[str, Agreement]] = defaultdict(dict)
    for name, rows in group_by_slice(items[vote.item_id].dimensions for vote in votes).items():
        dimension, value = split_slice(name)
        of_slice = [votes[row] for row in rows]
        agreements[dimension][value] = agreement(items, of_slice, num_resamples=num_resamples, seed=seed)
    return agreements


def agreement_over_time(
    items: Mapping[str, Item],
    recorded: Sequence[RecordedJudgement],
    *,
    period: Literal["week", "day"] = "week",
    num_resamples: int = 200,
    seed: int = 0,
) -> dict[str, Agreement]:
    """Measure agreement period by period: {"2026-W48": ...} or {"2026-11-23": ...}, ascending.

    An item with all its votes counts in the period in which its last vote came, so periods share no item.
    """
    per_item = by_item(ordinary_votes(items, recorded))
    per_period: dict[str, list[RecordedJudgement]] = defaultdict(list)
    for votes in per_item.values():
        last = max(vote.given_at for vote in votes)
        per_period[f"{last:%G-W%V}" if period == "week" else f"{last:%Y-%m-%d}"] += votes
    return {
        name: agreement(items, group, num_resamples=num_resamples, seed=seed)
        for name, group in sorted(per_period.items())
    }


def agreement_by_aspect(
    items: Mapping[str, Item], recorded: Sequence[RecordedJudgement], *, num_resamples: int = 200, seed: int = 0
) -> dict[str, Agreement]:
    """Measure agreement on each aspect that was asked, such as factuality apart from style."""
    aspects = sorted({aspect for entry in recorded for aspect in entry.judgement.aspects})
    return {
        aspect: agreement(items, recorded, aspect=aspect, num_resamples=num_resamples, seed=seed) for aspect in aspects
    }


def low_agreement_items(items: Mapping[str, Item], recorded: Sequence[RecordedJudgement]) -> list[Disagreement]:
    """List the ordinary items whose raters differ and that no adjudicator has ruled on, worst first."""
    ruled = {entry.item_id for entry in recorded if entry.is_adjudication}
    disagreements = []
    for item_id, votes in by_item(ordinary_votes(items, recorded)).items():
        entropy_bits = _mean_entropy_bits(votes)
        if entropy_bits > 0 and item_id not in ruled:
            verdicts = Counter(verdict for vote in votes for verdict in pair_verdicts(vote.judgement).values())
            disagreements.append(Disagreement(item_id, entropy_bits, len(votes), verdicts))
    return sorted(disagreements, key=lambda item: (-item.entropy_bits, -item.num_votes, item.item_id))


# ------------------------------------------------------------------------------------------------------------- raters
def vote_entropy_by_slice(
    items: Mapping[str, Item], recorded: Sequence[RecordedJudgement]
) -> dict[tuple[str, str], float]:
    """Return how far raters disagree in each slice: the mean entropy of the votes on an item, 1 = an even split.

    Keys are (dimension, value). Items with a single vote say nothing and are left out; so are slices without others.
    """
    entropies: dict[tuple[str, str], list[float]] = defaultdict(list)
    for item_id, votes in by_item(ordinary_votes(items, recorded)).items():
        if len(votes) >= 2:
            for slice_ in items[item_id].dimensions.items():
                entropies[slice_].append(min(_mean_entropy_bits(votes), 1.0))
    return {slice_: sum(group) / len(group) for slice_, group in sorted(entropies.items())}


def rater_table(
    items: Mapping[str, Item], recorded: Sequence[RecordedJudgement], *, min_seconds: float = 2.0
) -> list[RaterRow]:
    """Describe every rater, people, AI judges and rules alike, in order of name.

    min_seconds: a verdict given in less time cannot have been read for.
    """
    with_others = _agreement_with_others(items, recorded)
    return [
        RaterRow(
            rater=rater,
            kind=own[0].judgement.rater_kind,
            num_items=len({entry.item_id for entry in own if entry.is_vote}),
            median_seconds=median_seconds(own),
            too_fast=too_fast_share(own, min_seconds=min_seconds),
            gold_accuracy=gold_accuracy(items, own),
            easy_gold_accuracy=gold_accuracy(items, own, easy_only=True),
            self_consistency=self_consistency(own),
            first_position=first_position_share(items, own),
            longer=longer_share(items, own),
            with_others=with_others.get(rater, wilson_interval(0, 0)),
            num_skipped=sum(entry.judgement.outcome == "skipped" for entry in own),
            flags=Counter(flag for entry in own for flag in entry.judgement.flags),
        )
        for rater, own in by_rater(recorded).items()
    ]


def gold_accuracy(
    items: Mapping[str, Item], recorded: Sequence[RecordedJudgement], *, easy_only: bool = False
) -> Interval:
    """Return the share of votes on calibration items that are right; n counts votes.

    A vote is right as far as it gives the known verdict on the pairs with a known winner; "both bad" gives none.
    easy_only: leave out items whose tag "difficulty" says other than "easy"; an item without that tag is easy.
    """
    shares = []
    for entry in recorded:
        item = items[entry.item_id]
        if not entry.is_vote or not item.is_gold or (easy_only and item.dimensions.get("difficulty", EASY) != EASY):
            continue
        known = {pair: verdict for pair, verdict in _verdicts_of_ranks(item.gold_ranks).items() if verdict != "tie"}
        verdicts = pair_verdicts(entry.judgement)
        if known:
            shares.append(sum(verdicts[pair] == verdict for pair, verdict in known.items()) / len(known))
    return _mean_share(shares)


def self_consistency(recorded: Sequence[RecordedJudgement]) -> Interval:
    """Return the share of second looks, with the answers in other places, that came to the first look's verdict.

    For rankings, the share of their pairs; n counts second looks.
    """
    first_looks = {(b.judgement.rater, b.item_id): pair_verdicts(b.judgement) for b in recorded if b.is_vote}
    shares = []
    for entry in recorded:
        before = first_looks.get((entry.judgement.rater, entry.item_id))
        if before and entry.is_repeat and entry.judgement.outcome != "skipped":
            again = pair_verdicts(entry.judgement)
            shares.append(sum(again[pair] == verdict for pair, verdict in before.items()) / len(before))
    return _mean_share(shares)


def first_position_share(items: Mapping[str, Item], recorded: Sequence[RecordedJudgement]) -> Interval:
    """Return the share of decided pairs that went to the answer shown earlier: near .5 where sides do not matter."""
    wins = [
        judgement.permutation.index(winner) < judgement.permutation.index(loser)
        for judgement, _, winner, loser in _decided_pairs(items, recorded)
    ]
    return wilson_interval(sum(wins), len(wins))


def longer_share(items: Mapping[str, Item], recorded: Sequence[RecordedJudgement]) -> Interval:
    """Return the share of decided pairs of unequal length, in characters, that went to the longer answer."""
    wins = []
    for _, item, winner, loser in _decided_pairs(items, recorded):
        winner_characters, loser_characters = (len(item.comparison.completions[index]) for index in (winner, loser))
        if winner_characters != loser_characters:
            wins.append(winner_characters > loser_characters)
    return wilson_interval(sum(wins), len(wins))


def median_seconds(recorded: Sequence[RecordedJudgement]) -> Interval:
    """Return the median time of all looks that led to a verdict."""
    seconds = list(_seconds(recorded))
    if not seconds:
        return Interval(math.nan, math.nan, math.nan, 0)
    return bootstrap_interval(seconds, statistic=lambda sample: float(np.median(sample)), num_resamples=200)


def too_fast_share(recorded: Sequence[RecordedJudgement], *, min_seconds: float) -> Interval:
    """Return the share of timed looks with a verdict that took less than `min_seconds`."""
    is_too_fast = [seconds < min_seconds for seconds in _seconds(recorded)]
    return wilson_interval(sum(is_too_fast), len(is_too_fast))


# ----------------------------------------------------------------------------------------------------------- verdicts
def pair_verdicts(judgement: Judgement, *, aspect: str = "") -> dict[tuple[int, int], PairVerdict]:
    """Return the verdict on each pair of answers (first, second), first < second; none where none was given."""
    if aspect:
        return _verdicts_of_ranks(judgement.aspects.get(aspect, ()))
    if judgement.outcome == "both_bad":
        return dict.fromkeys(itertools.combinations(range(len(judgement.permutation)), 2), "both_bad")
    return _verdicts_of_ranks(judgement.ranks)


def _verdicts_of_ranks(ranks: Sequence[int]) -> dict[tuple[int, int], PairVerdict]:
    return {
        (first, second): "tie" if rank == other else "first" if rank < other else "second"
        for (first, rank), (second, other) in itertools.combinations(enumerate(ranks), 2)
    }


def _verdict_table(
    items: Mapping[str, Item], recorded: Sequence[RecordedJudgement], aspect: str
) -> tuple[NDArray[np.float64], list[int]]:
    """Lay out verdicts as codes, a row per rater and a column per pair, with the number of each column's item."""
    row_of_rater: dict[str, int] = {}
    column_of_pair: dict[tuple[str, tuple[int, int]], int] = {}
    cells = []
    for entry in ordinary_votes(items, recorded):
        for pair, verdict in pair_verdicts(entry.judgement, aspect=aspect).items():
            row = row_of_rater.setdefault(entry.judgement.rater, len(row_of_rater))
            column = column_of_pair.setdefault((entry.item_id, pair), len(column_of_pair))
            cells.append((row, column, _CODES[verdict]))
    table_LN = np.full((len(row_of_rater), len(column_of_pair)), math.nan)
    for row, column, code in cells:
        table_LN[row, column] = code
    number_of_item: dict[str, int] = {}
    return table_LN, [number_of_item.setdefault(item_id, len(number_of_item)) for item_id, _ in column_of_pair]


def _agreement_with_others(items: Mapping[str, Item], recorded: Sequence[RecordedJudgement]) -> dict[str, Interval]:
    per_pair: dict[tuple[str, tuple[int, int]], dict[str, PairVerdict]] = defaultdict(dict)
    for entry in ordinary_votes(items, recorded):
        for pair, verdict in pair_verdicts(entry.judgement).items():
            per_pair[entry.item_id, pair][entry.judgement.rater] = verdict
    same: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (item_id, _), verdicts in per_pair.items():
        num_each = Counter(verdicts.values())
        for rater, verdict in verdicts.items():
            if len(verdicts) > 1:
                same[rater][item_id].append((num_each[verdict] - 1) / (len(verdicts) - 1))
    return {
        rater: _mean_share([sum(shares) / len(shares) for shares in per_item.values()])
        for rater, per_item in same.items()
    }


def _decided_pairs(
    items: Mapping[str, Item], recorded: Sequence[RecordedJudgement]
) -> Iterator[tuple[Judgement, Item, int, int]]:
    """Yield (judgement, item, winner, loser) for each pair of an ordinary item that a vote decided."""
    for entry in ordinary_votes(items, recorded):
        for (first, second), verdict in pair_verdicts(entry.judgement).items():
            if verdict in ("first", "second"):
                winner, loser = (first, second) if verdict == "first" else (second, first)
                yield entry.judgement, items[entry.item_id], winner, loser


def _seconds(recorded: Sequence[RecordedJudgement]) -> Iterator[float]:
    for entry in recorded:
        if not entry.is_adjudication and entry.judgement.outcome != "skipped" and entry.judgement.seconds is not None:
            yield entry.judgement.seconds


def _mean_share(shares: Sequence[float]) -> Interval:
    # math.fsum, and no more than n: a sum that rounds beyond n is no number of successes.
    return wilson_interval(min(math.fsum(shares), len(shares)), len(shares))


def _mean_entropy_bits(votes: Sequence[RecordedJudgement]) -> float:
    """Return the entropy of the verdicts on a pair, averaged over an item's pairs."""
    per_pair: dict[tuple[int, int], Counter[PairVerdict]] = defaultdict(Counter)
    for vote in votes:
        for pair, verdict in pair_verdicts(vote.judgement).items():
            per_pair[pair][verdict] += 1
    return sum(map(_entropy_bits, per_pair.values())) / max(len(per_pair), 1)


def _entropy_bits(counts: Counter[PairVerdict]) -> float:
    total = counts.total()
    return -sum(count / total * math.log2(count / total) for count in counts.values())
