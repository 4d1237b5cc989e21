"""Answers that say who wrote them are found; talk about models is not."""

import pytest

from kleash.collection.identity import identity_holds, named_model
from kleash.records import Comparison, Prompt


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I am ChatGPT, a large language model.", "I am ChatGPT"),
        ("Hello! I'm Claude, made by Anthropic.", "I'm Claude"),
        ("Well, as Claude, made by Anthropic, I cannot", "as Claude, made"),
        ("As ChatGPT, I can't do that.", "As ChatGPT, I"),
        ("As a language model trained by OpenAI, I cannot", "As a language model trained by OpenAI, I"),
        ("I was created by Meta AI to help.", "I was created by Meta"),
        ("My name is Gemini.", "My name is Gemini"),
        (
            "Sure.\n\nI am a large language model,\n trained by Google.",
            "I am a large language model, trained by Google",
        ),
        ("i’m gpt-4", "i’m gpt-4"),
        ("My developers at Anthropic say", "My developers at Anthropic"),
        ("I'm an AI assistant developed by Alibaba Cloud", "I'm an AI assistant developed by Alibaba"),
        ("I am LLaMA, ", "I am LLaMA"),
        ("Hi\nClaude: Sure, here", "Claude"),
        ("You can call me Bard.", "call me Bard"),
        ("I'm **DeepSeek-V3**", "I'm **DeepSeek"),
        ("I am just Open Assistant!", "I am just Open Assistant"),
        ("I\u202fam\n  Chat-GPT", "I am Chat-GPT"),
    ],
)
def test_a_text_that_says_who_wrote_it(text, words):
    assert words in named_model(text)


@pytest.mark.parametrize(
    "text",
    [
        "What is ChatGPT?",
        "ChatGPT is a language model developed by OpenAI.",
        "Tools such as ChatGPT, I think, help.",
        "I am Claude Monet, the painter.",
        "As Claude walked home, I waited.",
        "I am a llama.",
        "I'm a Gemini, what is your sign?",
        "The model, made by OpenAI, is good. I like it.",
        "I think Google was created by Larry.",
        "I was hired by Microsoft.",
        "This is Gemini's constellation.",
        "As an AI language model, I cannot",
        "I am an engineer at Google.",
        "I'm using ChatGPT for this.",
        "Google: a company founded",
        "I was trained by Apple.",
        "",
    ],
)
def test_a_text_that_only_speaks_of_models(text):
    assert named_model(text) == ""


def test_the_first_words_are_the_ones_named():
    assert named_model("My name is Gemini. I am ChatGPT.") == "My name is Gemini"


def test_comparisons_are_held_by_what_an_answer_says_and_not_by_the_prompt():
    named = Comparison(Prompt("Who are you?"), ("A person.", "I am ChatGPT" + " indeed" * 100))
    asked = Comparison(Prompt("Pretend: I am ChatGPT"), ("No.", "Yes."))
    assert identity_holds([named, asked]) == {named.id: "an answer names a model: I am ChatGPT"}
    long = Comparison(Prompt("x"), ("", f"I am {'*' * 6}chatgpt", f"I was {'y' * 75} made by Google"))
    assert all(0 < len(reason) <= 200 for reason in identity_holds([long]).values())
