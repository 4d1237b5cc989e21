"""From judgements to training rows: many raters' verdicts on an item become one `Preference`, and nothing gets lost.

An item that is not to be trained on stays in the list and says why in `left_out`; a judgement that did not count is
counted. An adjudicator's ruling takes the votes' place. Who the raters are is no concern of this module: give it the
judgements of the kinds that are to count.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from kleash.collection.quality import gold_accuracy, pair_verdicts
from kleash.collection.recorded import Item, RecordedJudgement, by_item, by_rater
from kleash.errors import DataError
from kleash.maths.agreement import vote_share
from kleash.records import Judgement, Pair, Preference, Strength
from kleash.settings import Settings

STRENGTHS: tuple[Strength, ...] = ("slightly", "better", "much")
# A rater's first votes on the books of `dawid_skene`: right twice in three, until shown otherwise.
_PRIOR_RIGHT, _PRIOR_WRONG = 2.0, 1.0
_MAX_ROUNDS = 10_000


class AggregationSettings(Settings):
    """How votes become labels, and what is filtered out on the way. Every filter is off by default, save flags."""

    method: Literal["vote_share", "majority", "dawid_skene"] = Field(
        "vote_share", description="the label: share of votes, the winner, or votes weighed by each rater's skill"
    )
    min_agreement: float = Field(
        0.0, ge=0, le=1, description="leave out items on which a smaller share of pairs of votes agree; 0 = keep all"
    )
    min_gold_accuracy: float = Field(
        0.0, ge=0, le=1, description="leave out raters who get fewer easy calibration items right; 0 = keep all"
    )
    min_seconds: float = Field(0.0, ge=0, description="leave out verdicts given faster than this; 0 = keep all")
    leave_out_flagged: tuple[str, ...] = Field(
        ("unsafe", "unreadable"), description="leave out items that any rater has given one of these flags"
    )
    accept_missing: str | None = Field(
        None,
        min_length=1,
        description="why to freeze though judges gave no answer on some items, or nothing counts; none = do not",
    )


@dataclass(frozen=True)
class Aggregate:
    """What became of a campaign's items and judgements.

    rows: one per item, in the items' order.  rows_left_out: how many rows are not to be trained on, by reason.
    judgements_left_out: how many judgements had no part in any row, by reason.  skills: with dawid_skene, per rater.
    """

    rows: list[Preference]
    rows_left_out: Counter[str]
    judgements_left_out: Counter[str]
    skills: Mapping[str, float]


@dataclass(frozen=True)
class PairVote:
    """One rater's vote on one pair: 1 = the first answer is better, 0 = the second, .5 = a tie."""

    pair: tuple[str, int, int]
    rater: str
    for_first: float


@dataclass(frozen=True)
class SkillModel:
    """What `dawid_skene` believes: per pair the probability that the first answer is better, per rater the skill."""

    first_better: Mapping[tuple[str, int, int], float]
    skills: Mapping[str, float]
    num_rounds: int


def aggregate(
    items: Mapping[str, Item], recorded: Sequence[RecordedJudgement], *, settings: AggregationSettings | None = None
) -> Aggregate:
    """Make one training row per item from the judgements on it.

    A pair's label comes from the rankings (or from the last ruling); "both bad" and skips are no vote on it. Its
    strength is the median of those given by the votes that agree with the label's winner, the weaker of a middle two;
    a ranking of three or more has none. Aspects are vote shares, whatever the method.
    """
    settings = settings or AggregationSettings()
    kept, judgements_left_out = filter_judgements(items, recorded, settings=settings)
    per_item = by_item(kept)
    cases = [_Case(item, per_item[item.id]) for item in items.values()]
    learned = dawid_skene(_pair_votes(cases)) if settings.method == "dawid_skene" else None
    judged_items = {entry.item_id for entry in recorded}
    rows = [
        Preference(
            prompt=case.item.comparison.prompt,
            completions=case.item.comparison.completions,
            pairs=_pairs(case, settings.method, learned),
            num_judgements=len(case.recorded),
            left_out=_why_left_out(case, settings, was_judged=case.item.id in judged_items),
            aspects=_aspect_pairs(case.judgements),
            sources=case.item.comparison.sources,
        )
        for case in cases
    ]
    return Aggregate(
        rows=rows,
        rows_left_out=Counter(row.left_out for row in rows if row.left_out),
        judgements_left_out=judgements_left_out,
        skills=learned.skills if learned else {},
    )


def filter_judgements(
    items: Mapping[str, Item], recorded: Sequence[RecordedJudgement], *, settings: AggregationSettings
) -> tuple[list[RecordedJudgement], Counter[str]]:
    """Return the judgements that count, and how many do not by the first reason that applies.

    Never counted: "surplus" and "repeat". By setting: "too fast", "rater's gold accuracy" (a rater who has judged no
    easy calibration item stays). A ruling always counts.
    """
    unreliable = {
        rater
        for rater, own in by_rater(recorded).items()
        if gold_accuracy(items, own, easy_only=True).value < settings.min_gold_accuracy
    }
    kept, left_out = [], Counter[str]()
    for entry in recorded:
        seconds = entry.judgement.seconds
        if entry.is_adjudication:
            kept.append(entry)
        elif entry.is_surplus:
            left_out["surplus"] += 1
        elif entry.is_repeat:
            left_out["repeat"] += 1
        elif entry.judgement.rater in unreliable:
            left_out["rater's gold accuracy"] += 1
        elif entry.judgement.outcome != "skipped" and seconds is not None and seconds < settings.min_seconds:
            left_out["too fast"] += 1
        else:
            kept.append(entry)
    return kept, left_out


def dawid_skene(votes: Sequence[PairVote], *, tolerance: float = 1e-6) -> SkillModel:
    """Weigh each rater's votes by how often that rater seems right, found together with what is right.

        P(first | votes) proportional to prod_j s_j^[j says first] (1 - s_j)^[j says second], and the reverse for second
        s_j = (2 + expected number of j's votes that are right) / (3 + j's votes), over pairs that others voted on too

    Repeated until no probability moves by more than `tolerance`. Either answer is as likely to be better beforehand,
    so that swapping them swaps the outcome. A tie says nothing for or against either; a pair of ties alone is at .5.
    Raises DataError if it does not settle within 10,000 rounds.
    Source: Dawid and Skene 1979, one coin per rater. Differs: a rater starts at 2 right of 3, so that few votes
    convict or acquit nobody, and a lone vote, which agrees with itself, is no evidence of skill.
    """
    pairs, raters = list(dict.fromkeys(vote.pair for vote in votes)), sorted({vote.rater for vote in votes})
    pair_number, rater_number = ({name: n for n, name in enumerate(names)} for names in (pairs, raters))
    # In one order, so that the same votes come to the same last digit.
    decided = sorted((vote for vote in votes if vote.for_first != 0.5), key=lambda vote: (vote.pair, vote.rater))
    pair_V = np.array([pair_number[vote.pair] for vote in decided], dtype=int)
    rater_V = np.array([rater_number[vote.rater] for vote in decided], dtype=int)
    is_first_V = np.array([vote.for_first == 1 for vote in decided], dtype=bool)
    num_votes_N = np.bincount(pair_V, minlength=len(pairs))
    is_evidence_V = num_votes_N[pair_V] >= 2
    num_evidence_L = np.bincount(rater_V[is_evidence_V], minlength=len(raters))
    # Begin where the votes stand; a pair of ties alone stays at .5.
    first_better_N = np.full(len(pairs), 0.5)
    np.divide(
        np.bincount(pair_V[is_first_V], minlength=len(pairs)), num_votes_N, out=first_better_N, where=num_votes_N > 0
    )
    for num_rounds in range(1, _MAX_ROUNDS + 1):
        right_V = np.where(is_first_V, first_better_N[pair_V], 1 - first_better_N[pair_V]) * is_evidence_V
        right_L = np.bincount(rater_V, weights=right_V, minlength=len(raters))
        skill_L = (_PRIOR_RIGHT + right_L) / (_PRIOR_RIGHT + _PRIOR_WRONG + num_evidence_L)
        log_odds_V = np.log(skill_L / (1 - skill_L))[rater_V] * np.where(is_first_V, 1, -1)
        log_odds_N = np.bincount(pair_V, weights=log_odds_V, minlength=len(pairs))
        before_N, first_better_N = first_better_N, (1 + np.tanh(log_odds_N / 2)) / 2
        if np.abs(first_better_N - before_N).max(initial=0.0) <= tolerance:
            believed = dict(zip(pairs, first_better_N.tolist(), strict=True))
            return SkillModel(believed, dict(zip(raters, skill_L.tolist(), strict=True)), num_rounds)
    raise DataError(
        f"Raters' skills did not settle to {tolerance} in {_MAX_ROUNDS} rounds over {len(votes)} votes, expected a few "
        "hundred at most. Label by vote_share instead."
    )


# ------------------------------------------------------------------------------------------------------- one item each
@dataclass(frozen=True)
class _Case:
    """An item with the judgements that count on it."""

    item: Item
    recorded: Sequence[RecordedJudgement]

    @property
    def ruling(self) -> Judgement | None:
        """The last ruling with a verdict in it."""
        rulings = [b for b in self.recorded if b.is_adjudication and b.judgement.outcome != "skipped"]
        return max(rulings, key=lambda entry: entry.given_at).judgement if rulings else None

    @property
    def judgements(self) -> list[Judgement]:
        """What decides: the ruling alone, or else the votes."""
        return [self.ruling] if self.ruling else [entry.judgement for entry in self.recorded if entry.is_vote]

    @property
    def ranked(self) -> list[Judgement]:
        return [judgement for judgement in self.judgements if judgement.outcome == "ranked"]


def _pair_votes(cases: Sequence[_Case]) -> list[PairVote]:
    return [
        PairVote((case.item.id, first, second), judgement.rater, vote_share([(rank, other)]))
        for case in cases
        if not case.ruling
        for judgement in case.ranked
        for (first, rank), (second, other) in itertools.combinations(enumerate(judgement.ranks), 2)
    ]


def _pairs(case: _Case, method: str, learned: SkillModel | None) -> tuple[Pair, ...]:
    pairs = []
    for first, second in itertools.combinations(range(len(case.item.comparison.completions)), 2):
        if not case.ranked:
            break
        label = vote_share([(judgement.ranks[first], judgement.ranks[second]) for judgement in case.ranked])
        if learned and not case.ruling:
            label = learned.first_better[case.item.id, first, second]
        elif method == "majority":
            label = 0.5 if label == 0.5 else float(label > 0.5)
        pairs.append(Pair(first, second, label, _median_strength(case.ranked, label)))
    return tuple(pairs)


def _median_strength(ranked: Sequence[Judgement], label: float) -> Strength | None:
    """Return the median strength of the winner's votes on a pair; a ranking of more has no strength of one pair."""
    if label == 0.5 or len(ranked[0].ranks) != 2:
        return None
    winner, loser = (0, 1) if label > 0.5 else (1, 0)
    levels = sorted(STRENGTHS.index(j.strength) for j in ranked if j.strength and j.ranks[winner] < j.ranks[loser])
    return STRENGTHS[levels[(len(levels) - 1) // 2]] if levels else None


def _aspect_pairs(judgements: Sequence[Judgement]) -> dict[str, tuple[Pair, ...]]:
    ranks_per_aspect: dict[str, list[Sequence[int]]] = defaultdict(list)
    for judgement in judgements:
        for aspect, ranks in judgement.aspects.items():
            ranks_per_aspect[aspect].append(ranks)
    return {
        aspect: tuple(
            Pair(first, second, vote_share([(ranks[first], ranks[second]) for ranks in rankings]))
            for first, second in itertools.combinations(range(len(rankings[0])), 2)
        )
        for aspect, rankings in sorted(ranks_per_aspect.items())
    }


def _why_left_out(case: _Case, settings: AggregationSettings, *, was_judged: bool) -> str:
    """Return why an item's row is not to be trained on, "" if it is."""
    if case.item.is_gold:
        return "gold"
    if case.item.hold:
        return case.item.hold
    if not case.recorded:
        return "no judgement counts" if was_judged else "not judged"
    # A ruling overrides what raters flagged as well.
    looks = [case.ruling] if case.ruling else [entry.judgement for entry in case.recorded]
    flags = sorted({flag for look in looks for flag in look.flags if flag in settings.leave_out_flagged})
    if flags:
        return f"flagged {' and '.join(flags)}"
    if not case.ranked:
        return " and ".join(sorted({look.outcome for look in looks}))
    if not case.ruling and _share_agreeing(case.judgements) < settings.min_agreement:
        return "low agreement"
    return ""


def _share_agreeing(judgements: Sequence[Judgement]) -> float:
    """Return the share of pairs of votes that give the same verdict; 1 where there is no second vote to differ."""
    agreeing = possible = 0
    for one, other in itertools.combinations(map(pair_verdicts, judgements), 2):
        agreeing += sum(one[pair] == other[pair] for pair in one)
        possible += len(one)
    return agreeing / possible if possible else 1.0
