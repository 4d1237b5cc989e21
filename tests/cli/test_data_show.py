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


REFUSING = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "{% if messages | length > 3 %}{{ raise_exception('too many turns') }}{% endif %}"
) + tiny.CHAT_TEMPLATE
TURN = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]


@pytest.fixture
def talks(tmp_path):
    file = tmp_path / "talks.jsonl"
    rows = [TURN, [{"role": "system", "content": "Be kind."}, *TURN], [*TURN, *TURN, *TURN]]
    file.write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
    return file


def test_a_row_that_the_template_refuses_says_so(kleash, talks, tmp_path):
    folder = tiny.tiny_language_model_folder(tmp_path / "strict", chat_template=REFUSING)
    shown = kleash("data", "show", talks, "--tokenizer", folder)
    assert "row 3: The chat template refused a conversation of ['user', 'assistant', 'user'," in shown.out
    assert "too many turns" in shown.out


def test_data_check_names_the_lines_of_rows_that_the_template_refuses(kleash, talks, tmp_path):
    folder = tiny.tiny_language_model_folder(tmp_path / "strict", chat_template=REFUSING)
    shown = kleash("data", "check", talks, "--tokenizer", folder)
    assert shown.code == 0
    assert "line 3" in shown.out
    assert "line 2" not in shown.out, "its system turn stands at the head of the user's"
    assert "refused a conversation" in " ".join(shown.out.split())
    strict = kleash("data", "check", talks, "--tokenizer", folder, "--strict")
    assert strict.code == 2
    assert "The chat template refuses 1 rows. The first is" in strict.err
    assert "talks.jsonl:3: " in strict.err
