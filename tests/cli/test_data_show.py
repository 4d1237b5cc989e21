"""`kleash data show`: the tokens that will be trained, and which of them are learnt."""

import json

import pytest

import tiny


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.tiny_language_model_folder(tmp_path_factory.mktemp("model"), chat_template=tiny.CHAT_TEMPLATE)


@pytest.fixture
def pairs(tmp_path):
    file = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"a cat {n}", "chosen": "yes\nno", "rejected": "he"} for n in range(3)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_prompt_and_learnt_tokens_are_shown_apart_as_they_are_trained(kleash, model, pairs):
    shown = kleash("data", "show", pairs, "--tokenizer", model, "-n", 2)
    assert shown.code == 0
    assert "Plain prompts are user turns of the chat template." in shown.out
    assert "row 1, answer 1: 20 tokens of prompt, 5 learnt" in shown.out
    assert "<s>│[│use│r│]│ a│ cat│ │0│⏎│[│as│s│i│s│t│an│t│]│ ⟦yes│⏎│n│o│</s>⟧" in shown.out
    assert "row 2, answer 2: 20 tokens of prompt, 2 learnt" in shown.out
    assert "row 3" not in shown.out


def test_prompts_outside_the_template_are_shown_beside_what_it_would_write(kleash, model, pairs):
    shown = kleash("data", "show", pairs, "--tokenizer", model, "-n", 1, "--turns", "text")
    assert "Plain prompts stand outside the chat template" in shown.out
    assert "The chat template would write, from token 1 on: <s> [" in shown.out


def test_a_row_that_the_template_refuses_says_so(kleash, tmp_path):
    template = "{% if messages[0].role != 'user' %}{{ raise_exception('user first') }}{% endif %}" + tiny.CHAT_TEMPLATE
    folder = tiny.tiny_language_model_folder(tmp_path / "strict", chat_template=template)
    file = tmp_path / "talks.jsonl"
    turns = [{"role": role, "content": "hi"} for role in ("assistant", "user", "assistant")]
    file.write_text(json.dumps({"messages": turns}) + "\n")
    shown = kleash("data", "show", file, "--tokenizer", folder)
    assert "row 1: The chat template refused a conversation of ['assistant', 'user']: user first." in shown.out
