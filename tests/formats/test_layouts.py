"""Data sets that people bring, by their published columns: five rows each, what they mean, and what is not read."""

import json

import pytest

from kleash import formats
from kleash.errors import DataError
from kleash.records import Message, Pair

ASKED = [
    ("Name a red fruit.", "The answer is a strawberry.", "The answer is a banana."),
    ("What is 2 plus 3?", "It is 5.", "It is 6."),
    ("Where do bees live?", "In hives, mostly.", "In the sea."),
    ("Why is the sky blue?", "Air scatters blue light most.", "It mirrors the sea."),
    ("Say hello.", "Hello!", "No."),
]


def said(*turns, names=("role", "content"), roles=("user", "assistant")):
    return [{names[0]: roles[number % 2], names[1]: text} for number, text in enumerate(turns)]


def sharegpt(*turns):
    return said(*turns, names=("from", "value"), roles=("human", "gpt"))


def pku(number, ask, good, bad):
    first, second = (good, bad) if number % 2 == 0 else (bad, good)
    return {
        "prompt": ask,
        "response_0": first,
        "response_1": second,
        "is_response_0_safe": True,
        "is_response_1_safe": number % 2 == 1,
        "better_response_id": number % 2,
        "safer_response_id": 0,
    }


def shp(number, ask, good, bad):
    first, second = (good, bad) if number % 2 == 0 else (bad, good)
    label = 1 - number % 2
    return {
        "post_id": f"p{number}",
        "domain": "askculinary_train",
        "history": ask,
        "human_ref_A": first,
        "human_ref_B": second,
        "labels": label,
        "score_A": 9 if label else 2,
        "score_B": 2 if label else 9,
    }


def ultrafeedback_raw(number, ask, good, bad):
    def answer(model, text, score):
        return {"model": model, "response": text, "overall_score": score, "critique": "c", "annotations": {}}

    return {
        "source": "evol_instruct",
        "instruction": ask,
        "models": ["a", "b"],
        "completions": [answer("a", bad, 4.0), answer("b", good, 8.5)],
    }


def nectar(number, ask, good, bad):
    answers = [{"answer": bad, "model": "m-7b", "rank": 2.0}, {"answer": good, "model": "gpt-4", "rank": 1.0}]
    return {"prompt": f"\n\nHuman: {ask}\n\nAssistant: ", "answers": answers, "turns": 1, "num_responses": 2}


LAYOUTS = {
    "trl-preference": lambda number, ask, good, bad: {  # UltraFeedback, binarised
        "prompt": ask,
        "prompt_id": f"id{number}",
        "chosen": said(ask, good),
        "rejected": said(ask, bad),
        "messages": said(ask, good),
        "score_chosen": 8.5,
        "score_rejected": 6.0,
    },
    "ultrafeedback": ultrafeedback_raw,
    "pku-saferlhf": pku,
    "shp": shp,
    "question-preference": lambda number, ask, good, bad: {  # Intel/orca_dpo_pairs
        "system": "",
        "question": ask,
        "chosen": good,
        "rejected": bad,
    },
    "sharegpt-preference": lambda number, ask, good, bad: {  # LLaMA-Factory
        "conversations": sharegpt(ask),
        "chosen": {"from": "gpt", "value": good},
        "rejected": {"from": "gpt", "value": bad},
    },
    "nectar": nectar,
    "openai-preference": lambda number, ask, good, bad: {
        "input": {"messages": said(ask), "tools": [], "parallel_tool_calls": True},
        "preferred_output": said("", good)[1:],
        "non_preferred_output": said("", bad)[1:],
    },
    "helpsteer2-preference": lambda number, ask, good, bad: {
        "prompt": ask,
        "response_1": bad,
        "response_2": good,
        "preference_strength": 1 + number % 3,
        "preference_statement": "the second one answers",
        "split": "train",
    },
    "llmbar": lambda number, ask, good, bad: {"input": ask, "output_1": bad, "output_2": good, "label": 2},
}


@pytest.fixture
def jsonl(tmp_path):
    def write(*rows, name="rows.jsonl"):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return tmp_path / name

    return write


def verdict(row):
    """Return what a two-answer row prefers over what."""
    [pair] = row.pairs
    return row.completions if pair.label == 1.0 else row.completions[::-1]


@pytest.mark.parametrize("format", LAYOUTS)
def test_pairs_by_their_published_columns(jsonl, format):
    file = jsonl(*(LAYOUTS[format](number, *row) for number, row in enumerate(ASKED)))
    assert formats.kind_of_file(file) == "preferences"
    loaded = formats.read_preferences(file, strict=True)
    assert loaded.format == format
    assert [row.prompt.text for row in loaded.records] == [ask for ask, _, _ in ASKED]
    assert [verdict(row) for row in loaded.records] == [(good, bad) for _, good, bad in ASKED]
    demonstrations = formats.read_demonstrations(file, strict=True)
    assert [row.completion for row in demonstrations.records] == [good for _, good, _ in ASKED]


def helpsteer(ask, answer, helpfulness):
    rated = {"helpfulness": helpfulness, "correctness": 3, "coherence": 4, "complexity": 1, "verbosity": 1}
    return {"prompt": ask, "response": answer, **rated}


def test_helpsteer2_rows_of_one_prompt_are_compared_by_helpfulness(jsonl):
    rows = [helpsteer(ask, text, score) for ask, good, bad in ASKED for text, score in ((bad, 1), (good, 4))]
    loaded = formats.read_preferences(jsonl(*rows), strict=True)
    assert (loaded.format, loaded.num_rows) == ("helpsteer2", 10)
    assert [verdict(row) for row in loaded.records] == [(good, bad) for _, good, bad in ASKED]
    assert loaded.columns_unused == ("correctness", "coherence", "complexity", "verbosity")
    tie = [helpsteer("p", "a", 2), helpsteer("p", "b", 2), helpsteer("q", "alone", 4), {"prompt": "r", "response": "x"}]
    loaded = formats.read_preferences(jsonl(*tie))
    assert [row.pairs for row in loaded.records] == [(Pair(0, 1, 0.5),)]
    assert [(bad.line, bad.reason) for bad in loaded.bad_rows] == [
        (3, "holds no preferences: nothing was compared"),
        (4, "has no helpfulness (columns: prompt, response)"),
    ]
    # An answer rated 1 of 4 is nobody's demonstration.
    assert [row.completion for row in formats.read_demonstrations(jsonl(*rows)).records] == [g for _, g, _ in ASKED]


def flat(message, parent, role, text, rank=None):
    return {
        "message_id": message,
        "parent_id": parent,
        "message_tree_id": message[0],
        "role": role,
        "text": text,
        "rank": rank,
        "lang": "en",
        "deleted": False,
    }


FLAT = [
    flat("a", None, "prompter", "hi"),
    flat("a1", "a", "assistant", "hello", 0.0),  # pandas makes floats of a column with gaps
    flat("a2", "a", "assistant", "go away", 1.0),
    flat("b", None, "prompter", "bye?"),
    flat("b1", "b", "assistant", "see you"),
]


def test_flat_messages_of_oasst_are_trees_again(jsonl):
    loaded = formats.read_preferences(jsonl(*FLAT), strict=True)
    assert (loaded.format, loaded.num_rows) == ("oasst-flat", 5)
    assert [(row.prompt.text, verdict(row)) for row in loaded.records] == [("hi", ("hello", "go away"))]
    assert [row.completion for row in formats.read_demonstrations(jsonl(*FLAT)).records] == ["hello", "see you"]


def test_flat_messages_that_are_torn_apart_are_bad_rows(jsonl):
    [*_, lost] = FLAT
    loaded = formats.read_preferences(jsonl(*FLAT[:3], {**lost, "message_tree_id": "x"}))
    assert len(loaded.records) == 1
    assert "message 'b1' answers 'b', which is not beside it" in loaded.bad_rows[0].reason
    assert "sort the file by message_tree_id" in loaded.bad_rows[0].fix


@pytest.mark.parametrize(("ask", "answer"), [("prompt", "response"), ("input", "output"), ("question", "response")])
def test_one_column_asks_and_one_answers_under_any_usual_name(jsonl, ask, answer):
    file = jsonl(*({ask: asked, answer: good} for asked, good, _ in ASKED))
    assert formats.kind_of_file(file) == "demonstrations"
    loaded = formats.read_demonstrations(file, strict=True)
    assert [(row.prompt.content, row.completion) for row in loaded.records] == [(a, good) for a, good, _ in ASKED]


def test_answers_in_an_unknown_layout_are_refused_and_not_taken_for_prompts(jsonl):
    file = jsonl(*({"prompt": ask, "reply_one": good, "reply_two": bad} for ask, good, bad in ASKED))
    with pytest.raises(DataError, match="'prompt' and, beside it, reply_one, reply_two, in a layout that is not known"):
        formats.kind_of_file(file)
    with pytest.raises(DataError, match="which holds no preferences"):
        formats.read_preferences(file)
    loaded = formats.read_prompts(file)  # asked for by name, prompts are given, and what is not read is named
    assert (len(loaded.records), loaded.columns_unused) == (5, ("reply_one", "reply_two"))


# ------------------------------------------------------------------------------------------ nothing of a prompt is lost
def turns(row):
    return [(turn.role, turn.content) for turn in row.prompt.content]


def test_the_system_and_the_question_are_the_prompt_of_orca_pairs(jsonl):
    row = {
        "system": "You are brief.",
        "question": "Name a red fruit.",
        "chosen": "The answer is a strawberry.",
        "rejected": "The answer is a banana.",
    }
    [read] = formats.read_preferences(jsonl(row), strict=True).records
    assert turns(read) == [("system", "You are brief."), ("user", "Name a red fruit.")]
    assert read.completions == ("The answer is a strawberry.", "The answer is a banana.")


def test_a_prompt_is_never_invented_beside_another_text(jsonl):
    row = {"task": "Name a red fruit.", "chosen": "The answer is a plum.", "rejected": "The answer is a pea."}
    with pytest.raises(DataError, match="stand beside the text 'task', and none is named 'prompt'"):
        formats.read_preferences(jsonl(row))
    [read] = formats.read_preferences(jsonl(row), slice_columns=["task"]).records  # named as something else, it is none
    assert read.prompt.text == "The answer is a"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            {
                "instruction": "And the second one?",
                "output": "The second planet is Venus.",
                "system": "You are an astronomer.",
                "history": [["Which planet is first?", "Mercury."]],
            },
            [
                ("system", "You are an astronomer."),
                ("user", "Which planet is first?"),
                ("assistant", "Mercury."),
                ("user", "And the second one?"),
            ],
        ),
        (
            {"system": "Be kind.", "conversations": sharegpt("hi", "hello")},
            [("system", "Be kind."), ("user", "hi")],
        ),
        (
            {"system_prompt": "Be kind.", "question": "hi", "response": "hello"},
            [("system", "Be kind."), ("user", "hi")],
        ),
        (
            {
                "system": "Be kind.",
                "prompt": [{"role": "system", "content": "Be kind."}, *said("hi")],
                "completion": "x",
            },
            [("system", "Be kind."), ("user", "hi")],
        ),
    ],
)
def test_system_and_history_columns_are_turns(jsonl, row, expected):
    loaded = formats.read_demonstrations(jsonl(row), strict=True)
    assert turns(loaded.records[0]) == expected
    assert loaded.columns_unused == ()


SYSTEM = {"role": "system", "content": "Be French."}


@pytest.mark.parametrize(
    ("prompt", "chosen", "expected"),
    [
        ([SYSTEM, *said("q")], said("q", "a"), ["Be French.", "q"]),
        (said("q"), said("", "a", "more", "c")[1:], ["q", "a", "more"]),
        ([SYSTEM, *said("q")], said("", "a")[1:], ["Be French.", "q"]),
        ("q", [SYSTEM, *said("q", "a", "more", "c")], ["Be French.", "q", "a", "more"]),
        (said("q", "a", "more"), said("q", "a", "more", "c"), ["q", "a", "more"]),
    ],
)
def test_an_explicit_prompt_and_whole_conversations_keep_every_turn(jsonl, prompt, chosen, expected):
    rejected = [*chosen[:-1], {"role": "assistant", "content": "worse"}]
    [row] = formats.read_preferences(
        jsonl({"prompt": prompt, "chosen": chosen, "rejected": rejected}), strict=True
    ).records
    assert [turn.content for turn in row.prompt.content] == expected
    assert row.completions == (chosen[-1]["content"], "worse")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": said("q"), "chosen": said("other", "a")}, "'chosen' opens with a turn of the user that does not"),
        ({"chosen": said("", "a")[1:]}, "an answer and no prompt"),
        ({"history": "earlier", "prompt": "q"}, "'history' is 'earlier', neither messages nor pairs of texts"),
    ],
)
def test_pairs_whose_turns_do_not_fit_together_are_bad_rows(jsonl, row, reason):
    good = {"prompt": said("q"), "chosen": said("", "a")[1:], "rejected": said("", "b")[1:]}
    if "prompt" not in row:
        good.pop("prompt")
        good |= {"chosen": said("q", "a"), "rejected": said("q", "b")}
    [bad] = formats.read_preferences(jsonl(good, good | {"rejected": said("q", "c")} | row)).bad_rows
    assert (bad.line, reason in bad.reason) == (2, True), bad.reason


CALL = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}
THOUGHT = {"role": "assistant", "content": "5", "reasoning_content": "2 and 3 make 5"}


@pytest.mark.parametrize(("turn", "name"), [(CALL, "tool_calls"), (THOUGHT, "reasoning_content")])
def test_turns_with_more_than_text_are_bad_rows(jsonl, turn, name):
    good = {"messages": said("q", "a")}
    [bad] = formats.read_demonstrations(jsonl(good, {"messages": [*said("q"), turn]})).bad_rows
    assert (bad.line, bad.reason) == (2, f"messages[1] holds {name}, and only the text of turns is read")


def test_what_turns_and_requests_hold_beside_text_is_named(jsonl):
    row = {"messages": [{"role": "user", "content": "q", "name": "Ann"}, *said("", "a")[1:]], "tools": [{"name": "f"}]}
    assert formats.read_demonstrations(jsonl(row)).columns_unused == ("tools", "messages[].name")
    row = LAYOUTS["openai-preference"](0, *ASKED[0])
    row["input"]["tools"] = [{"name": "f"}]
    assert formats.read_preferences(jsonl(row)).columns_unused == ("input.tools", "input.parallel_tool_calls")


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        (said("", "hello", "q", "a")[1:], "opens with a turn of the assistant"),
        ([SYSTEM, *said("", "a")[1:]], "has no turn of the user"),
    ],
)
def test_conversations_that_no_user_opens_are_bad_rows(jsonl, messages, reason):
    [bad] = formats.read_demonstrations(jsonl({"messages": said("q", "a")}, {"messages": messages})).bad_rows
    assert (bad.line, reason in bad.reason) == (2, True), bad.reason


# --------------------------------------------------------------------------------------------------------------- thumbs
@pytest.mark.parametrize(
    ("column", "up", "down"),
    [
        ("label", "1.0", "0.0"),
        ("label", 1, -1),
        ("label", "good", "bad"),
        ("label", "\U0001f44d", "\U0001f44e"),
        ("label", "Thumbs up", "thumbs_down"),
        ("kto_tag", True, False),
    ],
)
@pytest.mark.parametrize("columns", [("prompt", "completion"), ("instruction", "output"), ("messages",)])
def test_thumbs_in_every_spelling_are_labels_and_never_demonstrations(jsonl, column, up, down, columns):
    def row(text, thumb):
        is_chat = columns == ("messages",)
        content = {"messages": said("q", text)} if is_chat else {columns[0]: "q", columns[1]: text}
        return content | {column: thumb}

    file = jsonl(row("fine", up), row("awful", down), row("worse", down))  # fewer than half are up
    assert formats.kind_of_file(file) == "labelled"
    loaded = formats.read_labelled(file, strict=True)
    assert [(row.completion, row.is_desirable) for row in loaded.records] == [
        ("fine", True),
        ("awful", False),
        ("worse", False),
    ]
    with pytest.raises(DataError, match=r"unpaired .* which holds no demonstrations"):
        formats.read_demonstrations(file)


def test_thumbs_of_pandas_in_csv(tmp_path):
    (tmp_path / "x.csv").write_text("prompt,completion,label\np,good one,1.0\np,bad one,0.0\n", encoding="utf-8")
    loaded = formats.read_labelled(tmp_path / "x.csv", strict=True)
    assert [row.is_desirable for row in loaded.records] == [True, False]


def test_a_rare_thumb_down_among_demonstrations_is_a_bad_row(jsonl):
    rows = [{"prompt": f"p{number}", "completion": "fine"} for number in range(5)]
    loaded = formats.read_demonstrations(jsonl(*rows, {"prompt": "p", "completion": "awful", "label": "bad"}))
    assert {row.completion for row in loaded.records} == {"fine"}
    assert "a thumb down" in loaded.bad_rows[0].reason


def test_numbers_that_may_mean_two_things_are_refused(jsonl):
    rows = [{"prompt": "p", "completion": f"c{label}", "label": label} for label in (1, 0, -1)]
    with pytest.raises(DataError, match=r"'label' is -1 in some rows and 0 in others. .* write true, false"):
        formats.read_labelled(jsonl(*rows))
    rows = [{"prompt": "p", "response_a": "x", "response_b": "y", "winner": winner} for winner in (1, 0)]
    with pytest.raises(DataError, match="'winner' is 0 in some rows, which may be a tie or the first answer"):
        formats.read_preferences(jsonl(*rows))
    rows = [{"prompt": "p", "response_a": "x", "response_b": f"y{winner}", "winner": winner} for winner in (1.0, 2.0)]
    assert [row.pairs[0].label for row in formats.read_preferences(jsonl(*rows)).records] == [1.0, 0.0]


# ------------------------------------------------------------------------------------------- conversations kept as text
PACKED = [
    json.dumps,
    repr,
    lambda turns: json.dumps(json.dumps(turns)),
    lambda turns: json.dumps([{"content": turn["content"], "role": turn["role"]} for turn in turns]),
]


@pytest.mark.parametrize("pack", PACKED)
def test_conversations_stored_as_text_are_read(jsonl, tmp_path, pack):
    row = {"prompt": said("Is it?"), "chosen": said("", "Yes it's so")[1:], "rejected": said("", "No")[1:]}
    packed = {name: pack(value) for name, value in row.items()}
    expected = [((Message("user", "Is it?"),), ("Yes it's so", "No"))]
    loaded = formats.read_preferences(jsonl(packed), strict=True)
    assert [(row.prompt.content, row.completions) for row in loaded.records] == expected
    import csv

    with open(tmp_path / "x.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(packed))
        writer.writeheader()
        writer.writerow(packed)
    loaded = formats.read_preferences(tmp_path / "x.csv", strict=True)
    assert [(row.prompt.content, row.completions) for row in loaded.records] == expected


@pytest.mark.parametrize(
    "text",
    [
        "[{'role': 'user', 'content': 'hi'}\n {'role': 'assistant', 'content': 'yes'}]",  # as numpy prints it
        "array([{'role': 'user', 'content': 'hi'}], dtype=object)",
        '[{"role": "user", "content": "cut off',
    ],
)
def test_conversations_stored_as_text_that_cannot_be_read_are_bad_rows(jsonl, text):
    [bad] = formats.read_demonstrations(
        jsonl({"prompt": "p", "completion": "c"}, {"prompt": text, "completion": "c"})
    ).bad_rows
    assert (bad.line, "'prompt' is a conversation stored as text" in bad.reason) == (2, True), bad.reason


@pytest.mark.parametrize(
    "text", ['[{"role": "admin", "content": "x"}]', "[{'a': 1}]", "[citation needed]", '{"role": 1}']
)
def test_answers_that_merely_look_like_data_stay_text(jsonl, text):
    [row] = formats.read_demonstrations(jsonl({"prompt": "p", "completion": text})).records
    assert row.completion == text


# --------------------------------------------------------------------------------------------------- said on the screen
def test_what_is_left_out_is_said_once(jsonl, caplog):
    rows = [{"prompt": "p", "completion": "a", "mood": "x"}, {"prompt": "p", "completion": ""}]
    file = jsonl(rows[0], *rows)
    for _ in range(2):
        formats.read_demonstrations(file)
    [message] = caplog.messages
    assert f"{file}: 3 rows of the format prompt-completion gave 1 demonstrations; bad rows left out: 1" in message
    assert "rows.jsonl:3: 'completion' is empty" in message
    assert "exact repeats left out: 1; not read: mood." in message
    caplog.clear()
    formats.read_demonstrations(jsonl({"prompt": "p", "completion": "a"}, name="clean.jsonl"))
    assert not caplog.messages


def test_prompts_as_conversations_are_a_file_of_prompts(jsonl):
    assert formats.kind_of_file(jsonl(*({"messages": said(ask)} for ask, _, _ in ASKED))) == "prompts"
    rows = [{"messages": said(ask, good)} for ask, good, _ in ASKED]
    assert formats.kind_of_file(jsonl({"messages": said("q")}, *rows)) == "demonstrations"
