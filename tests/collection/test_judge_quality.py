"""AI judges beside people: which judgements they are measured by."""

from datetime import timedelta

import pytest

from collection.made_judgements import NOON, entry, item, items_of
from kleash.collection.judge_quality import measure_judges
from kleash.records import JudgeCall

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
