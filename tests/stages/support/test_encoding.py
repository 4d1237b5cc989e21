"""From records to token sequences: what fits, what is left out, and the likelihood of what is left."""

import pytest
import torch

import tiny
from kleash.data.batches import TokenSequence
from kleash.errors import DataError
from kleash.maths.tally import Tally
from kleash.models.causal_lm import load_language_model
from kleash.records import Demonstration, Message, Prompt
from kleash.stages.support.encoding import encode, prompts_that_fit
from kleash.stages.support.likelihood import CompletionNLL
from kleash.testing import TabularPolicy


@pytest.fixture(scope="module")
def model(base):
    return load_language_model(base, device="cpu")


def test_rows_are_prompt_and_answer_with_its_end(model):
    rows = encode([Demonstration(Prompt("is it"), " big")], lambda row: [row.completion], model, max_tokens=20)
    [[sequence]] = rows.sequences
    assert model.tokenizer.decode(sequence.prompt_ids) == "is it"
    assert sequence.response_ids[-1] == model.eos_ids[0]
    assert model.tokenizer.decode(sequence.response_ids[:-1]) == " big"


def test_a_record_is_left_out_when_any_of_its_answers_is_too_long(model):
    records = [Demonstration(Prompt("why"), "a"), Demonstration(Prompt("why"), "b")]
    rows = encode(records, lambda row: ["x", "cat " * 30 if row.completion == "b" else "y"], model, max_tokens=20)
    assert (rows.records, rows.num_too_long, len(rows)) == (records[:1], 1, 1)


def test_the_models_own_limit_counts_too(model):
    long = Demonstration(Prompt("why"), "q" * 300)  # a byte is a token; the model knows 256 positions
    with pytest.raises(DataError, match=r"None of the 1 rows fits into 256 tokens"):
        encode([long], lambda row: [row.completion], model, max_tokens=10_000)


def test_prompts_keep_their_order_and_lose_the_long(model):
    kept = prompts_that_fit([Prompt("why"), Prompt("q" * 50), Prompt("how")], model, max_tokens=10)
    assert [prompt.text for prompt in kept] == ["why", "how"]


def rows_of(*prompts):
    return [Demonstration(prompt, "yes") for prompt in prompts]


def encoded(model, rows):
    return encode(rows, lambda row: [row.completion], model, max_tokens=200)


def test_how_prompts_are_read_is_said_once(tmp_path, capsys):
    folder = tiny.tiny_language_model_folder(tmp_path / "chat", chat_template=tiny.CHAT_TEMPLATE)
    chatty = load_language_model(folder, device="cpu")
    for _ in range(2):
        [[sequence]] = encoded(chatty, rows_of(Prompt("hi"))).sequences
    assert chatty.tokenizer.decode(sequence.prompt_ids) == "<s>[user] hi\n[assistant] "
    assert capsys.readouterr().err.count("Plain prompts become user turns of the chat template") == 1
    plain = load_language_model(folder, device="cpu", turns="text")
    encoded(plain, rows_of(Prompt("hi")))
    said = capsys.readouterr().err
    assert "Plain prompts are read as they stand, outside the model's chat template" in said
    assert "they part at token 1:\n  trained h i yes </s>" in said
    assert "served  <s> [ use r ]" in said


def test_rows_whose_turns_the_template_refuses_are_left_out_and_said(tmp_path, capsys):
    template = "{% if messages[0].role != 'user' %}{{ raise_exception('user first') }}{% endif %}" + tiny.CHAT_TEMPLATE
    folder = tiny.tiny_language_model_folder(tmp_path / "strict", chat_template=template)
    strict = load_language_model(folder, device="cpu")
    opened = Prompt((Message("assistant", "hello"), Message("user", "why?")))
    with_system = Prompt((Message("system", "Be kind."), Message("user", "why?")))
    rows = encoded(strict, rows_of(Prompt("hi"), opened, with_system))
    assert [row.prompt for row in rows.records] == [Prompt("hi"), with_system]
    assert (rows.num_too_long, len(rows.sequences)) == (0, 2)
    said = capsys.readouterr().err
    assert "1 of 3 rows are left out, for the chat template refuses them. The first: the prompt 'assistant: h" in said
    assert "The chat template has no system turn: 1 of 3 conversations have theirs at the head of the user's" in said
    assert prompts_that_fit([opened, Prompt("hi")], strict, max_tokens=50) == [Prompt("hi")]
    with pytest.raises(DataError, match=r"None of the 1 rows can be put to the model\. .* user first"):
        encoded(strict, rows_of(opened))


def test_text_that_was_put_through_a_template_already_is_refused(tmp_path):
    template = "<s>{% for message in messages %}[{{ message.role }}]{{ message.content }}</s>{% endfor %}"
    folder = tiny.tiny_language_model_folder(tmp_path / "chat", chat_template=template)
    chatty = load_language_model(folder, device="cpu")
    rendered = Prompt("<s>[user]hi</s>")
    with pytest.raises(DataError, match=r"2 of 3 plain prompts hold </s>, a mark of the model's chat template"):
        encoded(chatty, rows_of(rendered, Prompt("[user] <s>a</s>"), Prompt("c")))
    assert len(encoded(chatty, rows_of(rendered, Prompt("b"), Prompt("c")))) == 3


def test_the_likelihood_is_a_mean_over_the_batchs_tokens_whatever_the_split():
    probabilities = (0.1, 0.2, 0.3, 0.4)
    rows = [TokenSequence((0,), (3, 3, 3)), TokenSequence((0, 0), (1,)), TokenSequence((0,), (2, 0))]
    objective = CompletionNLL(TabularPolicy(probabilities), rows)
    nll = [-3 * torch.tensor(0.4).log(), -torch.tensor(0.2).log(), -torch.tensor(0.3 * 0.1).log()]
    expected = float(sum(nll)) / 6
    for split in ([[0, 1, 2]], [[2], [0, 1]]):
        sums, tally = objective.begin_batch([0, 1, 2]), Tally()
        total = sum(float(objective.loss(micro, sums, tally).detach()) for micro in split)
        assert total == pytest.approx(expected)
        assert tally.means() == {"loss_nats_per_token": pytest.approx(expected)}
    assert [objective.num_tokens(row) for row in range(3)] == [4, 3, 3]
