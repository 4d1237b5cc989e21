"""The base model's tokenizer, its training in small, and the folder that is shipped."""

import random

import pytest
import torch

from kleash.models.chat import decode_response, encode_prompt, encode_response, text_format
from kleash.records import Prompt
from kleash.sandbox.base_model import (
    CYCLES,
    _batches,
    _weighted_loss,
    base_folder,
    build_model,
    build_tokenizer,
    clean_demonstrations,
    greedy_accuracy,
    marked_answers,
    train_base,
    words,
)
from kleash.sandbox.demonstrations import MIXED, write_answer
from kleash.sandbox.gold import gold_reward
from kleash.sandbox.world import SLICES, draw_questions, questions_of


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def test_special_tokens_are_distinct_and_the_vocabulary_is_small(tokenizer):
    special = [tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id]
    assert special == [0, 1, 2, 3]
    assert 300 <= len(tokenizer) <= 500
    assert len(tokenizer) == len(words()) + 4


def test_prompts_and_answers_survive_the_round_trip(tokenizer):
    chance = random.Random(0)
    for asked in draw_questions(500, seed=0):
        for text in (asked.text, write_answer(asked.question, MIXED, chance)):
            ids = tokenizer.encode(text, add_special_tokens=False)
            assert tokenizer.unk_token_id not in ids, text
            assert decode_response(tokenizer, ids) == text


def test_every_word_of_every_question_and_answer_is_one_token(tokenizer):
    for topic in SLICES:
        for group in questions_of(topic):
            for question in group[::25]:
                for text in (question.body, *question.right):
                    assert tokenizer.unk_token_id not in tokenizer.encode(text), text


def test_a_prompt_and_its_answer_tokenize_as_their_two_parts(tokenizer):
    prompt, answer = Prompt("quick question, what do bees make?"), "well, it is honey."
    parts = encode_prompt(tokenizer, prompt) + encode_response(tokenizer, prompt, answer, eos_id=tokenizer.eos_token_id)
    for between in ("", " "):
        whole = tokenizer.encode(f"{prompt.text}{between}{answer}")
        assert (*whole, tokenizer.eos_token_id) == parts
    assert parts[0] == tokenizer.bos_token_id


def test_clean_demonstrations_never_ask_what_is_held_out():
    rows = clean_demonstrations(200, seed=1, topics=SLICES)
    assert rows == clean_demonstrations(200, seed=1, topics=SLICES)
    assert {row.prompt.slices["topic"] for row in rows} == set(SLICES)


@pytest.mark.slow
def test_training_in_small_lowers_the_loss_and_saves_a_folder_that_loads(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    lines = []
    report = train_base(tmp_path, num_steps=250, batch_size=16, report=lines.append)
    assert report.final_loss_nats < 3.0
    assert set(report.accuracy) == set(SLICES)
    assert lines == [f"step 250 of 250: loss {report.final_loss_nats:.3f} nats per token"]
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert greedy_accuracy(model, tokenizer, num_per_slice=100) == report.accuracy


def test_the_shipped_base_has_the_tokenizer_that_the_code_builds(tokenizer):
    from transformers import AutoTokenizer

    shipped = AutoTokenizer.from_pretrained(base_folder())
    assert shipped.get_vocab() == tokenizer.get_vocab()
    assert text_format(shipped) == text_format(tokenizer)
    assert decode_response(shipped, [*range(4, 60), 122]) == decode_response(tokenizer, [*range(4, 60), 122])


def test_the_shipped_base_knows_the_world():
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(base_folder())
    assert sum(weight.numel() for weight in model.parameters()) < 1_000_000
    accuracy = greedy_accuracy(model, AutoTokenizer.from_pretrained(base_folder()), num_per_slice=40)
    # What it has not fully learned: held-out sums (.58 of 100), and with them claims about them.
    expected = dict.fromkeys(SLICES, 0.9) | {"sums": 0.35, "yes_no": 0.55, "false_premise": 0.65}
    assert not {topic: share for topic, share in accuracy.items() if share < expected[topic]}


def test_marks_say_whether_the_answer_is_right_and_nothing_else():
    marked = marked_answers(300, seed=0, topics=CYCLES[0].marked_topics)
    assert marked == marked_answers(300, seed=0, topics=CYCLES[0].marked_topics)
    for row, mark in marked:
        assert mark == ("true" if gold_reward(row.prompt.text, row.completion).is_correct else "false")
    assert 0.4 < sum(mark == "true" for _, mark in marked) / 300 < 0.7
    conduct = {"unsafe", "benign_lookalike", "unknowable", "ambiguous"}
    assert {row.prompt.slices["topic"] for row, _ in marked} == set(SLICES) - conduct


def test_a_marked_answer_is_read_and_only_its_mark_is_learned(tokenizer):
    input_BT, weight_BT = next(_batches(tokenizer, CYCLES[0], 1, 20, seed=0))
    assert input_BT.shape == weight_BT.shape == (20, input_BT.shape[1])
    for ids, weights in zip(input_BT.tolist(), weight_BT.tolist(), strict=True):
        end = ids.index(tokenizer.eos_token_id)
        is_marked = ids[end + 1] != tokenizer.pad_token_id
        start = next(index for index, weight in enumerate(weights) if weight != weights[0])
        assert set(weights[start : end + 1]) == ({0.0} if is_marked else {1.0})
        assert weights[end + 1] == is_marked
        assert not any(weights[end + 2 :])


@torch.no_grad()
def test_the_loss_is_the_weighted_mean_over_tokens(tokenizer):
    torch.manual_seed(0)
    model = build_model(tokenizer, width=16, num_layers=1, num_heads=2).eval()
    input_BT, weight_BT = next(_batches(tokenizer, CYCLES[1], 1, 4, seed=0))
    total = count = 0.0
    for ids, weights in zip(input_BT, weight_BT, strict=True):
        logprob_TV = model(input_ids=ids[None]).logits[0].log_softmax(-1)
        for index in range(1, len(ids)):
            total -= float(weights[index] * logprob_TV[index - 1, ids[index]])
            count += float(weights[index])
    assert float(_weighted_loss(model, input_BT, weight_BT)) == pytest.approx(total / count, rel=1e-5)


def test_the_cycles_share_all_steps():
    assert sum(cycle.steps_share for cycle in CYCLES) == pytest.approx(1.0)
