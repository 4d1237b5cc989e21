"""Freezing a campaign: exported, imported and exported again, not a byte differs; what went where is remembered."""

import json
from collections import Counter

import pytest

from collection.made_campaigns import NOON, answer, claim_one, make_campaign, make_rater, minutes, skip
from kleash.artifacts import read
from kleash.collection.aggregation import AggregationSettings
from kleash.collection.exporting import freeze
from kleash.collection.importing import import_export
from kleash.collection.quality import agreement, rater_table
from kleash.collection.store import campaigns as stored
from kleash.collection.store.assignments import claim, open_adjudication
from kleash.collection.store.judgements import exports_of, judgements_in_force
from kleash.collection.store.raters import demote
from kleash.errors import ArtifactError, DataError
from kleash.formats import read_judgements, read_preferences

FILES = ("preferences.jsonl", "judgements.jsonl", "items.jsonl", "campaign.json")


@pytest.fixture
def lively(database):
    """A campaign with every kind of judgement: votes, ties, both bad, skips, gold, repeats, surplus and a ruling."""
    campaign = make_campaign(
        database, num_items=8, num_gold=3, overlap=2, gold_share=0.2, repeat_share=0.3, repeat_gap=2, lease_minutes=5
    )
    anna, ben, cleo = (make_rater(database, name) for name in ("anna", "ben", "cleo"))
    with database.write() as connection:
        held = claim(connection, campaign, cleo, limit=4, at=NOON)
    late = next(task for task in held if task.purpose == "vote")
    for rater in (anna, ben):
        number = 0
        while (task := claim_one(database, campaign, rater, at=NOON + minutes(10 + number))) is not None:
            at = NOON + minutes(10 + number)
            if number in (2, 3) and task.item_id != late.item_id and task.purpose == "vote":
                skip(database, campaign, task, rater, at=at)
            elif number == 4:
                answer(database, campaign, task, rater, (), outcome="both_bad", at=at)
            else:
                ranks = [(1, 2), (2, 1), (1, 1)][(number + len(rater.name)) % 3]
                more = {"rationale": "because\u2028\x00", "flags": ("unsafe",)} if number == 5 else {}
                aspects = {"factuality": (1, 2), "style": (2, 1)}
                answer(database, campaign, task, rater, ranks, at=at, aspects=aspects, seconds=3.5 + number, **more)
            number += 1
    answer(database, campaign, late, cleo, at=NOON + minutes(60))
    with database.write() as connection:
        ruling = open_adjudication(connection, campaign, "2", cleo)
        stored.write_rubric(connection, campaign.id, "A second rubric.", actor="test")
    answer(database, campaign, ruling, cleo, (2, 1), at=NOON + minutes(70))
    return campaign


def kinds_of(given):
    return Counter(
        name
        for entry in given
        for name in ("is_repeat", "is_surplus", "is_adjudication", "skip_reason")
        if getattr(entry, name)
    )


def test_an_export_imported_and_exported_again_is_the_same(database, lively, tmp_path):
    first = freeze(database, "trial", tmp_path / "first", settings=AggregationSettings(), actor="test")
    with database.write() as connection:
        _, imported = import_export(connection, tmp_path / "first", "again", actor="test")
    second = freeze(database, "again", tmp_path / "second", settings=AggregationSettings(), actor="test")
    for name in FILES:
        assert (tmp_path / "second" / name).read_bytes() == (tmp_path / "first" / name).read_bytes(), name
    assert second.id == first.id
    with database.read() as connection:
        again = stored.campaign_named(connection, "again")
        before, after = judgements_in_force(connection, lively), judgements_in_force(connection, again)
        items, new_items = stored.items(connection, lively), stored.items(connection, again)
        assert stored.rubrics(connection, again.id) == stored.rubrics(connection, lively.id)
        assert stored.progress(connection, again) == stored.progress(connection, lively)
    assert imported.num_judgements == len(after) == len(before)
    assert kinds_of(after) == kinds_of(before)
    assert set(kinds_of(before)) == {"is_repeat", "is_surplus", "is_adjudication", "skip_reason"}
    habits = [(row.rater, row.num_items, row.gold_accuracy, row.self_consistency) for row in rater_table(items, before)]
    again_habits = rater_table(new_items, after)
    assert [(row.rater, row.num_items, row.gold_accuracy, row.self_consistency) for row in again_habits] == habits
    figures, new_figures = vars(agreement(items, before)), vars(agreement(new_items, after))
    assert {name: one.value for name, one in new_figures.items()} == {name: one.value for name, one in figures.items()}


def test_an_artifact_holds_everything_and_knows_what_went_into_it(database, lively, tmp_path):
    made = freeze(database, "trial", tmp_path / "made", settings=AggregationSettings(), actor="test")
    assert read(tmp_path / "made").kind == "preferences"
    with database.read() as connection:
        given = judgements_in_force(connection, lively)
        assert exports_of(connection, given[0].id) == [(made.id, str(tmp_path / "made"))]
    rows = read_preferences(tmp_path / "made" / "preferences.jsonl").records
    judgements = read_judgements(tmp_path / "made" / "judgements.jsonl").records
    assert (len(rows), len(judgements)) == (11, len(given))
    assert {row.left_out for row in rows} >= {"", "gold", "flagged unsafe"}
    assert any(row.aspects.get("style") for row in rows)
    assert made.summary["judgements_left_out"]["surplus"] == 1
    assert made.settings["labels"]["method"] == "vote_share"


def test_a_demoted_raters_verdicts_are_left_out(database, lively, tmp_path):
    with database.write() as connection:
        demote(connection, "ben", "asleep", actor="test")
    freeze(database, "trial", tmp_path / "made", settings=AggregationSettings(), actor="test")
    raters = {row.rater for row in read_judgements(tmp_path / "made" / "judgements.jsonl").records}
    assert raters == {"anna", "cleo"}


def test_an_export_is_never_overwritten(database, lively, tmp_path):
    freeze(database, "trial", tmp_path / "made", settings=AggregationSettings(), actor="test")
    with pytest.raises(ArtifactError, match="is a complete artifact already"):
        freeze(database, "trial", tmp_path / "made", settings=AggregationSettings(), actor="test")


def damaged(folder, name, change):
    path = folder / name
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("items.jsonl", lambda text: text.split("\n", 1)[1], "11 rows of preferences and 10 items"),
        ("campaign.json", lambda text: text[:20], "Cannot read .*campaign.json: Unterminated string"),
        ("items.jsonl", lambda text: "x" + text, r"items.jsonl:1 is not JSON.* Write one whole JSON object"),
        ("judgements.jsonl", lambda text: text + text.split("\n")[0] + "\n", "has two verdicts of one rater"),
        (
            "judgements.jsonl",
            lambda text: text.replace(json.loads(text.split("\n")[0])["comparison_id"], "0" * 16),
            "is not in the campaign",
        ),
    ],
)
def test_a_damaged_export_is_refused_and_leaves_nothing(database, lively, tmp_path, name, change, message):
    freeze(database, "trial", tmp_path / "made", settings=AggregationSettings(), actor="test")
    damaged(tmp_path / "made", name, change)
    with pytest.raises(DataError, match=message), database.write() as connection:
        import_export(connection, tmp_path / "made", "again", actor="test")
    with database.read() as connection:
        assert [campaign.name for campaign in stored.campaigns(connection)] == ["trial"]


def test_a_folder_that_is_no_export_is_refused(database, tmp_path):
    with pytest.raises(DataError, match=r"Cannot read .*campaign.json.*kleash collect export"), database.write() as c:
        import_export(c, tmp_path, "again", actor="test")
