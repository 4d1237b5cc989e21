"""Our own JSON lines: what is written is read as it was, and writes the same bytes again."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kleash import formats
from kleash.errors import DataError, RunError
from kleash.records import (
    TAGS,
    Comparison,
    Completion,
    Demonstration,
    Judgement,
    LabelledCompletion,
    Message,
    Pair,
    Preference,
    Prompt,
)

# Any Unicode but halves of surrogate pairs: line separators, null bytes, private use, emoji.
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
said = text.filter(lambda value: value.strip())
# Neighbouring turns of one role are joined on reading, so a conversation here alternates.
conversation = st.lists(text, min_size=1, max_size=4).map(
    lambda turns: tuple(Message(("user", "assistant")[i % 2], turn) for i, turn in enumerate(turns))
)
name = st.text(st.characters(codec="ascii", categories=["L"]), min_size=1, max_size=5)
slices = st.dictionaries(name, said, max_size=2)
tags = st.dictionaries(st.sampled_from(TAGS), said, max_size=2)
prompt = st.builds(Prompt, text | conversation, slices, tags)
share = st.floats(0, 1)
strength = st.sampled_from([None, "slightly", "better", "much"])
answers = st.lists(text, min_size=2, max_size=4, unique=True).map(tuple)


@st.composite
def preference(draw):
    completions = draw(answers)
    pair = st.permutations(range(len(completions))).flatmap(
        lambda places: st.builds(Pair, st.just(places[0]), st.just(places[1]), share, strength)
    )
    pairs = st.lists(pair, max_size=3).map(tuple)
    sources = draw(st.sampled_from([(), tuple(f"policy {i}" for i in range(len(completions)))]))
    return Preference(
        draw(prompt),
        completions,
        draw(pairs),
        draw(st.integers(0, 9)),
        draw(text),
        draw(st.dictionaries(name, pairs, max_size=2)),
        sources,
    )


@st.composite
def judgement(draw):
    permutation = draw(st.integers(2, 4).flatmap(lambda number: st.permutations(range(number))))
    ranks = st.lists(st.integers(1, 4), min_size=len(permutation), max_size=len(permutation)).map(tuple)
    outcome = draw(st.sampled_from(["ranked", "both_bad", "skipped"]))
    return Judgement(
        draw(text),
        draw(text),
        draw(st.sampled_from(["person", "ai", "rule", "simulated"])),
        tuple(permutation),
        outcome,
        draw(ranks) if outcome == "ranked" else (),
        draw(strength),
        draw(st.dictionaries(name, ranks, max_size=2)),
        draw(text),
        draw(st.none() | st.floats(0, 1e6)),
        draw(text),
        draw(st.lists(text, max_size=2).map(tuple)),
    )


completion = st.builds(
    Completion,
    prompt,
    text,
    st.lists(st.integers(0, 2**40), max_size=3).map(tuple),
    st.lists(st.floats(-1e30, 0), max_size=3).map(tuple),
    st.sampled_from(["stop", "length", "unknown"]),
    text,
    st.integers(0, 2**31),
    st.floats(0, 2),
    st.integers(-(2**70), 2**70),
)
asked = prompt.filter(lambda value: value.text.strip())

RECORDS = {
    "prompts": asked,
    "demonstrations": st.builds(Demonstration, prompt, said),
    "labelled": st.builds(LabelledCompletion, prompt, text, st.booleans()),
    "completions": completion,
    "comparisons": st.builds(Comparison, prompt, answers),
    "preferences": preference(),
    "judgements": judgement(),
}


@pytest.mark.parametrize("kind", RECORDS)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_records_come_back_as_they_were_and_write_the_same_bytes(kind, data, tmp_path):
    record = data.draw(RECORDS[kind])
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    formats.write_jsonl(first, [record])
    [read] = getattr(formats, f"read_{kind}")(first, strict=True).records
    assert read == record
    if kind != "judgements":
        # Slices and tags do not count when prompts are compared.
        prompts = [row if kind == "prompts" else row.prompt for row in (read, record)]
        assert prompts[0].slices == prompts[1].slices
        assert prompts[0].tags == prompts[1].tags
    formats.write_jsonl(second, [read])
    assert first.read_bytes() == second.read_bytes()


def test_tags_that_an_earlier_version_wrote_among_the_slices_are_read_as_tags(tmp_path):
    file = tmp_path / "candidates.jsonl"
    slices = {"topic": "sums", "left_out": "not picked", "difficulty": "hard", "red_team": "novel", "selected_by": "x"}
    file.write_text(json.dumps({"prompt": "1 + 1 ?", "completion": "2", "finish_reason": "stop", "slices": slices}))
    [answer] = formats.read_completions(file, strict=True).records
    assert answer.prompt.slices == {"topic": "sums"}
    assert {**answer.prompt.slices, **answer.prompt.tags} == slices


@pytest.mark.parametrize("tags", [["maths", "easy"], "maths", {"author": "ann"}, None])
def test_a_data_sets_own_tags_are_none_of_ours(tmp_path, tags):
    file = tmp_path / "prompts.jsonl"
    file.write_text(json.dumps({"prompt": "1 + 1 ?", "slices": {"topic": "sums"}, "tags": tags}))
    [prompt] = formats.read_prompts(file, strict=True).records
    assert prompt.dimensions == {"topic": "sums"}


def test_lines_are_plain_text_without_what_is_default(tmp_path):
    file = tmp_path / "x.jsonl"
    row = Preference(Prompt("Où ?", {"b": "2", "a": "1"}), ("là", "ici"), (Pair(0, 1, 1),))
    formats.write_jsonl(file, [row, row])
    line = (
        '{"prompt": "Où ?", "completions": ["là", "ici"], "pairs": [{"first": 0, "second": 1, "label": 1.0}], '
        '"num_judgements": 1, "slices": {"a": "1", "b": "2"}}\n'
    )
    assert file.read_text(encoding="utf-8") == line * 2


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (Completion(Prompt("p"), "half \ud83d"), "surrogates not allowed"),
        (Completion(Prompt("p"), "c", logprobs=(float("nan"),)), "Out of range float values"),
    ],
)
def test_what_no_file_can_hold_leaves_the_earlier_file_alone(tmp_path, record, reason):
    file = tmp_path / "x.jsonl"
    formats.write_jsonl(file, [Completion(Prompt("p"), "c")])
    before = file.read_bytes()
    with pytest.raises(DataError, match=rf"Record 2 for .*x.jsonl, a Completion, cannot be written: .*{reason}"):
        formats.write_jsonl(file, [Completion(Prompt("p"), "c"), record])
    assert file.read_bytes() == before


def test_a_full_disk_is_one_clear_error(tmp_path, file_size_limit):
    rows = [Demonstration(Prompt("p"), "word " * 1000)] * 100
    with file_size_limit(10_000), pytest.raises(RunError, match=r"Cannot write the records at .*x.jsonl"):
        formats.write_jsonl(tmp_path / "x.jsonl", rows)


GOOD_PREFERENCE = {"prompt": "p", "completions": ["a", "b"], "pairs": [{"first": 0, "second": 1, "label": 1}]}
GOOD_COMPLETION = {"prompt": "p", "completion": "c", "finish_reason": "stop"}
GOOD_JUDGEMENT = {
    "comparison_id": "c",
    "rater": "r",
    "rater_kind": "person",
    "permutation": [0, 1],
    "outcome": "ranked",
    "ranks": [1, 2],
}


@pytest.mark.parametrize(
    ("kind", "good", "change", "reason"),
    [
        ("preferences", GOOD_PREFERENCE, {"pairs": "none"}, "'pairs' is 'none', not a list"),
        ("preferences", GOOD_PREFERENCE, {"pairs": ["a"]}, "a pair is 'a'"),
        (
            "preferences",
            GOOD_PREFERENCE,
            {"pairs": [{"first": 0, "second": 2, "label": 1}]},
            "completions 0 and 2",
        ),
        (
            "preferences",
            GOOD_PREFERENCE,
            {"pairs": [{"first": 0, "second": 0, "label": 1}]},
            "completions 0 and 0",
        ),
        ("preferences", GOOD_PREFERENCE, {"pairs": [{"first": 0, "second": 1, "label": 2}]}, "a pair's label is 2.0"),
        ("preferences", GOOD_PREFERENCE, {"pairs": [{"first": 0, "second": "1", "label": 2}]}, "is '1', not a whole"),
        ("preferences", GOOD_PREFERENCE, {"aspects": [1]}, "'aspects' is [1], not an object"),
        ("preferences", GOOD_PREFERENCE, {"completions": ["a", "a"]}, "answers 1 and 2 are the same text"),
        ("completions", GOOD_COMPLETION, {"finish_reason": "bored"}, "'finish_reason' is 'bored', not one of stop"),
        ("completions", GOOD_COMPLETION, {"temperature": "hot"}, "'temperature' is 'hot', not a finite number"),
        ("completions", GOOD_COMPLETION, {"logprobs": "x"}, "'logprobs' is 'x', not a list of numbers"),
        ("judgements", GOOD_JUDGEMENT, {"permutation": [1, 2]}, "'permutation' is [1, 2]"),
        ("judgements", GOOD_JUDGEMENT, {"ranks": None}, "has nothing in column 'ranks'"),
        ("judgements", GOOD_JUDGEMENT, {"aspects": "style"}, "'aspects' is 'style', not an object"),
        ("judgements", GOOD_JUDGEMENT, {"aspects": {"style": [1]}}, "'style' has 1 ranks for 2 completions"),
        ("judgements", GOOD_JUDGEMENT, {"rater_kind": "cat"}, "'rater_kind' is 'cat', not one of person"),
    ],
)
def test_bad_rows_of_our_own_files_say_what_is_wrong(tmp_path, kind, good, change, reason):
    file = tmp_path / "x.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in (good, {**good, **change})), encoding="utf-8")
    loaded = getattr(formats, f"read_{kind}")(file)
    assert len(loaded.records) == 1
    [bad] = loaded.bad_rows
    assert (bad.line, reason in bad.reason) == (2, True), bad.reason


def test_a_row_left_out_may_hold_equal_answers(tmp_path):
    row = Preference(Prompt("p"), ("a", "a"), (Pair(0, 1, 0.5),), left_out="both_bad")
    formats.write_jsonl(tmp_path / "x.jsonl", [row])
    assert formats.read_preferences(tmp_path / "x.jsonl").records == [row]


@pytest.mark.parametrize(
    ("columns", "criteria"),
    [
        ({"criteria": " names a number "}, "names a number"),
        ({"rubric": ["names a number", "one word"]}, "- names a number\n- one word"),
        (
            {"rubric": [{"criterion": "safe", "points": 5}, {"title": "x", "description": "short"}]},
            "- safe (weight 5)\n- short",
        ),
        ({"rubric": {"text": "kind", "weight": 1}}, "- kind (weight 1)"),
        ({"criteria": [], "rubric": "kind"}, "kind"),
        ({"criteria": None}, ""),
    ],
)
def test_a_row_s_own_criteria_are_read_and_written(tmp_path, columns, criteria):
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"prompt": "p", "completions": ["a", "b"], **columns}) + "\n")
    loaded = formats.read_comparisons(path)
    [comparison] = loaded.records
    assert (comparison.prompt.criteria, loaded.columns_unused) == (criteria, ())
    formats.write_jsonl(path, [comparison])
    again = formats.read_comparisons(path).records[0]
    assert (again.prompt.criteria, again.id) == (criteria, comparison.id)
    plain = Comparison(Prompt("p"), ("a", "b"))
    assert (plain.id == comparison.id) == (not criteria)


@pytest.mark.parametrize("value", [7, [1, "a"], [{"score": 1}], {"levels": {"1": "bad"}}])
def test_criteria_that_are_no_text_are_a_bad_row(tmp_path, value):
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": "p", "completions": ["a", "b"]}, {"prompt": "q", "completions": ["a", "b"], "rubric": value}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    loaded = formats.read_comparisons(path)
    assert len(loaded.records) == 1
    assert "'rubric' is" in loaded.bad_rows[0].reason
    assert loaded.bad_rows[0].fix == "write texts, or rename it"
