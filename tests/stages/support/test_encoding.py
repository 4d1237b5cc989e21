"""From records to token sequences: what fits, what is left out, and the likelihood of what is left."""

import pytest
import torch

import tiny
from kleash.data.batches import TokenSequence
from kleash.errors import DataError
from kleash.maths.tally import Tally
from kleash.models.causal_lm import load_language_model
from kleash.records import Demonstration, Message, Prompt
from kleash.stages.support.encoding import encode, prompts_that_fit, readable_by
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


def test_conversations_become_transcripts_only_without_a_chat_template(model, tmp_path):
    chat = Prompt((Message("user", "hi"), Message("assistant", "hello"), Message("user", "why?")), {"a": "b"})
    transcript = readable_by(model, chat)
    assert isinstance(transcript.content, str)
    assert transcript.slices == {"a": "b"}
    folder = tiny.tiny_language_model_folder(tmp_path / "chat", chat_template=tiny.CHAT_TEMPLATE)
    assert readable_by(load_language_model(folder, device="cpu"), chat) is chat


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
    assert objective.mean_loss(4) == pytest.approx(expected)
    assert [objective.num_tokens(row) for row in range(3)] == [4, 3, 3]
