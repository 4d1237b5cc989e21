"""The AI judges of a campaign in `kleash collect status`."""

from collection.made_judgements import NOON, item, items_of
from kleash.cli.tables import judges_status_table
from kleash.collection.judge_quality import measure_judges
from kleash.collection.recorded import RecordedJudgement
from kleash.collection.store.raters import Rater
from kleash.records import Judgement

FIRST, SECOND = (1, 2), (2, 1)


def entry(index, rater, ranks, kind):
    comparison_id = f"i{index}"
    return RecordedJudgement(
        f"{index}{rater}", comparison_id, Judgement(comparison_id, rater, kind, (0, 1), "ranked", ranks), NOON
    )


def cells(table):
    return [list(column.cells) for column in table.columns]


def test_a_demoted_judge_shows_what_of_it_counts_and_why():
    items = items_of(*(item(f"i{index}") for index in range(4)))
    people = [entry(index, "anna", FIRST, "person") for index in range(4)]
    judge = [entry(index, "m@1", FIRST if index < 3 else SECOND, "ai") for index in range(4)]
    figures = {one.judge: one for one in measure_judges(items, [*people, *judge], [], is_weekly=False)}
    raters = [Rater(1, "anna", "person"), Rater(2, "m@1", "ai", "left its band", counts_before=7)]
    table = judges_status_table(raters, recorded=[*people, *judge], counting=[*people, *judge[:3]], figures=figures)
    name, verdicts, counting, agreement, flips, demoted = ([str(cell) for cell in column] for column in cells(table))
    assert (name, verdicts, counting, flips, demoted) == (["m@1"], ["4"], ["3"], ["-"], ["left its band"])
    assert agreement == ["75\u202f% (30 to 95\u202f%) of 4"]


def test_a_campaign_of_people_has_no_such_table():
    assert judges_status_table([Rater(1, "anna", "person")], recorded=[], counting=[], figures={}) is None
