"""How the AI judges of a campaign do beside its people: `raters/monitoring.py` measures, here is what it is given."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

from kleash.collection.recorded import Item, RecordedJudgement
from kleash.estimates import Estimate, Rate
from kleash.maths.agreement import agreement_interval, mean_cohen_kappa
from kleash.maths.intervals import Interval
from kleash.raters.monitoring import (
    ChoiceBeside,
    JudgeFigures,
    agreement_of,
    choices_beside,
    first_position_share,
    judge_figures,
    length_preference,
    majority_choices,
    position_preference,
)
from kleash.records import UNANSWERED, Comparison, JudgeCall, Judgement, group_by_slice
from kleash.results import AgreementWithPeople, JudgeBesidePeople

# Of two answers, how much longer the longer one is, in characters.
LENGTHS = ((1.1, "lengths within 10 %"), (1.5, "one 10 to 50 % longer"), (math.inf, "one over 50 % longer"))


def measure_judges(
    items: Mapping[str, Item],
    recorded: Sequence[RecordedJudgement],
    calls: Sequence[tuple[JudgeCall, datetime]],
    *,
    is_weekly: bool,
) -> list[JudgeFigures]:
    """Measure each judge version, per week or over all time, against all that people have said so far.

    A judge's second looks and people's rulings, second looks and surplus verdicts are left out. Simulated labellers
    are people here.
    """
    return judge_figures(
        calls=calls,
        judgements=[(entry.judgement, entry.given_at) for entry in recorded if not entry.is_repeat],
        comparisons=[item.comparison for item in items.values()],
        by_people=votes_of_people(recorded),
        is_weekly=is_weekly,
    )


def beside_people(
    items: Mapping[str, Item], recorded: Sequence[RecordedJudgement], calls: Sequence[tuple[JudgeCall, datetime]] = ()
) -> list[JudgeBesidePeople]:
    """Hold each AI judge against most people: over all, by length, by the place shown, by slice, on calibration items.

    recorded: all judgements, as in `measure_judges`.  calls: where a judge was shown both orders, its verdict in each;
    of a judge without any, and of people, places are their judgements', if they were shown different orders. A judge
    that met nobody on any comparison has no row.
    """
    comparisons = {item.comparison.id: item.comparison for item in items.values()}
    by_people = votes_of_people(recorded)
    people = majority_choices(by_people)
    known = majority_choices(
        Judgement(item.comparison.id, "", "rule", tuple(range(len(item.gold_ranks))), "ranked", item.gold_ranks)
        for item in items.values()
        if item.is_gold
    )
    by_judges = [entry.judgement for entry in recorded if entry.judgement.rater_kind == "ai" and not entry.is_repeat]
    said = [judgement for judgement in by_judges if judgement.comparison_id in comparisons]
    rows = []
    for judge in sorted({judgement.rater for judgement in said}):
        own = [judgement for judgement in said if judgement.rater == judge]
        choices = choices_beside(people, own)
        both = {choice.pair[0] for choice in choices}
        on_both = [judgement for judgement in own if judgement.comparison_id in both]
        theirs = [judgement for judgement in by_people if judgement.comparison_id in both]
        in_order = [call for call, _ in calls if call.judge == judge and call.comparison_id in both]
        placed = choices_beside(people, [] if in_order else _shown_in_turns(own), in_order)
        gold = choices_beside(known, own)
        if choices or gold:
            first = first_position_share(in_order) if in_order else position_preference(_shown_in_turns(on_both))
            rows.append(
                JudgeBesidePeople(
                    judge=judge,
                    overall=_agreement(choices),
                    groups=_grouped(choices, placed, gold, comparisons),
                    longer=_rate(length_preference(on_both, comparisons)),
                    people_longer=_rate(length_preference(theirs, comparisons)),
                    first=_rate(first),
                    people_first=_rate(position_preference(_shown_in_turns(theirs))),
                )
            )
    return rows


def _shown_in_turns(judgements: Sequence[Judgement]) -> Sequence[Judgement]:
    """Return judgements of which it is known what was shown first: always one order may be a file's, or be both."""
    return judgements if len({judgement.permutation for judgement in judgements}) > 1 else ()


def _grouped(
    choices: Sequence[ChoiceBeside],
    placed: Sequence[ChoiceBeside],
    gold: Sequence[ChoiceBeside],
    comparisons: Mapping[str, Comparison],
) -> dict[str, dict[str, AgreementWithPeople]]:
    groups: dict[str, dict[str, list[ChoiceBeside]]] = defaultdict(lambda: defaultdict(list))
    for one in choices:
        first, second = (len(comparisons[one.pair[0]].completions[index]) for index in one.pair[1:])
        ratio = max(first, second) / max(min(first, second), 1)
        groups["length"][next(name for most, name in LENGTHS if ratio <= most)].append(one)
        if one.theirs and first != second:
            chose = "longer" if (one.theirs > 0) == (first > second) else "shorter"
            groups["length"][f"people chose the {chose}"].append(one)
    for one in placed:
        if one.shown_first is not None:
            groups["place"][f"people's choice shown {'first' if one.shown_first else 'second'}"].append(one)
    dimensions = [comparisons[one.pair[0]].prompt.dimensions for one in choices]
    groups["slice"] |= {name: [choices[row] for row in rows] for name, rows in group_by_slice(dimensions).items()}
    groups["known answer"] |= {"calibration items": list(gold)} if gold else {}
    return {by: {name: _agreement(of) for name, of in sorted(named.items())} for by, named in groups.items() if named}


def _agreement(choices: Sequence[ChoiceBeside]) -> AgreementWithPeople:
    number_of = {item: number for number, item in enumerate(dict.fromkeys(one.pair[0] for one in choices))}
    numbers = [number_of[one.pair[0]] for one in choices]
    table_LN = [[float(one.own) for one in choices], [float(one.theirs) for one in choices]]
    kappa = agreement_interval(mean_cohen_kappa, table_LN, item_N=numbers, num_resamples=200) if choices else None
    return AgreementWithPeople(
        percent=_rate(agreement_of(choices)),
        decided=_rate(agreement_of(choices, with_ties=False)),
        kappa=Estimate(**vars(kappa)) if kappa and math.isfinite(kappa.value) else None,
    )


def _rate(share: Interval) -> Rate | None:
    return Rate(**vars(share)) if share.n else None


def unanswered(
    recorded: Sequence[RecordedJudgement], calls: Sequence[tuple[JudgeCall, datetime]], judges: Collection[str]
) -> dict[str, int]:
    """Count per judge the comparisons that its endpoint gave no answer about, and that it has not judged since."""
    judged = {(entry.judgement.rater, entry.judgement.comparison_id) for entry in recorded}
    asked = {(call.judge, call.comparison_id) for call, _ in calls if call.status in UNANSWERED}
    return dict(Counter(judge for judge, _ in sorted(asked - judged) if judge in judges))


def votes_of_people(recorded: Iterable[RecordedJudgement]) -> list[Judgement]:
    """Return what a judge is held against."""
    return [
        entry.judgement for entry in recorded if entry.judgement.rater_kind in ("person", "simulated") and entry.is_vote
    ]
