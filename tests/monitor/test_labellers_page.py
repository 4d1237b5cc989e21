"""Labeller statistics of a frozen artifact: the same that the labelling service showed of the same judgements."""

import json
from datetime import UTC, datetime

import pytest
from fake_run import make_fake_run

from kleash.artifacts import writing
from kleash.collection.aggregation import AggregationSettings
from kleash.collection.campaign import Campaign, CampaignSettings
from kleash.collection.exporting import write_export
from kleash.collection.quality import rater_table
from kleash.collection.recorded import Item, RecordedJudgement
from kleash.monitor.pages.labellers import labels_of, labels_page, labels_summary
from kleash.monitor.read.reader import read_run
from kleash.records import Comparison, Judgement, Prompt

HOSTILE = "<b onmouseover=alert(1)>anna</b>"
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
SETTINGS = CampaignSettings()
CAMPAIGN = Campaign(1, "c", "running", SETTINGS, "", "Which is better?", "v1", NOON)


def item(number, *, gold_ranks=()):
    comparison = Comparison(Prompt(f"prompt {number}"), (f"short {number}", f"a longer answer {number}"), ("a", "b"))
    return Item(comparison.id, comparison, gold_ranks=gold_ranks)


def judgements_on(items, *, first_rater="anna"):
    """Votes of two people and a judge, a wrong one on the gold item, a repeat, a skip and a ruling."""
    made = []

    def cast(item, rater, ranks, *, kind="person", outcome="ranked", permutation=(0, 1), **marks):
        judgement = Judgement(item.id, rater, kind, permutation, outcome, ranks, seconds=None if kind == "ai" else 4.0)
        made.append(RecordedJudgement(str(len(made) + 1), item.id, judgement, NOON, **marks))

    gold, *ordinary = items
    cast(gold, first_rater, (1, 2))
    cast(gold, "ben", (2, 1))
    for index, one in enumerate(ordinary):
        cast(one, first_rater, (1, 2), permutation=(1, 0))
        cast(one, "ben", (1, 2) if index % 2 else (2, 1))
        cast(one, "gpt", (1, 1), kind="ai")
    cast(ordinary[0], "ben", (1, 2), is_repeat=True)
    cast(ordinary[1], "carl", (), outcome="skipped", skip_reason="cannot judge")
    cast(ordinary[1], "carl", (2, 1), is_adjudication=True)
    return made


@pytest.fixture
def frozen(tmp_path):
    """A run whose preferences artifact was exported from known items and judgements."""

    def freeze(first_rater="anna", without=()):
        items = [item(0, gold_ranks=(1, 2)), *(item(number) for number in range(1, 5))]
        recorded = judgements_on(items, first_rater=first_rater)
        (tmp_path / "r").mkdir()
        (tmp_path / "r" / "recipe.toml").write_text("")
        by_id = {one.id: one for one in items}
        with writing(
            tmp_path / "r" / "round-000" / "preferences", kind="preferences", parents={}, settings={}
        ) as draft:
            rubrics = [("v1", "Which is better?")]
            figures = write_export(draft.path, CAMPAIGN, rubrics, by_id, recorded, settings=AggregationSettings())
            draft.summary |= figures.to_json()
            for name in without:
                (draft.path / name).unlink()
        return read_run(tmp_path / "r"), by_id, recorded

    return freeze


def test_what_is_read_back_is_what_the_labelling_service_measures(frozen):
    run, items, recorded = frozen()
    (labels,) = labels_of(run)
    assert list(labels.raters) == rater_table(items, recorded)
    anna, ben, carl, gpt = labels.raters
    assert (anna.gold_accuracy.value, ben.gold_accuracy.value) == (1.0, 0.0)
    assert anna.first_position.value == 0.0  # she was shown the answers the other way round
    assert ben.self_consistency.n == 1
    assert (carl.num_items, carl.num_skipped) == (0, 1)
    assert gpt.kind == "ai"


def test_the_page_tells_every_rater_and_leaves_out_what_nobody_has(frozen):
    run, _, _ = frozen()
    page = labels_page(labels_of(run))
    assert page.count('<th scope="row" data-key=') == 4
    assert "gpt <small>ai</small>" in page
    assert "Consistent" in page
    assert "Skill" not in page
    assert "1 skipped" in page
    assert labels_summary(run).count('<div class="tile">') == page.count('<div class="tile">') == 5


def test_hostile_names_are_text(frozen):
    run, _, _ = frozen(first_rater=HOSTILE)
    page = labels_page(labels_of(run))
    assert HOSTILE not in page
    assert page.count("&lt;b onmouseover") == 2  # as the column's key and as the name


def test_imported_preferences_have_no_raters(frozen):
    run, _, _ = frozen(without=["judgements.jsonl"])
    (labels,) = labels_of(run)
    assert (labels.raters, labels.problem) == (None, "")
    assert "not who judged what" in labels_page([labels])


def test_a_damaged_file_is_named_instead_of_counted(frozen):
    run, _, _ = frozen()
    path = run.folder / "round-000" / "preferences" / "judgements.jsonl"
    row = json.loads(path.read_text().splitlines()[0])
    path.write_text(json.dumps(row | {"permutation": [3]}) + "\n")
    (labels,) = labels_of(run)
    assert labels.raters is None
    page = labels_page([labels])
    assert "The raters cannot be told: " in page
    assert "judgements.jsonl" in page


def test_figures_that_a_summary_lacks_are_dashes(tmp_path):
    run = read_run(make_fake_run(tmp_path))
    summary = labels_summary(run)
    assert "78\u202f%" in summary  # agreement as a bare number
    (labels,) = labels_of(run)
    assert labels.raters is None


def test_a_run_without_preferences_says_so(tmp_path):
    run = read_run(make_fake_run(tmp_path, stages=("sft",)))
    assert "No preferences were frozen" in labels_summary(run)
    assert labels_page(labels_of(run)) == labels_summary(run)
