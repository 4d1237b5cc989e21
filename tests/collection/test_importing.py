"""Files into campaigns: comparisons with their raters' judgements, calibration items, candidates, priorities."""

import json
from pathlib import Path

import pytest

from collection.made_campaigns import make_campaign
from kleash.artifacts import writing
from kleash.collection.importing import import_candidates, import_comparisons, import_gold, read_priorities
from kleash.collection.store import campaigns as stored
from kleash.collection.store.judgements import judgements_in_force
from kleash.errors import ArtifactError, DataError
from kleash.formats import write_jsonl
from kleash.records import Completion, Prompt

REAL = Path(__file__).parents[1] / "fixtures" / "formats"


def lines(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_three_annotators_come_with_their_file(database):
    campaign = make_campaign(database, num_items=0)
    with database.write() as connection:
        imported = import_comparisons(connection, campaign, REAL / "pandalm.json", strict=True, actor="test")
        given, items = judgements_in_force(connection, campaign), stored.items(connection, campaign)
        again = import_comparisons(connection, campaign, REAL / "pandalm.json", strict=True, actor="test")
    assert (imported.items.num_added, imported.num_judgements) == (4, 12)
    assert (again.items.num_added, again.items.num_known, again.num_judgements) == (0, 4, 0)
    assert {entry.judgement.rater for entry in given} == {"annotator1", "annotator2", "annotator3"}
    assert all(entry.is_vote for entry in given)
    assert items["1"].comparison.sources == ("llama-7b", "opt-7b")


def test_a_file_that_only_names_the_winner_brings_no_judgements(database, tmp_path):
    campaign = make_campaign(database, num_items=0)
    row = {"prompt": "which?", "chosen": "a", "rejected": "b"}
    told = {"prompt": "who?", "chosen": "I am ChatGPT, made by OpenAI.", "rejected": "Nobody."}
    file = lines(tmp_path / "pairs.jsonl", row, told, {"prompt": "broken", "chosen": "a"})
    with database.write() as connection:
        imported = import_comparisons(connection, campaign, file, strict=False, actor="test")
        assert judgements_in_force(connection, campaign) == []
    assert (imported.items.num_added, imported.items.num_held, imported.num_judgements) == (2, 1, 0)
    [problem] = imported.problems
    assert "pairs.jsonl:3" in problem
    with pytest.raises(DataError, match=r"pairs.jsonl:3"), database.write() as connection:
        import_comparisons(connection, campaign, file, strict=True, actor="test")


def test_known_answers_become_calibration_items(database, tmp_path):
    campaign = make_campaign(database, num_items=0)
    ranked = {"prompt": "order?", "completions": ["worst", "best", "middle"], "ranks": [3, 1, 2]}
    with database.write() as connection:
        import_gold(connection, campaign, lines(tmp_path / "gold.jsonl", ranked), strict=True, actor="test")
        [item] = stored.items(connection, campaign).values()
    assert item.is_gold
    assert item.gold_ranks == (3, 1, 2)


def test_candidates_are_paired_and_remembered(database, tmp_path):
    campaign = make_campaign(database, num_items=0)
    answers = [Completion(Prompt("q"), text, policy_id="p") for text in ("a", "b", "a", "c")]
    with writing(tmp_path / "candidates", kind="candidates", parents={}, settings={}) as draft:
        write_jsonl(draft.path / "candidates.jsonl", answers)
    with database.write() as connection:
        import_candidates(connection, campaign, tmp_path / "candidates", actor="test")
        [item] = stored.items(connection, campaign).values()
        assert stored.origins(connection, campaign) == [str(tmp_path / "candidates")]
    assert (item.comparison.completions, item.comparison.sources) == (("a", "b"), ("p", "p"))
    with writing(tmp_path / "sft", kind="policy", parents={}, settings={}):
        pass
    with pytest.raises(ArtifactError, match="is of kind policy"), database.write() as connection:
        import_candidates(connection, campaign, tmp_path / "sft", actor="test")


def test_priorities_are_uncertainty_times_disagreement_or_suspicion(database, tmp_path):
    campaign = make_campaign(database, num_items=3)
    with database.read() as connection:
        items = stored.items(connection, campaign)
    ids = [item.comparison.id for item in items.values()]
    file = lines(
        tmp_path / "scores.jsonl",
        {"comparison_id": ids[0], "first_better": 0.5},
        {"comparison_id": ids[1], "first_better": 0.9},
        {"comparison_id": ids[2], "suspicion": 3},
        {"comparison_id": "of another campaign", "suspicion": 1},
    )
    expected = {ids[0]: 1.0, ids[1]: pytest.approx(0.36), ids[2]: 3.0}
    assert read_priorities(file, items, {}) == expected


@pytest.mark.parametrize(
    "row", [{"first_better": 1.2}, {"suspicion": -1}, {"suspicion": "high"}, {}, {"suspicion": True}]
)
def test_a_score_out_of_range_is_named_with_its_line(row, tmp_path):
    file = lines(tmp_path / "scores.jsonl", {"comparison_id": "x", "suspicion": 0}, {"comparison_id": "y", **row})
    with pytest.raises(DataError, match=r"scores.jsonl:2 has .* Expected first_better between 0 and 1"):
        read_priorities(file, {}, {})
