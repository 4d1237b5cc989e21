"""AI judges beside people: which judgements they are measured by."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from collection.made_judgements import NOON, entry, item, items_of
from kleash.cli.tables import beside_people_table
from kleash.collection.judge_quality import beside_people, measure_judges
from kleash.collection.recorded import Item, RecordedJudgement
from kleash.monitor.pages.rendering import fragment
from kleash.records import Comparison, JudgeCall, Judgement, Prompt
from kleash.results import PreferencesSummary
from raters.replay_server import verdict

FIRST, SECOND, TIE = (1, 2), (2, 1), (1, 1)


def call(judge, status, number):
    return JudgeCall(f"{judge} {number}", "c1", judge, "model", "", "", (0, 1), status, "")


def test_judges_are_held_against_people_of_any_week():
    items = items_of(*(item(f"i{n}") for n in range(3)))
    next_week = NOON + timedelta(days=7)
    given = [entry(f"i{n}", "ann", FIRST) for n in range(3)]
    given.append(entry("i0", "judge", SECOND, is_adjudication=True))
    given += [entry("i0", "m@1", FIRST, kind="ai"), entry("i1", "m@1", SECOND, kind="ai")]
    given.append(entry("i2", "m@1", SECOND, kind="ai", given_at=next_week))
    given.append(entry("i0", "m@1", SECOND, kind="ai", is_repeat=True))
    calls = [(call("m@1", status, number), NOON) for number, status in enumerate(("ok", "ok", "unparsed", "failed"))]
    weeks = measure_judges(items, given, calls, is_weekly=True)
    assert [(week.judge, week.week) for week in weeks] == [("m@1", "2026-W48"), ("m@1", "2026-W49")]
    assert [(week.agreement.value, week.agreement.n) for week in weeks] == [(0.5, 2), (0.0, 1)]
    assert (weeks[0].parse_failure.value, weeks[0].parse_failure.n) == (pytest.approx(1 / 3), 3)
    assert dict(weeks[0].num_by_status) == {"ok": 2, "unparsed": 1, "failed": 1}
    [overall] = measure_judges(items, given, calls, is_weekly=False)
    assert (overall.week, overall.agreement.value, overall.agreement.n) == ("", pytest.approx(1 / 3), 3)


def test_a_judge_that_only_ever_failed_is_listed():
    [found] = measure_judges({}, [], [(call("m@1", "refused", 0), NOON)], is_weekly=False)
    assert (found.judge, found.parse_failure.n, found.agreement.n) == ("m@1", 0, 0)


# Answers of 4 and 8 characters, or 8 and 8; ann chose as in THEIRS, the judge as in OWN.
COMPARISONS = [
    Comparison(Prompt(f"q{n}", {"topic": "sums" if n < 3 else "facts"}), ("a" * first, "b" * 8), ("x", "y"))
    for n, first in enumerate((4, 4, 4, 8, 8))
]
THEIRS = [FIRST, SECOND, SECOND, FIRST, FIRST]
OWN = [SECOND, SECOND, SECOND, FIRST, TIE]


def judged(comparison, rater, ranks, kind="person", permutation=(0, 1)):
    judgement = Judgement(comparison.id, rater, kind, permutation, "ranked", ranks)
    return RecordedJudgement(f"{comparison.id} {rater}", comparison.id, judgement, NOON)


def in_order(comparison, permutation, overall):
    return JudgeCall(
        f"{comparison.id} {permutation}", comparison.id, "m@1", "m", "", "", permutation, "ok", verdict(overall)
    ), NOON


def beside():
    items = {one.id: Item(one.id, one) for one in COMPARISONS}
    orders = [(1, 0)] * 4 + [(0, 1)]
    recorded = [judged(*said) for said in zip(COMPARISONS, ["ann"] * 5, THEIRS, ["person"] * 5, orders, strict=True)]
    recorded += [judged(one, "m@1", ranks, "ai") for one, ranks in zip(COMPARISONS, OWN, strict=True)]
    calls = [in_order(COMPARISONS[0], (0, 1), "second"), in_order(COMPARISONS[0], (1, 0), "first")]
    # It takes whichever stands first, where people chose the first answer.
    calls += [in_order(COMPARISONS[4], (0, 1), "first"), in_order(COMPARISONS[4], (1, 0), "first")]
    return beside_people(items, recorded, calls)


def test_a_judge_is_held_against_people_by_length_place_and_slice():
    [found] = beside()
    figures = {name: one for named in found.groups.values() for name, one in named.items()}
    assert (found.judge, found.overall.percent.value, found.overall.percent.n) == ("m@1", 0.6, 5)
    assert (found.overall.decided.value, found.overall.decided.n) == (0.75, 4)
    # p_o = 3/5, p_c = 1/5 * 3/5 + 3/5 * 2/5: see Cohen 1960
    assert found.overall.kappa.value == pytest.approx((0.6 - 0.36) / (1 - 0.36))
    assert found.overall.kappa.low < found.overall.kappa.value < found.overall.kappa.high
    expected = {
        "lengths within 10 %": (0.5, 2),
        "one over 50 % longer": (0.667, 3),
        "people chose the longer": (1.0, 2),
        "people chose the shorter": (0.0, 1),
        "people's choice shown first": (0.5, 2),
        "people's choice shown second": (0.0, 2),
        "topic=facts": (0.5, 2),
        "topic=sums": (0.667, 3),
    }
    assert {name: (round(one.percent.value, 3), one.percent.n) for name, one in figures.items()} == expected
    assert (found.longer.value, found.people_longer.value) == (1.0, pytest.approx(2 / 3))
    assert (found.first.value, found.people_first.value) == (0.75, 0.6)


def test_the_figures_are_those_of_the_band():
    items = {one.id: Item(one.id, one) for one in COMPARISONS}
    recorded = [judged(one, "ann", ranks) for one, ranks in zip(COMPARISONS, THEIRS, strict=True)]
    recorded += [judged(one, "m@1", ranks, "ai") for one, ranks in zip(COMPARISONS, OWN, strict=True)]
    [band], [found] = measure_judges(items, recorded, [], is_weekly=False), beside_people(items, recorded)
    assert vars(found.overall.percent) == vars(band.agreement)
    assert vars(found.overall.decided) == vars(band.agreement_without_ties)
    assert (found.first, found.groups.get("place")) == (None, None)  # it may have been shown both orders
    turned = [replace(one, judgement=replace(one.judgement, permutation=(1, 0))) for one in recorded[5:7]]
    [found] = beside_people(items, [*recorded[:5], *turned, *recorded[7:]])
    assert (found.first.value, found.first.n) == (0.75, 4)  # of one order each
    assert found.groups["place"]["people's choice shown first"].percent.n == 3


def test_calibration_items_stand_in_where_people_have_not_judged():
    gold = Item("g", COMPARISONS[0], gold_ranks=FIRST)
    [found] = beside_people({"g": gold}, [judged(COMPARISONS[0], "m@1", SECOND, "ai")])
    assert found.overall.percent is None
    assert found.groups["known answer"]["calibration items"].percent.value == 0.0
    assert beside_people({"g": gold}, [judged(COMPARISONS[0], "ann", FIRST)]) == []


def test_every_page_and_the_screen_show_the_same_figures():
    rows = beside()
    summary = PreferencesSummary(beside_people=rows)
    assert PreferencesSummary.from_json(json.loads(json.dumps(summary.to_json()))).beside_people == rows
    page = fragment("parts/judges.html", beside_people=rows)
    cells = [str(cell) for column in beside_people_table(rows).columns for cell in column.cells]
    for text in ("people chose the shorter", "people&#39;s choice shown first", "topic=facts"):
        assert text in page
        assert text.replace("&#39;", "'") in cells
    assert str(rows[0].overall.kappa) in page
    hostile = [rows[0].model_copy(update={"judge": "<script>m"})]
    assert "<script>" not in fragment("parts/judges.html", beside_people=hostile)
    assert (fragment("parts/judges.html", beside_people=[]).strip(), beside_people_table([])) == ("", None)
