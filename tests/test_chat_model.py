"""A small real chat model: what it must answer, and where."""

import pytest

import kleash
from kleash.records import Message, Prompt

pytestmark = pytest.mark.slow

QUESTION = "What is the capital of France?"


def test_it_answers_within_its_template(chat_model_folder):
    """The one fact about the real model that tests lean on: asked as it was taught to be asked, it knows Paris."""
    prompt = Prompt((Message("user", QUESTION),))
    (answer,) = kleash.generate(chat_model_folder, [prompt], temperature=0, max_new_tokens=24).completions()
    assert "Paris" in answer.text
    assert answer.finish_reason == "stop"
