"""How a model reads prompts and answers: what is trained is what its chat template writes when it is served."""

import json
import shutil

import pytest

import tiny
from kleash import artifacts
from kleash.errors import ModelError
from kleash.models.causal_lm import load_language_model
from kleash.models.rendering import Rendering, difference, recorded_rendering, template_marks
from kleash.models.reward_models import load_reward_model, reward_model_from
from kleash.records import Message, Prompt

CHATML = (
    "{% for message in messages %}{% if loop.first and message.role != 'system' %}<|im_start|>system\nBe kind."
    "<|im_end|>\n{% endif %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}<start_of_turn>{{ 'model' if message.role == 'assistant' else message.role }}\n"
    "{{ message.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
# An empty thought before an answer without one, as Qwen3 writes it.
EMPTY_THOUGHT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.role == 'assistant' and '</think>' not in message.content %}<think>\n\n</think>\n\n{% endif %}"
    "{{ message.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# The thought is opened for the model, and past answers are written without theirs, as DeepSeek-R1 has it.
OPENED_THOUGHT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content.split('</think>')[-1] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
DATED = (
    "{{ bos_token }}{% set date = strftime_now('%d %b %Y') %}Today is {{ date }}\n{% for message in messages %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MARKS = ["<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>"]
EOS_ID = 2
QUESTION = Prompt("what is red ?")
SYSTEM = Message("system", "Be brief.")


def tokenizer_with(template):
    tokenizer = tiny.tiny_tokenizer(chat_template=template)
    tokenizer.add_special_tokens({"additional_special_tokens": MARKS})
    return tokenizer


def rendering_with(template, **settings):
    return Rendering(tokenizer_with(template), (EOS_ID,), **settings)


def trained(rendering, prompt, text):
    sequence = rendering.encode(prompt, text)
    return tuple(rendering.tokenizer.decode(part) for part in (sequence.prompt_ids, sequence.response_ids))


def test_plain_prompts_become_the_users_turn_of_a_chat_model():
    prompt, answer = trained(rendering_with(CHATML), QUESTION, "a cat")
    assert prompt == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nwhat is red ?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert answer == "a cat<|im_end|>"


def test_text_leaves_them_as_they_stand_and_ends_them_as_a_text_ends():
    assert trained(rendering_with(CHATML, turns="text"), QUESTION, " a cat") == ("what is red ?", " a cat</s>")


def test_a_conversation_ends_as_the_template_ends_it_though_plain_prompts_are_text():
    talk = Prompt((Message("user", "hi"),))
    assert trained(rendering_with(CHATML, turns="text"), talk, "a cat")[1] == "a cat<|im_end|>"


def test_a_base_model_keeps_plain_text_and_writes_conversations_as_transcripts():
    rendering = Rendering(tiny.tiny_tokenizer(), (EOS_ID,))
    assert trained(rendering, QUESTION, " a cat") == ("what is red ?", " a cat</s>")
    assert trained(rendering, Prompt((Message("user", "hi"),)), " yes")[0] == "\n\nHuman: hi\n\nAssistant:"
    with pytest.raises(ModelError, match=r"data\.turns is 'chat', and the tokenizer has no chat template"):
        Rendering(tiny.tiny_tokenizer(), (EOS_ID,), turns="chat")


def test_documents_stay_outside_the_template():
    assert trained(rendering_with(CHATML), Prompt(""), "the cat sat") == ("", "the cat sat</s>")


def test_the_end_is_the_one_the_template_writes_and_sampling_stops_at_every_declared_one():
    rendering = rendering_with(GEMMA)
    end = rendering.tokenizer.convert_tokens_to_ids("<end_of_turn>")
    assert (rendering.turn_end_id, rendering.eos_ids) == (end, (EOS_ID, end))
    assert rendering.encode_response(QUESTION, "red")[-1] == end
    by_hand = rendering_with(GEMMA, end_id=EOS_ID)
    assert by_hand.encode_response(QUESTION, "red")[-1] == EOS_ID


def test_answers_are_trimmed_where_the_template_trims_them():
    assert trained(rendering_with(GEMMA), QUESTION, "  red \n")[1] == "red<end_of_turn>"


def test_system_turns_a_template_refuses_are_put_before_the_users_first():
    rendering = rendering_with(GEMMA)
    folded = trained(rendering, Prompt((SYSTEM, Message("user", "hi"))), "yes")[0]
    assert folded == "<s><start_of_turn>user\nBe brief.\n\nhi<end_of_turn>\n<start_of_turn>model\n"
    assert not rendering.takes_system_turns
    assert rendering_with(CHATML).takes_system_turns


def test_a_system_prompt_stands_before_prompts_that_have_none():
    rendering = rendering_with(CHATML, system_prompt="Be brief.")
    assert rendering.as_read(QUESTION).content == (SYSTEM, Message("user", "what is red ?"))
    own = Prompt((Message("system", "Be long."), Message("user", "hi")))
    assert rendering.as_read(own) == own
    with pytest.raises(ModelError, match=r"data\.system_prompt is set, and prompts are put to this model as plain"):
        rendering_with(CHATML, turns="text", system_prompt="Be brief.")


def test_an_empty_thought_is_trained_as_served():
    rendering = rendering_with(EMPTY_THOUGHT)
    assert trained(rendering, QUESTION, "red")[1] == "<think>\n\n</think>\n\nred<|im_end|>"
    assert difference(rendering, QUESTION, "red") is None


@pytest.mark.parametrize(
    ("answer", "written"),
    [
        ("<think>\nhm\n</think>\nred", "hm\n</think>\nred"),  # opened by the template already
        ("hm\n</think>\nred", "hm\n</think>\nred"),  # as it was sampled
        ("red", "</think>\n\nred"),  # an answer, not a thought
    ],
)
def test_a_thought_that_the_template_opens_is_opened_once(answer, written):
    prompt, response = trained(rendering_with(OPENED_THOUGHT), QUESTION, answer)
    assert prompt.endswith("<|im_start|>assistant\n<think>\n")
    assert response == f"{written}<|im_end|>"


def test_a_template_that_reads_the_clock_is_told_one_day():
    prompt, _ = trained(rendering_with(DATED), QUESTION, "red")
    assert prompt.startswith("<s>Today is 26 Jul 2024\n")
    with pytest.raises(ModelError, match="writes the time in a format of its own making"):
        rendering_with("{{ strftime_now('%' + 'd') }}" + CHATML).encode_prompt(QUESTION)


def test_what_is_trained_outside_the_template_is_shown_beside_what_is_served():
    assert difference(rendering_with(CHATML), QUESTION, "red") is None
    parted = difference(rendering_with(CHATML, turns="text"), QUESTION, "red")
    assert (parted.position, parted.served[0]) == (0, "<|im_start|>")
    assert parted.trained[0] == "w"


def test_the_marks_of_a_template_are_the_control_tokens_it_writes():
    assert set(template_marks(tokenizer_with(CHATML))) == {"<|im_start|>", "<|im_end|>"}
    assert set(template_marks(tokenizer_with(GEMMA))) == {"<start_of_turn>", "<end_of_turn>"}


def test_marks_written_in_an_answer_stay_letters():
    rendering = rendering_with(CHATML)
    ids = rendering.encode_response(QUESTION, "say <|im_end|> now")
    end = rendering.turn_end_id
    assert [token_id for token_id in ids if token_id == end] == [end]
    assert rendering.tokenizer.decode(ids) == "say <|im_end|> now<|im_end|>"


def test_a_model_reads_as_its_artifact_records_and_every_end_survives_saving(tmp_path):
    folder = tiny.tiny_language_model_folder(tmp_path / "model", chat_template=tiny.CHAT_TEMPLATE)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 7]}))
    assert load_language_model(folder, device="cpu").rendering.is_chat, "somebody else's model: it has a template"
    for recorded, turns in (({"turns": "chat"}, "chat"), ({"turns": "text"}, "text"), ({}, "text")):
        parent = tmp_path / f"{turns}{len(recorded)}"
        with artifacts.writing(
            parent, kind="policy", parents={}, settings={}, seed=0, text_format={"tokenizer": "0", **recorded}
        ) as draft:
            (draft.path / "notes.txt").write_text("a model")
        shutil.copyfile(parent / "artifact.json", folder / "artifact.json")
        assert load_language_model(folder, device="cpu").rendering.turns == turns
        assert recorded_rendering(folder)["turns"] == turns
    model = load_language_model(folder, device="cpu", turns="chat", system_prompt="Be brief.")
    assert model.rendering.text_format()["system_prompt"] == "Be brief."
    model.save(tmp_path / "saved")
    assert load_language_model(tmp_path / "saved", device="cpu").eos_ids == (2, 7)
    reward = reward_model_from(folder, seed=0, device="cpu")
    reward.save(tmp_path / "reward")
    assert load_reward_model(tmp_path / "reward", device="cpu").eos_ids == (2, 7)


LOOPS = "{% for a in range(99999) %}{% for b in range(99999) %}{% set c = a %}{% endfor %}{% endfor %}"
DOUBLES = "{% set n = namespace(x='abcdefgh') %}{% for a in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}"


@pytest.mark.parametrize(
    ("bomb", "said"),
    [
        (LOOPS, "it took more than"),
        ("{{ '%1000000000000d' % 1 }}", "wanted more than 256 MiB of memory"),
        ("{{ 'x' * 9999999999 }}", "wanted more than 256 MiB of memory"),
        ("{{ 'x' | center(99999999999) }}", "wanted more than 256 MiB of memory"),
        (DOUBLES, "wanted more than 256 MiB of memory|took more than"),
        ("{{ 10 ** 10 ** 10 }}", "raises to a power"),
        ("{% set x = 9 %}{{ (x)**x }}", "raises to a power"),
        ("{{ range(10 * 1000000000) }}", "Range too big"),
    ],
    ids=range(8),
)
def test_a_template_has_so_much_time_and_memory(monkeypatch, bomb, said):
    monkeypatch.setattr("kleash.models.rendering.TEMPLATE_SECONDS", 0.3)
    with pytest.raises(ModelError, match=said):
        rendering_with(CHATML + bomb).encode_prompt(QUESTION)


def test_keyword_arguments_and_text_may_have_two_stars():
    prompt, _ = trained(rendering_with("**{{ dict(**{'a': 'b'}).a }}**" + CHATML), QUESTION, "red")
    assert prompt.startswith("**b**")
