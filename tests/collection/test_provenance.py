"""From one judgement back to its prompt, and on to every model trained on it."""

import json
from pathlib import Path

import pytest

from collection.made_campaigns import judgement_of, make_campaign, make_rater
from collection.web import signed_in
from kleash import artifacts
from kleash.collection.app import create_app
from kleash.collection.provenance import shown_answers, used_in
from kleash.collection.store.assignments import claim
from kleash.collection.store.campaigns import items
from kleash.collection.store.judgements import (
    earlier_judgements,
    exports_of,
    judgements_in_force,
    record_export,
    submit,
)

# Only the way to the artifacts is looked at, which no database is on.
on_sqlite = pytest.mark.parametrize("dialect", ["sqlite"])


def make(folder, kind, parents):
    with artifacts.writing(folder, kind=kind, parents=parents, settings={"folder": str(folder)}) as draft:
        (draft.path / "content").write_text(kind)
    return artifacts.read(folder)


@pytest.fixture
def preferences(tmp_path):
    """Preferences frozen outside of all runs, a run trained on them, and a run that has nothing to do with them."""
    made = make(tmp_path / "exports" / "first", "preferences", {})
    stages = tmp_path / "runs" / "x" / "round-000"
    reward = make(stages / "reward", "reward", {"preferences": made})
    policy = make(stages / "policy", "policy", {"reward": reward})
    make(stages / "evaluation", "evaluation", {"policy": policy})
    make(tmp_path / "runs" / "y" / "round-000" / "sft", "policy", {})
    (tmp_path / "runs" / "begun").mkdir()
    return made


@pytest.fixture
def judged(database):
    """A campaign of one item, which ann judged twice, the second time otherwise."""
    campaign = make_campaign(database, num_items=1)
    ann = make_rater(database, "ann")
    with database.write() as connection:
        [task] = claim(connection, campaign, ann)
        for key, ranks in (("first", (1, 2)), ("second", (2, 1))):
            said = judgement_of(task, ann, ranks=ranks, rubric_version=campaign.rubric_version)
            submit(connection, campaign, task, ann, said, client_key=key)
    return campaign


def test_everything_made_from_an_artifact_is_found_in_all_runs(preferences, tmp_path):
    found = used_in(preferences.id, preferences.path, tmp_path / "runs")
    assert [artifact.kind for artifact in found] == ["reward", "policy", "evaluation"]


def test_an_artifact_that_was_moved_is_found_by_what_was_made_from_it(preferences, tmp_path):
    found = used_in(preferences.id, tmp_path / "gone", tmp_path / "runs")
    assert [artifact.kind for artifact in found] == ["reward", "policy", "evaluation"]


def test_without_runs_nothing_was_made(preferences, tmp_path):
    assert used_in(preferences.id, preferences.path, tmp_path / "none") == []


@on_sqlite
def test_the_whole_way(database, judged, preferences, tmp_path):
    with database.write() as connection:
        [entry] = judgements_in_force(connection, judged)
        place = str(preferences.path)
        record_export(connection, judged, artifact_id=preferences.id, path=place, judgement_ids=[entry.id], actor="eve")
    with database.read() as connection:
        comparison = items(connection, judged)[entry.item_id].comparison
        before = earlier_judgements(connection, entry.id)
        assert exports_of(connection, entry.id) == [(preferences.id, place)]
    permutation, shown = entry.judgement.permutation, shown_answers(comparison, entry.judgement)
    assert [answer.text for answer in shown] == [comparison.completions[index] for index in permutation]
    assert [answer.source for answer in shown] == [comparison.sources[index] for index in permutation]
    assert [answer.rank for answer in shown] == [(2, 1)[index] for index in permutation]
    assert [(earlier.judgement.outcome, earlier.judgement.ranks) for earlier in before] == [("ranked", (1, 2))]


@on_sqlite
def test_the_page_shows_the_way_to_the_models(database, judged, preferences, tmp_path):
    with database.write() as connection:
        [entry] = judgements_in_force(connection, judged)
        record_export(
            connection, judged, artifact_id=preferences.id, path="exports/first", judgement_ids=[entry.id], actor="eve"
        )
    app = create_app(database)
    app.state.runs = tmp_path / "runs"
    page = signed_in(app, "eve", "admin").get(f"/admin/campaigns/{judged.id}/judgements/{entry.id}").text
    for artifact in used_in(preferences.id, Path("exports/first"), tmp_path / "runs"):
        assert artifact.id[:16] in page
        assert str(artifact.path) in page
        assert (f"<b>{artifact.kind}</b>" in page) == (artifact.kind in ("reward", "policy"))
    assert "The rubric as it then was" in page
    assert "Before that the rater had said:" in page


@on_sqlite
def test_what_was_never_exported_says_so(database, judged, tmp_path):
    with database.read() as connection:
        [entry] = judgements_in_force(connection, judged)
        assert exports_of(connection, entry.id) == []
    app = create_app(database)
    page = signed_in(app, "eve", "admin").get(f"/admin/campaigns/{judged.id}/judgements/{entry.id}").text
    assert "Not exported yet." in page


def test_a_damaged_run_hides_no_other(preferences, tmp_path):
    manifest = tmp_path / "runs" / "y" / "round-000" / "sft" / "artifact.json"
    manifest.write_text(json.dumps({"kind": "policy"}))
    found = used_in(preferences.id, preferences.path, tmp_path / "runs")
    assert [artifact.kind for artifact in found] == ["reward", "policy", "evaluation"]
