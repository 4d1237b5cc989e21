"""How good an AI judge is, per version and week, and when it must go: figures with intervals, and the band. Pure.

Parse failures, flips and the pull of the first place are read from the calls, where each order stands alone; length
preference and agreement with people from the judgements. Where a comparison says several things (both orders, several
pairs), it counts as one item with the share of them, so that n is always the number of comparisons. No torch, no web.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pydantic import Field

from kleash.maths.intervals import Interval, wilson_interval
from kleash.raters.verdicts import parse_verdict
from kleash.records import Comparison, JudgeCall, Judgement
from kleash.settings import Settings

_NOTHING = wilson_interval(0, 0)


@dataclass(frozen=True)
class JudgeFigures:
    """How one judge version did, in one week or (week == "") over all time. Every rate's n counts comparisons.

    num_by_status: calls by "ok", "unparsed", "refused", "failed".
    parse_failure: replies without a readable verdict, of all replies (its n counts replies).
    flip_rate: pairs whose winner changed with the places, of pairs with a verdict in both orders.
    first_position_share: verdicts for the answer shown first, of those for either; .5 without a pull of the place.
    length_preference: judgements for the longer answer, of those for either of two unlike in length (characters).
    agreement: the same choice as most people, ties being a choice.  agreement_without_ties: where neither is a tie.
    """

    judge: str
    week: str
    num_by_status: Mapping[str, int] = field(default_factory=dict)
    parse_failure: Interval = _NOTHING
    flip_rate: Interval = _NOTHING
    first_position_share: Interval = _NOTHING
    length_preference: Interval = _NOTHING
    agreement: Interval = _NOTHING
    agreement_without_ties: Interval = _NOTHING
    prompt_tokens: int = 0
    reply_tokens: int = 0


class BandSettings(Settings):
    """The band a judge must keep to; a figure counts once it rests on min_n items."""

    min_agreement: float = Field(0.65, ge=0, le=1, description="least agreement with people, ties left out")
    max_flip_rate: float = Field(0.35, ge=0, le=1, description="most winners that change with the places")
    max_length_preference: float = Field(0.70, ge=0, le=1, description="most verdicts for the longer answer")
    max_parse_failure: float = Field(0.10, ge=0, le=1, description="most replies without a readable verdict")
    min_n: int = Field(50, ge=1, description="items that a figure must rest on to count")


def judge_figures(
    *,
    calls: Iterable[tuple[JudgeCall, datetime]],
    judgements: Iterable[tuple[Judgement, datetime]],
    comparisons: Iterable[Comparison],
    by_people: Iterable[Judgement],
    is_weekly: bool = True,
) -> list[JudgeFigures]:
    """Measure every judge version, per week in UTC or over all time, in order of name and week.

    calls, judgements: AI judges' own, each with when it was made; those of other raters are left out, and so are
    comparisons not given.
    by_people: people's judgements in force, of any time: a judge is held against what people say of the same answers.
    """
    calls_of: dict[tuple[str, str], list[JudgeCall]] = defaultdict(list)
    judgements_of: dict[tuple[str, str], list[Judgement]] = defaultdict(list)
    for call, at in calls:
        calls_of[call.judge, week_of(at) if is_weekly else ""].append(call)
    for judgement, at in judgements:
        if judgement.rater_kind == "ai":
            judgements_of[judgement.rater, week_of(at) if is_weekly else ""].append(judgement)
    known = {comparison.id: comparison for comparison in comparisons}
    majority = majority_choices(by_people)
    return [
        _figures(judge, week, calls_of[judge, week], judgements_of[judge, week], known, majority)
        for judge, week in sorted(calls_of.keys() | judgements_of.keys())
    ]


def week_of(at: datetime) -> str:
    """Return the ISO week, "2026-W48", in UTC; a time without a zone is taken to be UTC."""
    moment = at.astimezone(UTC) if at.tzinfo else at
    return f"{moment:%G-W%V}"


def demotion(figures: JudgeFigures, band: BandSettings, *, by_interval: bool = False) -> list[str]:
    """Return why a judge leaves its band, one sentence per figure; empty when it stays.

    A figure decides by its point estimate, once it rests on min_n items; the sentence gives its interval too.
    by_interval: it decides by its whole interval, where many looks would find one that is outside by chance.
    """
    bounds = [
        ("agreement with people (ties left out)", figures.agreement_without_ties, band.min_agreement, "below"),
        ("flip rate", figures.flip_rate, band.max_flip_rate, "above"),
        ("preference for the longer answer", figures.length_preference, band.max_length_preference, "above"),
        ("parse failure", figures.parse_failure, band.max_parse_failure, "above"),
    ]
    reasons, decided_by = [], "whole interval" if by_interval else "estimate"
    for name, figure, bound, side in bounds:
        lowest, highest = (figure.low, figure.high) if by_interval else (figure.value, figure.value)
        is_outside = highest < bound if side == "below" else lowest > bound
        if figure.n >= band.min_n and is_outside:
            reasons.append(
                f"{figures.judge}: {name} {figure.value:.1%} is {side} {bound:.1%}, decided by the {decided_by} over "
                f"{figure.n} items (at least {band.min_n}; 95 % interval {figure.low:.1%} to {figure.high:.1%})"
            )
    return reasons


def anchor_changes(before: Iterable[Judgement], after: Iterable[Judgement]) -> Counter[str]:
    """Count what became of the comparisons that two versions of a judge both voted on.

    "flipped": a pair's winner became its loser.  "softened": a pair's winner became a tie or a tie a winner, and none
    flipped.  "same": all else.
    """
    old = {judgement.comparison_id: judgement for judgement in before if judgement.outcome != "skipped"}
    new = [judgement for judgement in after if judgement.outcome != "skipped" and judgement.comparison_id in old]
    return Counter(_change(old[judgement.comparison_id], judgement) for judgement in new)


def _change(before: Judgement, after: Judgement) -> str:
    if before.outcome != after.outcome:
        return "softened"
    changes = [
        {_sign(before.ranks, first, second), _sign(after.ranks, first, second)}
        for first, second in itertools.combinations(range(len(before.ranks)), 2)
    ]
    if {-1, 1} in changes:
        return "flipped"
    return "softened" if any(len(change) > 1 for change in changes) else "same"


# ------------------------------------------------------------------------------------------------ the single figures
PairKey = tuple[str, int, int]


def majority_choices(judgements: Iterable[Judgement]) -> dict[PairKey, int]:
    """Return what most raters say of each pair: 1 the first, -1 the second, 0 a tie; a draw is left out.

    Keys: comparison id and the places of the two answers. "Both bad" and skipped say nothing about which is better.
    """
    votes: dict[PairKey, Counter[int]] = defaultdict(Counter)
    for judgement in judgements:
        for pair, sign in _signs(judgement).items():
            votes[pair][sign] += 1
    leading = {pair: [sign for sign in count if count[sign] == max(count.values())] for pair, count in votes.items()}
    return {pair: signs[0] for pair, signs in leading.items() if len(signs) == 1}


def flip_rate(calls: Iterable[JudgeCall]) -> Interval:
    """Bound the share of pairs whose winner changes with the places; ties in either order are no flip."""
    choices: dict[PairKey, dict[tuple[int, ...], int]] = defaultdict(dict)
    for one in _said_in_order(calls):
        choices[one.pair][one.shown] = one.sign
    return _by_item((pair[0], set(signs.values()) == {1, -1}) for pair, signs in choices.items() if len(signs) == 2)


def first_position_share(calls: Iterable[JudgeCall]) -> Interval:
    """Bound the share of verdicts for the answer shown first, ties left out."""
    return _share_of_first(_said_in_order(calls))


def length_preference(judgements: Iterable[Judgement], comparisons: Mapping[str, Comparison]) -> Interval:
    """Bound the share of decided pairs that went to the longer answer; of people too, whose own is the yardstick."""
    return _by_item(
        (comparison_id, (sign > 0) == (lengths[first] > lengths[second]))
        for judgement in judgements
        if judgement.comparison_id in comparisons
        for lengths in [[len(text) for text in comparisons[judgement.comparison_id].completions]]
        for (comparison_id, first, second), sign in _signs(judgement).items()
        if sign and lengths[first] != lengths[second]
    )


def position_preference(judgements: Iterable[Judgement]) -> Interval:
    """Bound the share of decided pairs that went to the answer shown earlier, of raters who see one order."""
    return _share_of_first(_said(judgements))


def agreement_with(
    majority: Mapping[PairKey, int], judgements: Iterable[Judgement], *, with_ties: bool = True
) -> Interval:
    """Bound the share of pairs on which judgements say the same as `majority_choices`."""
    return agreement_of(choices_beside(majority, judgements), with_ties=with_ties)


@dataclass(frozen=True)
class ChoiceBeside:
    """What a judge and most people say of a pair, 1 the first, -1 the second, 0 a tie.

    shown_first: people's choice was shown first to the judge; None for a tie, and where both orders were shown.
    """

    pair: PairKey
    own: int
    theirs: int
    shown_first: bool | None = None


def choices_beside(
    majority: Mapping[PairKey, int], judgements: Iterable[Judgement], calls: Iterable[JudgeCall] = ()
) -> list[ChoiceBeside]:
    """Put choices beside `majority_choices` on the same pairs. calls: of a judge that is shown each order by itself."""
    return [
        ChoiceBeside(one.pair, one.sign, theirs, one.shows_first(theirs) if theirs else None)
        for one in (*_said(judgements), *_said_in_order(calls))
        if (theirs := majority.get(one.pair)) is not None
    ]


def agreement_of(choices: Iterable[ChoiceBeside], *, with_ties: bool = True) -> Interval:
    """Bound the share of choices that are people's too; without ties, of those where neither calls one."""
    return _by_item((one.pair[0], one.own == one.theirs) for one in choices if with_ties or (one.own and one.theirs))


def parse_failure(calls: Sequence[JudgeCall]) -> Interval:
    """Bound the share of replies in which no verdict could be read; what was refused or failed is no reply."""
    num_by_status = Counter(call.status for call in calls)
    return wilson_interval(num_by_status["unparsed"], num_by_status["ok"] + num_by_status["unparsed"])


def _figures(
    judge: str,
    week: str,
    calls: Sequence[JudgeCall],
    judgements: Sequence[Judgement],
    comparisons: Mapping[str, Comparison],
    majority: Mapping[PairKey, int],
) -> JudgeFigures:
    return JudgeFigures(
        judge=judge,
        week=week,
        num_by_status=dict(Counter(call.status for call in calls)),
        parse_failure=parse_failure(calls),
        flip_rate=flip_rate(calls),
        first_position_share=first_position_share(calls),
        length_preference=length_preference(judgements, comparisons),
        agreement=agreement_with(majority, judgements),
        agreement_without_ties=agreement_with(majority, judgements, with_ties=False),
        prompt_tokens=sum(call.prompt_tokens for call in calls),
        reply_tokens=sum(call.reply_tokens for call in calls),
    )


@dataclass(frozen=True)
class _Said:
    """A choice between two answers, 1 the first, -1 the second, 0 neither, and the order in which they were shown."""

    pair: PairKey
    sign: int
    shown: tuple[int, ...]

    def shows_first(self, sign: int) -> bool:
        """Say whether the answer that a sign prefers was shown before the other."""
        return (self.shown.index(self.pair[1]) < self.shown.index(self.pair[2])) == (sign > 0)


def _said(judgements: Iterable[Judgement]) -> Iterator[_Said]:
    for judgement in judgements:
        for pair, sign in _signs(judgement).items():
            yield _Said(pair, sign, judgement.permutation)


def _said_in_order(calls: Iterable[JudgeCall]) -> Iterator[_Said]:
    for call in calls:
        # Only the overall choice is wanted here, whatever aspects the judge was asked for besides.
        if call.status == "ok" and (verdict := parse_verdict(call.reply, aspects=())):
            first, second = call.permutation
            sign = {"first": 1, "second": -1}.get(verdict.overall, 0)
            pair = (call.comparison_id, min(first, second), max(first, second))
            yield _Said(pair, sign if first < second else -sign, call.permutation)


def _share_of_first(said: Iterable[_Said]) -> Interval:
    return _by_item((one.pair[0], one.shows_first(one.sign)) for one in said if one.sign)


def _signs(judgement: Judgement) -> dict[PairKey, int]:
    """Return the judgement's choice on every pair; nothing unless it ranked."""
    places = range(len(judgement.ranks))
    return {
        (judgement.comparison_id, first, second): _sign(judgement.ranks, first, second)
        for first, second in itertools.combinations(places, 2)
        if judgement.outcome == "ranked"
    }


def _sign(ranks: Sequence[int], first: int, second: int) -> int:
    return (ranks[first] < ranks[second]) - (ranks[first] > ranks[second])


def _by_item(facts: Iterable[tuple[str, bool]]) -> Interval:
    """Bound a share of facts; those of one comparison hang together, so each comparison counts once."""
    per_item: dict[str, list[bool]] = defaultdict(list)
    for item, is_so in facts:
        per_item[item].append(is_so)
    return wilson_interval(sum(sum(facts) / len(facts) for facts in per_item.values()), len(per_item))
