"""Log-probabilities of responses under the language models, their folders, and the errors on the way."""

import json

import pytest
import torch

import tiny
from kleash.data.batches import TokenSequence, token_batch
from kleash.errors import ModelError
from kleash.models.causal_lm import load_language_model
from kleash.models.heads import ValueHead
from tiny import tiny_language_model_folder

ARCHITECTURES = ["llama", "gpt2", "gpt_neox", "gemma2", "qwen2", "opt"]

SEQUENCES = [
    TokenSequence((1, 20, 30), (40, 50, 60, 70, 2)),
    TokenSequence((1, 90, 80, 70, 60, 50), (33, 2)),
    TokenSequence((7,), (300, 301, 302)),
]


def slow_figures(model, sequence, temperature):
    """Log-probabilities and entropies of one unpadded response, from the model's own logits."""
    ids = torch.tensor([sequence.prompt_ids + sequence.response_ids])
    logits = model(input_ids=ids).logits[0].double() / temperature
    logprob = torch.log_softmax(logits[len(sequence.prompt_ids) - 1 : -1], dim=-1)
    chosen = logprob.gather(1, torch.tensor(sequence.response_ids)[:, None])[:, 0]
    return chosen.float(), -(logprob.exp() * logprob).sum(-1).float()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_padded_batch_agrees_with_each_sequence_alone(tmp_path, architecture):
    model = load_language_model(tiny_language_model_folder(tmp_path, architecture), device="cpu")
    batch = token_batch(SEQUENCES, pad_id=model.pad_id)
    outputs = model.response_outputs(batch, temperature=0.7)
    for row, sequence in enumerate(SEQUENCES):
        logprob, entropy = slow_figures(model.model, sequence, 0.7)
        num_tokens = len(sequence.response_ids)
        torch.testing.assert_close(outputs.logprob_BT[row, :num_tokens], logprob)
        torch.testing.assert_close(outputs.entropy_BT[row, :num_tokens], entropy)
        assert not outputs.logprob_BT[row, num_tokens:].any()
        assert not outputs.entropy_BT[row, num_tokens:].any()


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2"])
def test_gradients_agree_with_plain_autograd(tmp_path, architecture):
    model = load_language_model(tiny_language_model_folder(tmp_path, architecture), device="cpu")
    weight_BT = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    batch = token_batch(SEQUENCES, pad_id=model.pad_id)
    (model.response_outputs(batch, temperature=0.7).logprob_BT * weight_BT).sum().backward()
    found = {name: weight.grad.clone() for name, weight in model.trainable_parameters()}
    model.model.zero_grad()
    for row, sequence in enumerate(SEQUENCES):
        logprob, _ = slow_figures(model.model, sequence, 0.7)
        (logprob * weight_BT[row, : len(logprob)]).sum().backward()
    expected = {name: weight.grad for name, weight in model.trainable_parameters()}
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)  # sums of many float32 terms in another order


def test_capped_logits_are_not_taken_for_plain_ones(tmp_path):
    """Gemma caps its logits after the head; a cap of 0.5 makes every token nearly equally likely."""
    model = load_language_model(tiny_language_model_folder(tmp_path, "gemma2"), device="cpu")
    outputs = model.response_outputs(token_batch(SEQUENCES, pad_id=model.pad_id))
    uniform = -torch.log(torch.tensor(float(model.vocabulary_size)))
    real = outputs.logprob_BT[outputs.logprob_BT != 0]
    assert ((real - uniform).abs() <= 1.0).all()


def test_value_head_starts_at_zero_and_reads_the_state_before_each_token(llama):
    batch = token_batch(SEQUENCES, pad_id=llama.pad_id)
    head = ValueHead(16)
    outputs = llama.response_outputs(batch, value_head=head)
    assert not outputs.value_BT.any()
    torch.nn.init.ones_(head.linear.weight)
    value_BT = llama.response_outputs(batch, value_head=head).value_BT
    state = llama.model.base_model(input_ids=batch.ids_BS[1:2]).last_hidden_state[0, 5]
    torch.testing.assert_close(value_BT[1, 0], state.sum())


def test_batch_longer_than_the_positions_is_refused(llama):
    batch = token_batch([TokenSequence((1,), (5,) * 256)], pad_id=0)
    with pytest.raises(ModelError, match=r"has 257 tokens\. Expected at most 256"):
        llama.response_outputs(batch)


def test_saved_folder_gives_the_same_weights_and_ends(llama_folder, tmp_path):
    model = load_language_model(llama_folder, device="cpu", eos_token="<s>")
    assert model.eos_ids == (1,)
    model.save(tmp_path)
    again = load_language_model(tmp_path, device="cpu")
    assert again.eos_ids == (1,)
    torch.testing.assert_close(dict(again.named_weights()), dict(model.named_weights()), rtol=0, atol=0)


def test_pad_is_never_the_eos(tmp_path):
    tokenizer = tiny.tiny_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    config = tiny.tiny_config("gpt2", vocabulary_size=len(tokenizer))
    config.pad_token_id = 2
    import transformers

    tiny.save_tiny(tmp_path, transformers.AutoModelForCausalLM.from_config(config), tokenizer)
    model = load_language_model(tmp_path, device="cpu")
    assert model.pad_id not in model.eos_ids
    assert model.pad_id < model.vocabulary_size


def test_dropout_is_off_and_stays_off_in_training_mode(tmp_path):
    folder = tiny_language_model_folder(tmp_path, "gpt2")
    config = json.loads((folder / "config.json").read_text())
    assert config["resid_pdrop"] == 0.1
    model = load_language_model(folder, device="cpu")
    assert not model.model.training
    model.model.train()
    batch = token_batch(SEQUENCES, pad_id=model.pad_id)
    first, second = (model.response_outputs(batch).logprob_BT for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_autocast_keeps_float32_weights_and_stays_close(llama_folder, llama):
    model = load_language_model(llama_folder, device="cpu", dtype="bfloat16_autocast")
    assert not model.is_exact
    assert all(weight.dtype == torch.float32 for _, weight in model.named_weights())
    batch = token_batch(SEQUENCES, pad_id=model.pad_id)
    rounded = model.response_outputs(batch)
    exact_BT = llama.response_outputs(batch).logprob_BT
    assert rounded.logprob_BT.dtype == torch.float32
    assert not torch.equal(rounded.logprob_BT, exact_BT)
    torch.testing.assert_close(rounded.logprob_BT, exact_BT, rtol=0.05, atol=0.05)  # bfloat16 keeps 8 bits
    rounded.logprob_BT.sum().backward()
    assert all(weight.grad.dtype == torch.float32 for _, weight in model.trainable_parameters())


class TestErrors:
    def test_no_folder(self, tmp_path):
        with pytest.raises(ModelError, match=r"There is no model folder .*nowhere"):
            load_language_model(tmp_path / "nowhere")

    def test_not_a_model_folder(self, tmp_path):
        with pytest.raises(ModelError, match=r"has no config\.json"):
            load_language_model(tmp_path)

    def test_pickled_weights(self, llama_folder, tmp_path):
        (tmp_path / "config.json").write_text((llama_folder / "config.json").read_text())
        (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
        with pytest.raises(ModelError, match=r"only pickled weights \(pytorch_model.bin\)"):
            load_language_model(tmp_path)

    def test_no_weights(self, llama_folder, tmp_path):
        (tmp_path / "config.json").write_text((llama_folder / "config.json").read_text())
        with pytest.raises(ModelError, match="holds no weights"):
            load_language_model(tmp_path)

    def test_encoder(self, tmp_path):
        with pytest.raises(ModelError, match="tokens that follow change the logits"):
            load_language_model(tiny_language_model_folder(tmp_path, "bert"))

    def test_unknown_architecture(self, tmp_path):
        (tmp_path / "config.json").write_text('{"model_type": "abacus"}')
        (tmp_path / "model.safetensors").write_bytes(b"")
        with pytest.raises(ModelError, match=r"config\.json in .* cannot be read"):
            load_language_model(tmp_path)
