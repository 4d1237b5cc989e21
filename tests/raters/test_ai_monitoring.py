"""A judge's figures by hand: flips, the pull of the first place, length, agreement, weeks, the band, the anchors."""

import dataclasses
import math
import random
from datetime import UTC, datetime, timedelta, timezone

import pytest
from replay_server import verdict

from kleash.maths.intervals import Interval, wilson_interval
from kleash.raters.merging import OrderOutcome, merge, orders_of
from kleash.raters.monitoring import (
    BandSettings,
    JudgeFigures,
    agreement_with,
    anchor_changes,
    demotion,
    first_position_share,
    flip_rate,
    judge_figures,
    length_preference,
    majority_choices,
    parse_failure,
    week_of,
)
from kleash.raters.verdicts import OVERALL, JudgeVerdict
from kleash.records import Comparison, JudgeCall, Judgement, Prompt

MONDAY = datetime(2026, 11, 23, 9, tzinfo=UTC)


def call(item, order, said, *, judge="j@1", status="ok"):
    reply = verdict(said) if status == "ok" else "?"
    return JudgeCall(f"{judge} {item} {order}", item, judge, "j", "", "r", order, status, reply)


def both(item, forward, backward):
    return [call(item, (0, 1), forward), call(item, (1, 0), backward)]


def ranked(item, *ranks, rater="j@1", kind="ai"):
    return Judgement(item, rater, kind, tuple(range(len(ranks))), "ranked", ranks)


def skipped(item, *, rater="j@1", kind="ai"):
    return Judgement(item, rater, kind, (0, 1), "skipped", flags=("unparsed",))


def test_a_flip_is_a_winner_that_changes_with_the_places():
    calls = [*both("a", "first", "second"), *both("b", "first", "first"), *both("c", "tie", "first")]
    calls += [call("d", (0, 1), "first"), call("d", (1, 0), "", status="unparsed")]
    assert flip_rate(calls) == wilson_interval(1, 3)


def test_the_pairs_of_one_comparison_count_as_one_item():
    calls = [call("a", order, "first") for order in [(0, 1), (1, 0), (0, 2)]]
    calls += [call("a", (2, 0), "second"), call("a", (1, 2), "first"), call("a", (2, 1), "first")]
    assert flip_rate(calls) == wilson_interval(2 / 3, 1)


def test_a_judge_that_always_takes_the_first_is_seen():
    fair, smitten = both("a", "first", "second"), both("b", "first", "first")
    assert first_position_share(fair) == wilson_interval(0.5, 1)
    assert first_position_share([*fair, *smitten, *both("c", "tie", "both_bad")]) == wilson_interval(1.5, 2)


def test_refused_and_failed_calls_are_no_replies():
    kinds = ["ok"] * 6 + ["unparsed"] * 2 + ["refused"] * 3 + ["failed"] * 4
    calls = [call(str(n), (0, 1), "first", status=kind) for n, kind in enumerate(kinds)]
    assert parse_failure(calls) == wilson_interval(2, 8)


def cases(*lengths):
    found = [Comparison(Prompt(f"q{n}"), tuple("x" * size for size in sizes)) for n, sizes in enumerate(lengths)]
    return found, {case.id: case for case in found}


def test_length_preference_counts_decided_pairs_of_unlike_length():
    (a, b, c, d, e), known = cases((9, 5), (9, 5), (5, 9), (5, 5), (9, 5))
    judgements = [ranked(a.id, 1, 2), ranked(b.id, 2, 1), ranked(c.id, 2, 1), ranked(d.id, 1, 2), ranked(e.id, 1, 1)]
    judgements += [skipped(a.id), ranked("unknown", 1, 2)]
    assert length_preference(judgements, known) == wilson_interval(2, 3)


def people(item, *signs):
    ranks = {1: (1, 2), 0: (1, 1), -1: (2, 1)}
    return [ranked(item, *ranks[sign], rater=f"p{n}", kind="person") for n, sign in enumerate(signs)]


def test_most_people_make_the_majority_and_a_draw_makes_none():
    votes = [*people("a", 1, 1, -1), *people("b", 0, 0, 1), *people("c", 1, -1), *people("d", 1, -1, 0)]
    votes += [skipped("e", rater="p0", kind="person")]
    assert majority_choices(votes) == {("a", 0, 1): 1, ("b", 0, 1): 0}


def test_agreement_is_with_the_majority_ties_in_and_out():
    majority = majority_choices([*people("a", 1, 1), *people("b", 0, 0), *people("c", -1, -1), *people("d", 1, -1)])
    judgements = [ranked("a", 1, 2), ranked("b", 1, 1), ranked("c", 1, 1), ranked("d", 1, 2), skipped("a")]
    assert agreement_with(majority, judgements) == wilson_interval(2, 3)
    assert agreement_with(majority, judgements, with_ties=False) == wilson_interval(1, 1)


def test_a_week_begins_on_monday_in_utc():
    assert week_of(datetime(2026, 11, 22, 23, 59, tzinfo=UTC)) == "2026-W47"
    assert week_of(MONDAY) == "2026-W48"
    assert week_of(datetime(2026, 11, 23, 1, tzinfo=timezone(timedelta(hours=2)))) == "2026-W47"
    assert week_of(datetime(2027, 1, 1)) == "2026-W53"


def test_each_version_and_week_is_measured_by_itself():
    (a, b), _ = cases((9, 5), (9, 5))
    later = MONDAY + timedelta(days=7)
    judgements = [(ranked(a.id, 1, 2), MONDAY), (ranked(b.id, 2, 1), later)]
    judgements += [(ranked(b.id, 1, 2, rater="j@2"), later), (people(a.id, 1)[0], later)]
    calls = [(each, MONDAY) for each in both(a.id, "first", "second")]
    calls += [(each, later) for each in both(b.id, "first", "first")]
    given = {"calls": calls, "judgements": judgements, "comparisons": [a, b]}
    by_people = [*people(a.id, 1), *people(b.id, 1)]
    weekly = judge_figures(**given, by_people=by_people)
    assert [(each.judge, each.week) for each in weekly] == [
        ("j@1", "2026-W48"),
        ("j@1", "2026-W49"),
        ("j@2", "2026-W49"),
    ]
    assert [each.agreement.value for each in weekly] == [1.0, 0.0, 1.0]
    assert [each.flip_rate.n for each in weekly] == [1, 1, 0]
    assert math.isnan(weekly[2].flip_rate.value)
    assert weekly[0].num_by_status == {"ok": 2}
    (over_all, _) = judge_figures(**given, by_people=by_people, is_weekly=False)
    assert over_all.agreement == wilson_interval(1, 2)
    assert over_all.week == ""


def test_figures_stand_whatever_the_order_of_the_records():
    chance = random.Random(1)
    found, _ = cases(*[(chance.randint(1, 30), chance.randint(1, 30)) for _ in range(40)])
    calls, judgements, votes = [], [], []
    for case in found:
        said = {order: JudgeVerdict(chance.choice(OVERALL)) for order in orders_of(2)}
        calls += [(call(case.id, order, each.overall), MONDAY) for order, each in said.items()]
        heard = {order: OrderOutcome("ok", each) for order, each in said.items()}
        judgements.append((merge(case, heard, rater="j@1", rubric_version="r"), MONDAY))
        votes += people(case.id, *chance.choices([1, 0, -1], k=3))
    straight = judge_figures(calls=calls, judgements=judgements, comparisons=found, by_people=votes)
    for records in (calls, judgements, found, votes):
        chance.shuffle(records)
    shuffled = judge_figures(calls=calls, judgements=judgements, comparisons=found, by_people=votes)
    assert straight == shuffled
    num_flips = sum("position_flip" in judgement.flags for judgement, _ in judgements)
    assert straight[0].flip_rate == wilson_interval(num_flips, 40)


GOOD = {
    "parse_failure": Interval(0.05, 0.0, 0.1, 100),
    "flip_rate": Interval(0.1, 0.0, 0.2, 100),
    "first_position_share": Interval(0.5, 0.4, 0.6, 100),
    "length_preference": Interval(0.6, 0.5, 0.7, 100),
    "agreement": Interval(0.6, 0.5, 0.7, 100),
    "agreement_without_ties": Interval(0.8, 0.7, 0.9, 100),
}


def test_a_judge_within_its_band_stays():
    assert demotion(JudgeFigures("j@1", "", {}, **GOOD), BandSettings()) == []


@pytest.mark.parametrize(
    ("figure", "value", "words"),
    [
        ("parse_failure", 0.2, "parse failure 20.0% is above 10.0%"),
        ("flip_rate", 0.5, "flip rate 50.0% is above 35.0%"),
        ("length_preference", 0.9, "preference for the longer answer 90.0% is above 70.0%"),
        ("agreement_without_ties", 0.5, "agreement with people (ties left out) 50.0% is below 65.0%"),
    ],
)
def test_a_figure_outside_the_band_demotes_once_it_rests_on_enough(figure, value, words):
    def reasons(number, n):
        return demotion(
            JudgeFigures("j@1", "", {}, **(GOOD | {figure: Interval(number, 0.1, 0.95, n)})), BandSettings()
        )

    assert reasons(value, 50) == [
        f"j@1: {words}, decided by the estimate over 50 items (at least 50; 95 % interval 10.0% to 95.0%)"
    ]
    assert reasons(value, 49) == []
    assert reasons(math.nan, 0) == []


def test_two_versions_are_compared_on_what_both_judged():
    before = [ranked("same", 1, 2), ranked("flip", 1, 2), ranked("soft", 1, 2), ranked("lost", 1, 2), skipped("gain")]
    before += [ranked("before only", 1, 2), ranked("hard", 1, 1), ranked("bad", 1, 1), skipped("silent")]
    after = [ranked("same", 1, 2), ranked("flip", 2, 1), ranked("soft", 1, 1), skipped("lost"), ranked("gain", 1, 2)]
    after += [ranked("hard", 2, 1), dataclasses.replace(ranked("bad"), outcome="both_bad"), skipped("silent")]
    assert anchor_changes(before, after) == {"same": 1, "flipped": 1, "softened": 3}


def test_among_three_answers_one_reversed_pair_is_a_flip():
    before, after = [ranked("a", 1, 2, 3), ranked("b", 1, 2, 3)], [ranked("a", 2, 1, 3), ranked("b", 1, 2, 2)]
    assert anchor_changes(before[:1], after) == {"flipped": 1}
    assert anchor_changes(before, after) == {"flipped": 1, "softened": 1}
