"""Collecting preferences: comparisons, votes and agreement by hand."""

import json

import pytest

from kleash.errors import ArtifactError, DataError
from kleash.formats import read_judgements, read_preferences
from kleash.records import Comparison, Completion, Judgement, Pair, Prompt
from kleash.stages.collect import aggregate, agreement_without_ties, collect, comparisons_of, import_preferences
from kleash.stages.comparing import CollectSettings
from kleash.testing import FakeComparer
from stages.tiny_recipe import tiny_place

PROMPT = Prompt("which?", {"topic": "x"})
PAIR = Comparison(PROMPT, ("a", "b"), ("p", "q"))


def judged(comparison, rater, *ranks, outcome="ranked"):
    return Judgement(
        comparison.id, rater, "person", tuple(range(len(comparison.completions))), outcome=outcome, ranks=ranks
    )


def answer(text, prompt=PROMPT, policy="p"):
    return Completion(prompt, text, policy_id=policy)


def test_equal_answers_are_compared_once_and_a_lone_one_is_left_over():
    other = Prompt("who?")
    answers = [answer("a"), answer("b", policy="q"), answer("a", policy="q"), answer("c"), answer("x", other)]
    [pair] = comparisons_of(answers, num_completions=2)
    assert (pair.completions, pair.sources) == (("a", "b"), ("p", "q"))
    [three] = comparisons_of(answers, num_completions=3)
    assert three.completions == ("a", "b", "c")


def test_prompts_without_two_different_answers_are_refused():
    with pytest.raises(DataError, match=r"None of the 1 prompts has two different answers.*Raise candidates"):
        comparisons_of([answer("a"), answer("a")], num_completions=2)


def test_the_label_is_the_share_of_votes_with_half_for_a_tie():
    votes = [judged(PAIR, "1", 1, 2), judged(PAIR, "2", 1, 2), judged(PAIR, "3", 2, 1), judged(PAIR, "4", 1, 1)]
    [row] = aggregate([PAIR], votes)
    assert row.pairs == (Pair(0, 1, 2.5 / 4),)
    assert (row.num_judgements, row.left_out, row.sources) == (4, "", ("p", "q"))


def test_rankings_become_all_their_pairs():
    three = Comparison(PROMPT, ("a", "b", "c"))
    [row] = aggregate([three], [judged(three, "1", 2, 1, 3), judged(three, "2", 1, 2, 2)])
    assert row.pairs == (Pair(0, 1, 0.5), Pair(0, 2, 1.0), Pair(1, 2, 0.75))


def test_rows_nobody_ranked_are_kept_and_say_why():
    others = [Comparison(PROMPT, ("a", text)) for text in "cde"]
    judgements = [
        judged(PAIR, "1", outcome="both_bad"),
        judged(others[0], "1", outcome="skipped"),
        judged(others[0], "2", outcome="both_bad"),
        judged(others[1], "1", outcome="skipped"),
        judged(others[1], "2", 1, 2),
    ]
    rows = aggregate([PAIR, *others], judgements)
    assert [row.left_out for row in rows] == ["both_bad", "both_bad and skipped", "", "not judged"]
    assert [len(row.pairs) for row in rows] == [0, 0, 1, 0]


def test_agreement_is_over_pairs_of_raters_and_without_ties():
    """Of three raters two say a: one of three pairs of raters agrees; in the second comparison the one pair does."""
    other = Comparison(PROMPT, ("a", "c"))
    judgements = [judged(PAIR, "1", 1, 2), judged(PAIR, "2", 1, 2), judged(PAIR, "3", 2, 1), judged(PAIR, "4", 1, 1)]
    assert agreement_without_ties(judgements) == pytest.approx(1 / 3)
    assert agreement_without_ties([*judgements, judged(other, "1", 2, 1), judged(other, "2", 2, 1)]) == 2 / 4
    assert agreement_without_ties(judgements[:1]) is None


def test_the_artifact_holds_every_judgement_and_one_row_per_comparison(made):
    artifact = made["preferences"]
    judgements = read_judgements(artifact.path / "judgements.jsonl").records
    rows = read_preferences(artifact.path / "preferences.jsonl").records
    figures = artifact.summary
    assert (len(judgements), len(rows)) == (figures["judgements"], figures["rows"]) == (30, 15)
    assert figures["raters"] == 2
    assert figures["agreement"] == agreement_without_ties(judgements)
    assert figures["ties"] == sum(pair.label == 0.5 for row in rows for pair in row.pairs)


def test_a_comparer_is_asked_about_every_comparison(made, tmp_path):
    artifact = collect(
        tiny_place(),
        CollectSettings(),
        candidates=made["candidates"],
        comparer=FakeComparer(len, raters=("x", "y", "z")),
        into=tmp_path / "preferences",
    )
    assert (artifact.summary["judgements"], artifact.summary["agreement"]) == (45, 1.0)
    for row in read_preferences(artifact.path / "preferences.jsonl").records:
        lengths = [len(text) for text in row.completions]
        assert row.pairs[0].label == (lengths[0] > lengths[1]) + 0.5 * (lengths[0] == lengths[1])


def test_only_candidates_are_compared(made, tmp_path):
    with pytest.raises(ArtifactError, match="is of kind policy, but candidates is needed here"):
        collect(
            tiny_place(), CollectSettings(), candidates=made["sft"], comparer=FakeComparer(len), into=tmp_path / "p"
        )


def test_a_file_of_preferences_is_frozen_as_it_was_read(tmp_path):
    file = tmp_path / "file.jsonl"
    file.write_text(json.dumps({"prompt": "which?", "chosen": "a", "rejected": "b"}) + "\n")
    artifact = import_preferences(tiny_place(), CollectSettings(), file=file, into=tmp_path / "preferences")
    [row] = read_preferences(artifact.path / "preferences.jsonl").records
    assert (row.completions, row.pairs[0].label) == (("a", "b"), 1.0)
    assert (artifact.summary["pairs"], artifact.summary["agreement"]) == (1, None)
    assert artifact.kind == "preferences"
