"""chat, sample, compare: with tiny random models."""

import json

import pytest

import tiny
from kleash.cli.chat import word_difference
from kleash.cli.conversation import Conversation, converse, obey
from kleash.models.causal_lm import load_language_model
from kleash.rollout.local import SamplingSettings
from kleash.web.visible import visible_text


@pytest.fixture(scope="module")
def plain_folder(tmp_path_factory):
    return tiny.tiny_language_model_folder(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def chatty_folder(tmp_path_factory):
    return tiny.tiny_language_model_folder(tmp_path_factory.mktemp("chatty"), chat_template=tiny.CHAT_TEMPLATE)


@pytest.fixture
def talk(capsys):
    """Type lines into a conversation and return what was printed."""

    def run(conversation, *lines):
        waiting = iter(lines)

        def read_line(question):
            line = next(waiting, None)
            if line is None:
                raise EOFError
            if isinstance(line, BaseException):
                raise line
            return line

        converse(conversation, read_line)
        return capsys.readouterr().out

    return run


def conversation_with(folder, max_new_tokens=5):
    return Conversation(load_language_model(folder), SamplingSettings(max_new_tokens=max_new_tokens), seed=0)


def test_a_chat_model_is_sent_the_whole_conversation(talk, chatty_folder):
    conversation = conversation_with(chatty_folder)
    talk(conversation, "hello", "what is red")
    assert [turn.role for turn in conversation.turns] == ["user", "assistant", "user", "assistant"]
    assert [turn.content for turn in conversation.turns[::2]] == ["hello", "what is red"]
    asked = conversation.prompt_for("and blue").content
    assert [turn.content for turn in asked[:-1]] == [turn.content for turn in conversation.turns]


def test_what_is_shown_is_what_is_remembered(talk, chatty_folder):
    conversation = conversation_with(chatty_folder)
    shown = talk(conversation, "hello")
    assert visible_text(conversation.turns[1].content) in shown


def test_answers_of_one_conversation_have_different_seeds(talk, chatty_folder):
    conversation = conversation_with(chatty_folder, max_new_tokens=20)
    talk(conversation, "hello", "/reset", "hello")
    first = conversation.turns[-1].content
    again = conversation_with(chatty_folder, max_new_tokens=20)
    talk(again, "hello")
    assert first != again.turns[-1].content


def test_the_oldest_turns_go_when_the_context_is_full(chatty_folder):
    from kleash.records import Message

    conversation = conversation_with(chatty_folder)
    conversation.turns = [
        Message("user", " dog cat" * 110),
        Message("assistant", "b"),
        Message("user", "c"),
        Message("assistant", "d"),
    ]
    asked = conversation.prompt_for("the dog " * 15).content
    assert [turn.content[:1] for turn in asked] == ["c", "d", "t"]


def test_a_model_without_a_template_is_asked_line_by_line(talk, plain_folder):
    conversation = conversation_with(plain_folder)
    shown = talk(conversation, "hello")
    assert "each line is a prompt of its own" in shown
    assert conversation.turns == []
    assert conversation.prompt_for("hello").content == "hello"


def test_a_prompt_that_is_too_long_is_said_and_not_fatal(talk, plain_folder):
    shown = talk(conversation_with(plain_folder), "x" * 400, "/reset")
    assert "Shorten it or leave it out." in shown
    assert "The conversation is forgotten." in shown


def test_ctrl_c_cuts_an_answer_short_and_keeps_what_was_said(capsys, chatty_folder, monkeypatch):
    conversation = conversation_with(chatty_folder)

    def stream(generator, prompt, *, seed):
        yield "half an"
        raise KeyboardInterrupt

    monkeypatch.setattr("kleash.rollout.local.LocalGenerator.stream", stream)
    lines = iter(["hello", "/quit"])
    converse(conversation, lambda question: next(lines))
    assert "half an (cut short)" in capsys.readouterr().out
    assert conversation.turns[-1].content == "half an"


@pytest.mark.parametrize("end", [EOFError(), KeyboardInterrupt(), "/quit"])
def test_a_conversation_ends(talk, chatty_folder, end):
    conversation = conversation_with(chatty_folder)
    talk(conversation, end, "hello")
    assert conversation.turns == []


def test_commands_change_the_sampling(chatty_folder):
    conversation = conversation_with(chatty_folder)
    assert obey(conversation, "/temperature 0.25") == "Temperature 0.25."
    assert conversation.sampling.temperature == 0.25
    for wrong in ("/temperature", "/temperature hot", "/temperature -1", "/temperature inf"):
        assert "expected a number from 0 up" in obey(conversation, wrong)
    assert conversation.sampling.temperature == 0.25
    assert obey(conversation, "/rest").startswith("There is no /rest. /reset forgets")


def test_sample_answers_each_prompt_so_many_times(kleash, plain_folder):
    shown = kleash(
        "sample", plain_folder, "--prompt", "the cat", "--prompt", "two", "-n", 3, "--max-new-tokens", 4, "--json"
    )
    assert shown.code == 0, shown.err
    rows = [json.loads(line) for line in shown.out.splitlines()]
    assert [row["prompt"] for row in rows] == ["the cat"] * 3 + ["two"] * 3
    again = kleash("sample", plain_folder, "--prompt", "the cat", "-n", 3, "--max-new-tokens", 4, "--json")
    assert [json.loads(line)["token_ids"] for line in again.out.splitlines()] == [row["token_ids"] for row in rows[:3]]


def test_sample_shows_prompts_with_their_answers(kleash, plain_folder, tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("the dog\nred\n")
    shown = kleash("sample", plain_folder, "--prompts", file, "--max-new-tokens", 2, "--temperature", 0)
    assert [line for line in shown.out.splitlines() if line in ("the dog", "red")] == ["the dog", "red"]
    assert shown.out.count("(cut off)") == 2


def test_sample_asks_through_the_chat_template_and_says_so(kleash, chatty_folder):
    ask = ("sample", chatty_folder, "--prompt", "hi", "--max-new-tokens", 5, "--temperature", 0, "--json")
    usual, chat, text = (kleash(*ask, *turns) for turns in ([], ["--chat"], ["--turns", "text"]))
    assert usual.out == chat.out != text.out
    assert "Plain prompts become user turns of the chat template" in usual.err
    assert "Plain prompts are read as they stand, outside the model's chat template" in text.err
    with_system = kleash(*ask, "--system-prompt", "Be brief.")
    assert with_system.out != usual.out
    assert "user turns of the chat template after data.system_prompt" in with_system.err


@pytest.mark.parametrize("among", [("--top-k", 1), ("--top-p", 0.001)])
def test_sample_leaves_out_all_but_the_likeliest_tokens(kleash, plain_folder, among):
    ask = ("sample", plain_folder, "--prompt", "hi", "--max-new-tokens", 5, "--json")
    likeliest, cut, all_of_them = (
        json.loads(kleash(*ask, *more).out)["token_ids"] for more in (("--temperature", 0), among, ())
    )
    assert cut == likeliest != all_of_them


def test_sample_needs_something_to_answer(kleash, plain_folder):
    shown = kleash("sample", plain_folder)
    assert shown.code == 2
    assert shown.err.startswith("There is nothing to answer. Expected --prompt TEXT or --prompts FILE.")


def test_compare_shows_both_sides_and_who_wins(kleash, plain_folder, chatty_folder, tmp_path, monkeypatch):
    (tmp_path / "my_judge.py").write_text("def score(prompt, completion):\n    return 1.0\n")
    shown = kleash(
        "compare", plain_folder, chatty_folder, "--prompt", "one", "--prompt", "two", "-n", 1,
        "--max-new-tokens", 3, "--scorer", f"{tmp_path}/my_judge.py:score",
    )  # fmt: skip
    assert shown.code == 0, shown.err
    assert "one" in shown.out
    assert "two" not in shown.out.replace(str(tmp_path), "")
    assert "+1.000" in shown.out
    assert "of 1 prompts (0 won, 1 tied; 95 % interval)" in shown.out


def test_words_that_differ_are_coloured_and_nothing_is_lost():
    left, right = word_difference("the red cat  sat", "the blue cat  sat down")
    assert (left.plain, right.plain) == ("the red cat  sat", "the blue cat  sat down")
    assert coloured(left) == ["red"]
    assert coloured(right) == ["blue", " down"]
    assert coloured(word_difference("same", "same")[0]) == []


def coloured(text):
    return [text.plain[span.start : span.end] for span in text.spans if span.style]
