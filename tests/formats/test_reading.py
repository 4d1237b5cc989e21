"""What each format's rows mean, on excerpts of the real files and on rows written by hand."""

import json
from pathlib import Path

import pytest

from kleash import formats
from kleash.errors import DataError
from kleash.records import Message, Pair, Prompt

REAL = Path(__file__).parents[1] / "fixtures" / "formats"


@pytest.fixture
def jsonl(tmp_path):
    def write(*rows, name="rows.jsonl"):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return tmp_path / name

    return write


@pytest.mark.parametrize(
    ("file", "kind", "format", "num_rows", "num_records", "num_bad"),
    [
        ("hh.jsonl", "preferences", "hh", 3, 3, 0),
        ("hh.jsonl", "demonstrations", "hh", 3, 3, 0),
        ("hh.jsonl", "completions", "hh", 3, 6, 0),
        ("pandalm.json", "preferences", "pandalm", 4, 4, 0),
        ("pandalm.json", "judgements", "pandalm", 4, 12, 0),
        ("pandalm.json", "comparisons", "pandalm", 4, 4, 0),
        ("oasst-tree.jsonl", "preferences", "oasst-tree", 2, 2, 0),
        ("alpaca.json", "demonstrations", "alpaca", 2, 2, 0),
        ("alpaca-preference.json", "preferences", "alpaca-preference", 3, 2, 1),
        ("alpaca-preference.json", "demonstrations", "alpaca-preference", 3, 3, 0),
        ("dolly.jsonl", "demonstrations", "dolly", 2, 2, 0),
        ("gsm8k.jsonl", "demonstrations", "gsm8k", 2, 2, 0),
        ("ifeval.jsonl", "prompts", "prompt", 2, 2, 0),
        ("xstest-prompts.csv", "prompts", "prompt", 2, 2, 0),
        ("xstest-completions.csv", "completions", "prompt-completion", 2, 2, 0),
        ("xstest-completions.csv", "demonstrations", "prompt-completion", 2, 2, 0),
    ],
)
def test_real_files_are_understood(file, kind, format, num_rows, num_records, num_bad):
    loaded = getattr(formats, f"read_{kind}")(REAL / file)
    assert (loaded.format, loaded.num_rows) == (format, num_rows)
    assert (len(loaded.records), len(loaded.bad_rows), loaded.num_duplicates) == (num_records, num_bad, 0)


def test_hh_transcript_becomes_messages_and_two_answers():
    first, _, with_two_turns = formats.read_preferences(REAL / "hh.jsonl").records
    assert first.prompt.content == (Message("user", "How can I train my dog to sit?"),)
    assert first.completions == ("What do you mean, train?", "Try this:")
    assert first.pairs == (Pair(0, 1, 1.0),)
    # Two turns of the assistant's in a row are one answer.
    assert with_two_turns.completions[0].startswith("Umm. Just a second...\n\nA solar panel")


def test_hh_as_text_is_the_transcript_as_published():
    [published, *_] = [json.loads(line) for line in (REAL / "hh.jsonl").read_text(encoding="utf-8").splitlines()]
    [row, *_] = formats.read_preferences(REAL / "hh.jsonl", format="hh-text").records
    assert row.prompt.text + row.completions[0] == published["chosen"]
    assert row.prompt.text + row.completions[1] == published["rejected"]


def test_hh_of_several_turns_keeps_them_in_the_prompt(jsonl):
    start = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Bye"
    file = jsonl({"chosen": f"{start}\n\nAssistant: See you", "rejected": f"{start}\n\nAssistant: No"})
    [row] = formats.read_preferences(file).records
    assert [turn.role for turn in row.prompt.content] == ["user", "assistant", "user"]
    assert row.completions == ("See you", "No")


def test_hh_that_parts_before_the_last_turn_is_a_bad_row(jsonl):
    good = {"chosen": "\n\nHuman: Hi\n\nAssistant: A", "rejected": "\n\nHuman: Hi\n\nAssistant: B"}
    parted = {
        "chosen": "\n\nHuman: Hi\n\nAssistant: A\n\nHuman: Oh\n\nAssistant: C",
        "rejected": "\n\nHuman: Hi\n\nAssistant: B",
    }
    [bad] = formats.read_preferences(jsonl(good, parted)).bad_rows
    assert bad.line == 2
    assert "part at turn 2, before the last answer (they have 4 and 2 turns)" in bad.reason
    assert "cut both after the first answer that differs" in bad.fix


@pytest.mark.parametrize(
    ("chosen", "reason"),
    [
        ("\n\nHuman: Hi\n\nAssistant: A\n\nHuman: Oh", "'chosen' ends with a turn of the user"),
        ("Hi\n\nAssistant: A", "'chosen' does not open with 'Human:'"),
        ("\n\nAssistant: A", "'chosen' has an answer and no prompt"),
    ],
)
def test_broken_transcripts_say_what_is_wrong(jsonl, chosen, reason):
    good = {"chosen": "\n\nHuman: Hi\n\nAssistant: A", "rejected": "\n\nHuman: Hi\n\nAssistant: B"}
    [bad] = formats.read_preferences(jsonl(good, {**good, "chosen": chosen})).bad_rows
    assert reason in bad.reason


def test_pandalm_votes_become_a_share_and_three_judgements():
    clear, tie, split, _ = formats.read_preferences(REAL / "pandalm.json").records
    assert [row.pairs[0].label for row in (clear, tie, split)] == [1.0, 0.5, pytest.approx(1 / 3)]
    assert clear.num_judgements == 3
    assert clear.sources == ("llama-7b", "opt-7b")
    assert clear.prompt.content.startswith("Answer the following question.\n\nHow do you say")
    judgements = formats.read_judgements(REAL / "pandalm.json").records
    assert [row.ranks for row in judgements[3:9]] == [(1, 1), (1, 1), (1, 1), (2, 1), (1, 2), (2, 1)]
    comparisons = formats.read_comparisons(REAL / "pandalm.json").records
    assert [row.comparison_id for row in judgements[::3]] == [row.id for row in comparisons]


def test_pandalm_boolean_response_is_the_word():
    loaded = formats.read_preferences(REAL / "pandalm.json")
    assert not loaded.bad_rows
    assert "true" in loaded.records[3].completions


def test_tree_gives_all_pairs_of_ranked_replies():
    four, two = formats.read_preferences(REAL / "oasst-tree.jsonl").records
    assert (len(four.completions), len(four.pairs), len(two.pairs)) == (4, 6, 1)
    assert all(pair.label == 1.0 for pair in four.pairs)  # the file lists replies best first
    assert four.prompt.text == "Why did the colony fail in the Roanoke Expedition?"
    assert formats.read_demonstrations(REAL / "oasst-tree.jsonl").records[0].completion == four.completions[0]


def test_tree_follows_the_conversation_down(jsonl):
    def turn(role, text, *replies, **more):
        return {"role": role, "text": text, "replies": list(replies), **more}

    deep = turn("prompter", "more?", turn("assistant", "no", rank=1), turn("assistant", "yes", rank=0))
    root = turn("prompter", "hi", turn("assistant", "hello", deep), turn("assistant", "gone", deleted=True))
    file = jsonl({"message_tree_id": "t", "prompt": root})
    [row] = formats.read_preferences(file).records
    assert [turn.content for turn in row.prompt.content] == ["hi", "hello", "more?"]
    assert row.pairs == (Pair(0, 1, 0.0),)
    assert [row.completion for row in formats.read_demonstrations(file).records] == ["hello", "yes"]


def test_tree_without_ranked_replies_is_no_fault(jsonl):
    lonely = {"role": "prompter", "text": "b?", "replies": [{"role": "assistant", "text": "only", "rank": 0}]}
    trees = [json.loads(line) for line in (REAL / "oasst-tree.jsonl").read_text(encoding="utf-8").splitlines()]
    loaded = formats.read_preferences(jsonl(*trees, {"message_tree_id": "t", "prompt": lonely}))
    assert (loaded.num_rows, len(loaded.records), loaded.bad_rows) == (3, 2, [])


def test_ranking_gives_every_pair_once_with_ties_at_half(jsonl):
    file = jsonl({"prompt": "p", "completions": ["a", "b", "c"], "ranks": [2, 1, 2]})
    loaded = formats.read_preferences(file)
    assert loaded.format == "ranking"
    assert loaded.records[0].pairs == (Pair(0, 1, 0.0), Pair(0, 2, 0.5), Pair(1, 2, 1.0))


@pytest.mark.parametrize(
    ("winner", "pairs", "left_out"),
    [
        ("a", (Pair(0, 1, 1.0),), ""),
        ("model_b", (Pair(0, 1, 0.0),), ""),
        ("Tie", (Pair(0, 1, 0.5),), ""),
        ("tie (bothbad)", (), "both_bad"),
    ],
)
def test_two_answers_with_a_winner(jsonl, winner, pairs, left_out):
    file = jsonl({"prompt": "p", "response_a": "x", "response_b": "y", "winner": winner})
    [row] = formats.read_preferences(file).records
    assert (row.pairs, row.left_out) == (pairs, left_out)


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [user("q")], "chosen": [assistant("good")], "rejected": [assistant("bad")]},
        {"prompt": [user("q")], "chosen": "good", "rejected": "bad"},
        {"prompt": "q", "chosen": [user("q"), assistant("good")], "rejected": [user("q"), assistant("bad")]},
        {"chosen": [user("q"), assistant("good")], "rejected": [user("q"), assistant("bad")]},
    ],
)
def test_trl_conversations_in_all_their_spellings_mean_the_same(jsonl, row):
    [read] = formats.read_preferences(jsonl(row)).records
    assert read.prompt.content == (Message("user", "q"),)
    assert read.completions == ("good", "bad")
    assert read.pairs == (Pair(0, 1, 1.0),)


def test_trl_text_with_a_prompt_is_taken_as_it_stands_with_its_strength(jsonl):
    file = jsonl({"prompt": "Q: ", "chosen": " good ", "rejected": "bad", "strength": "much"})
    [read] = formats.read_preferences(file).records
    assert (read.prompt.content, read.completions) == ("Q: ", (" good ", "bad"))
    assert read.pairs == (Pair(0, 1, 1.0, "much"),)


def test_trl_text_without_a_prompt_parts_at_the_last_shared_border(jsonl):
    file = jsonl(
        {"chosen": "Sky?\nIt is clear.", "rejected": "Sky?\nIt is cloudy."},
        {"chosen": "say cat", "rejected": "say car"},
    )
    by_line, by_word = formats.read_preferences(file).records
    assert (by_line.prompt.text, by_line.completions) == ("Sky?\n", ("It is clear.", "It is cloudy."))
    assert (by_word.prompt.text, by_word.completions) == ("say", (" cat", " car"))


def test_trl_unpaired_labels_in_json_and_csv(jsonl, tmp_path):
    file = jsonl({"prompt": "p", "completion": "a", "label": True}, {"prompt": "p", "completion": "b", "label": False})
    (tmp_path / "rows.csv").write_text("prompt,completion,label\np,a,TRUE\np,b,0\n", encoding="utf-8")
    for loaded in (formats.read_labelled(file), formats.read_labelled(tmp_path / "rows.csv")):
        assert [row.is_desirable for row in loaded.records] == [True, False]


def test_labelled_answers_are_not_taken_for_demonstrations(jsonl):
    file = jsonl({"prompt": "p", "completion": "insult", "label": False})
    with pytest.raises(DataError, match=r"has the format trl-unpaired .* which holds no demonstrations"):
        formats.read_demonstrations(file)


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "system", "content": "Kind."}, user("q"), assistant("a")]},
        {"messages": [{"role": "system", "content": [{"type": "text", "text": "Kind."}]}, user("q"), assistant("a")]},
        {
            "conversations": [
                {"from": "system", "value": "Kind."},
                {"from": "human", "value": "q"},
                {"from": "gpt", "value": "a"},
            ]
        },
    ],
)
def test_the_last_assistant_turn_is_the_demonstration(jsonl, row):
    [read] = formats.read_demonstrations(jsonl(row)).records
    assert read.prompt.content == (Message("system", "Kind."), Message("user", "q"))
    assert read.completion == "a"


def test_messages_that_end_with_the_user_are_a_prompt_and_no_demonstration(jsonl):
    file = jsonl({"messages": [user("q")]}, {"messages": [user("q"), assistant("a")]})
    assert formats.read_prompts(file).records == [Prompt((Message("user", "q"),))]
    loaded = formats.read_demonstrations(file)
    assert [row.completion for row in loaded.records] == ["a"]
    assert "holds no demonstrations" in loaded.bad_rows[0].reason


def test_instruction_and_what_it_is_about_make_one_prompt():
    _, about_text = formats.read_prompts(REAL / "dolly.jsonl").records
    assert about_text.content.startswith("Correct the typos in these sentences\n\nAziz career")


def test_documents_are_demonstrations_without_a_prompt(jsonl):
    [row] = formats.read_demonstrations(jsonl({"text": "Once upon a time."})).records
    assert (row.prompt.content, row.completion) == ("", "Once upon a time.")


@pytest.mark.parametrize(
    ("row", "reason", "fix"),
    [
        ({"prompt": "p", "completion": "  "}, "'completion' is empty", "write the answer"),
        ({"prompt": "p", "completion": 3}, "'completion' is 3, neither text nor messages", "quotes"),
        ({"prompt": "p", "completion": True}, "'completion' is the JSON boolean true", "quotes"),
        ({"prompt": "p", "other": "x"}, "has no completion (columns: prompt, other)", "fill completion"),
        ({"prompt": [], "completion": "x"}, "'prompt' is [], not messages", "role"),
        ({"prompt": [{"role": "judge", "content": "x"}], "completion": "x"}, "prompt[0] has the role 'judge'", "user"),
        ({"prompt": ["x"], "completion": "x"}, "prompt[0] is 'x', not a message", "role"),
        ({"prompt": [user(None)], "completion": "x"}, "prompt[0] has the content None, not text", "a text"),
        ({"prompt": [user([{"type": "image"}])], "completion": "x"}, "parts that are no text", "remove images"),
        ({"prompt": "p", "completion": [user("x")]}, "holds the turns user, not one answer", "assistant's turn only"),
        ({"prompt": "p", "completion": "x", "slices": "easy"}, "'slices' is 'easy', not an object", "dimension"),
    ],
)
def test_bad_demonstrations_say_what_is_wrong_and_what_to_do(jsonl, row, reason, fix):
    loaded = formats.read_demonstrations(jsonl({"prompt": "p", "completion": "good"}, row))
    assert [record.completion for record in loaded.records] == ["good"]
    [bad] = loaded.bad_rows
    assert bad.line == 2
    assert reason in bad.reason
    assert fix in bad.fix


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"completions": "ab", "ranks": [1, 2]}, "'completions' is 'ab', not a list of texts"),
        ({"completions": ["a", None], "ranks": [1, 2]}, "has nothing in column 'completions[1]'"),
        ({"completions": ["a"], "ranks": [1]}, "has 1 completion(s) to compare"),
        ({"completions": ["a", "b"], "ranks": [1]}, "'ranks' has 1 ranks for 2 completions"),
        ({"completions": ["a", "b"], "ranks": [1, "x"]}, "not a list of whole numbers"),
        ({"completions": ["a", "b"], "ranks": [1, 2], "sources": ["m"]}, "has 1 sources for 2 completions"),
        ({"completions": ["a", "b"], "ranks": [1, 2], "strength": "hugely"}, "not one of slightly, better, much"),
        ({"completions": ["same", "same"], "ranks": [1, 2]}, "answers 1 and 2 are the same text"),
    ],
)
def test_bad_rankings_say_what_is_wrong(jsonl, row, reason):
    good = {"prompt": "p", "completions": ["a", "b"], "ranks": [1, 2]}
    [bad] = formats.read_preferences(jsonl(good, {"prompt": "p", **row})).bad_rows
    assert reason in bad.reason


@pytest.mark.parametrize(
    ("good", "change", "reason"),
    [
        ({"response_a": "x", "response_b": "y", "winner": "a"}, {"winner": "c"}, "'winner' is 'c'"),
        ({"chosen": "x", "rejected": "y"}, {"prompt": None}, "has no prompt"),
    ],
)
def test_other_bad_preferences_say_what_is_wrong(jsonl, good, change, reason):
    good = {"prompt": "p", **good}
    [bad] = formats.read_preferences(jsonl(good, {**good, **change})).bad_rows
    assert reason in bad.reason


def test_other_bad_rows_of_other_formats_say_what_is_wrong(jsonl):
    rows = json.loads((REAL / "pandalm.json").read_text(encoding="utf-8"))
    [bad] = formats.read_preferences(jsonl(rows[0], {**rows[0], "annotator2": 3})).bad_rows
    assert "its annotators say [1, 3, 1]" in bad.reason
    [bad] = formats.read_labelled(
        jsonl({"prompt": "p", "completion": "a", "label": 1}, {"prompt": "p", "completion": "a", "label": "so-so"})
    ).bad_rows
    assert "'label' is 'so-so', neither a thumb up nor down" in bad.reason
    [bad] = formats.read_preferences(
        jsonl({"chosen": "say a", "rejected": "say b"}, {"chosen": "a", "rejected": "b"})
    ).bad_rows
    assert "share no beginning that could be the prompt" in bad.reason
    [bad] = formats.read_prompts(jsonl({"prompt": "p"}, {"prompt": " \n"})).bad_rows
    assert "its prompt is empty" in bad.reason
    tree = {"message_tree_id": "t", "prompt": {"role": "prompter", "text": "p", "replies": "none"}}
    good_tree = json.loads((REAL / "oasst-tree.jsonl").read_text(encoding="utf-8").splitlines()[0])
    [bad] = formats.read_preferences(jsonl(good_tree, tree)).bad_rows
    assert "'replies' is 'none'" in bad.reason


def test_strict_names_the_first_bad_rows_and_counts_all(jsonl):
    file = jsonl({"prompt": "p", "completion": "good"}, *[{"prompt": "p", "completion": ""}] * 5)
    with pytest.raises(DataError) as caught:
        formats.read_demonstrations(file, strict=True)
    message = str(caught.value)
    assert message.startswith(f"5 of the 6 rows of {file} cannot be used as demonstrations: {file}:2: 'completion' is")
    assert f"{file}:4:" in message
    assert f"{file}:5:" not in message
    assert "; and 2 more." in message
    assert "Repair or remove them, or read without strict" in message


def test_a_file_of_bad_rows_is_an_error_without_strict_too(jsonl):
    with pytest.raises(DataError, match=r"2 of the 2 rows .* cannot be used as demonstrations"):
        formats.read_demonstrations(jsonl(*[{"prompt": "p", "completion": ""}] * 2))


def test_unknown_columns_are_listed_beside_what_is_known(jsonl):
    with pytest.raises(DataError) as caught:
        formats.read_preferences(jsonl({"frage": "p", "antwort": "c"}))
    message = str(caught.value)
    assert (
        "is not understood: its columns are frage, antwort. Expected one of: preference (prompt, completions" in message
    )
    assert "gsm8k" not in message  # which holds no preferences
    assert "Rename the columns" in message


def test_a_file_of_another_kind_is_named_as_what_it_is():
    with pytest.raises(DataError, match=r"has the format gsm8k .* which holds no labelled answers"):
        formats.read_labelled(REAL / "gsm8k.jsonl")


def test_naming_a_format_that_is_not_there_or_does_not_fit():
    with pytest.raises(DataError, match=r"There is no format 'hh2'. Expected one of judgement, preference,"):
        formats.read_preferences(REAL / "hh.jsonl", format="hh2")
    with pytest.raises(DataError, match=r"The format gsm8k holds no preferences. Expected one that does: it gives"):
        formats.read_preferences(REAL / "hh.jsonl", format="gsm8k")


def test_trees_that_hold_nothing_wanted_are_an_error(jsonl):
    lonely = {"role": "prompter", "text": "b?", "replies": [{"role": "assistant", "text": "only", "rank": 0}]}
    with pytest.raises(DataError, match=r"None of the 1 rows .* holds preferences"):
        formats.read_preferences(jsonl({"message_tree_id": "t", "prompt": lonely}))


def test_slices_come_from_their_own_column_and_from_named_ones(jsonl):
    file = jsonl(
        {"prompt": "p", "slices": {"topic": "sums"}, "level": 3, "who": "me"}, {"prompt": "q", "level": "", "who": "me"}
    )
    loaded = formats.read_prompts(file, slice_columns=["level"])
    assert [row.slices for row in loaded.records] == [{"topic": "sums", "level": "3"}, {}]
    assert loaded.columns_unused == ("who",)
    with pytest.raises(DataError, match=r"has no column lvel to slice by. Expected some of: prompt, slices, l"):
        formats.read_prompts(file, slice_columns=["lvel"])


def test_exact_repeats_go_but_equal_samples_stay(jsonl):
    row = {"prompt": "p", "completion": "c"}
    file = jsonl(row, {**row, "slices": {"x": "y"}}, row, {"prompt": "p", "completion": "d"})
    loaded = formats.read_demonstrations(file)
    assert (len(loaded.records), loaded.num_duplicates) == (2, 2)
    loaded = formats.read_completions(file)
    assert (len(loaded.records), loaded.num_duplicates) == (4, 0)


def test_the_format_is_what_most_rows_have(jsonl):
    rows = [{"prompt": f"p{i}", "completion": "c"} for i in range(6)]
    loaded = formats.read_completions(jsonl({"prompt": "unanswered"}, {"prompt": "too"}, *rows))
    assert loaded.format == "prompt-completion"
    assert [bad.line for bad in loaded.bad_rows] == [1, 2]


def test_a_rare_shape_is_found_if_nothing_else_fits(jsonl):
    loaded = formats.read_prompts(jsonl({"x": 1}, {"x": 2}, {"prompt": "p"}))
    assert [row.text for row in loaded.records] == ["p"]
    assert len(loaded.bad_rows) == 2


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("hh.jsonl", "preferences"),
        ("pandalm.json", "preferences"),
        ("dolly.jsonl", "demonstrations"),
        ("xstest-prompts.csv", "prompts"),
    ],
)
def test_kind_of_file_is_what_it_is_kept_for(file, kind):
    assert formats.kind_of_file(REAL / file) == kind
