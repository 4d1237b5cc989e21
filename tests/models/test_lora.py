"""Adapters: the frozen reference beside the policy, and weights merged on the way out."""

import json

import pytest
import torch

import tiny
from kleash.data.batches import TokenSequence, token_batch
from kleash.errors import ModelError
from kleash.models.causal_lm import load_language_model
from kleash.models.lora import LoraSettings

SETTINGS = LoraSettings(rank=2, alpha=4.0)
SEQUENCES = [TokenSequence((1, 20, 30), (40, 50, 60, 2)), TokenSequence((7,), (300, 2))]


def logprobs(model):
    with torch.no_grad():
        return model.response_outputs(token_batch(SEQUENCES, pad_id=model.pad_id)).logprob_BT


def disturb(model, seed=0):
    """Give the trainable weights other values, as training would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, weight in model.trainable_parameters():
            weight += 0.2 * torch.randn(weight.shape, generator=generator)


@pytest.fixture(params=["llama", "gpt2"])
def folder(request, tmp_path):
    return tiny.tiny_language_model_folder(tmp_path / "base", request.param)


@pytest.fixture
def adapted(folder):
    return load_language_model(folder, device="cpu", lora=SETTINGS)


def test_fresh_adapter_changes_nothing_and_alone_is_trained(adapted, folder):
    torch.testing.assert_close(logprobs(adapted), logprobs(load_language_model(folder, device="cpu")))
    names = [name for name, _ in adapted.trainable_parameters()]
    assert names
    assert all("lora_" in name and ".policy." in name for name in names)


def test_fresh_adapter_is_a_function_of_its_seed(folder):
    def trained(seed):
        model = load_language_model(folder, device="cpu", lora=SETTINGS.model_copy(update={"seed": seed}))
        return torch.cat([weight.flatten() for _, weight in model.trainable_parameters()])

    torch.testing.assert_close(trained(1), trained(1), rtol=0, atol=0)
    assert not torch.equal(trained(1), trained(2))


def test_saved_folder_is_a_plain_model_with_the_adapter_merged(adapted, folder, tmp_path):
    disturb(adapted)
    gap = adapted.save(tmp_path / "merged", probes=SEQUENCES)
    assert gap.max < 1e-4
    plain = load_language_model(tmp_path / "merged", device="cpu", whole=True)
    assert not plain.has_adapters
    torch.testing.assert_close(logprobs(plain), logprobs(adapted), rtol=1e-4, atol=1e-4)
    base = load_language_model(folder, device="cpu")
    assert {name for name, _ in plain.named_weights()} == {name for name, _ in base.named_weights()}
    torch.testing.assert_close(dict(adapted.named_weights()), dict(plain.named_weights()), rtol=0, atol=0)


def test_saved_adapter_goes_on_training(adapted, tmp_path):
    disturb(adapted)
    adapted.role.save(tmp_path / "adapter")
    again = load_language_model(tmp_path / "adapter", device="cpu")
    torch.testing.assert_close(logprobs(again), logprobs(adapted))
    assert [n for n, _ in again.trainable_parameters()] == [n for n, _ in adapted.trainable_parameters()]


def test_adapter_refuses_another_base(adapted, folder, tmp_path):
    adapted.role.save(tmp_path / "adapter")
    tiny.tiny_language_model_folder(folder, seed=5)
    with pytest.raises(ModelError, match="was trained on a base with digest"):
        load_language_model(tmp_path / "adapter", device="cpu")


def test_adapter_must_name_its_base(adapted, tmp_path):
    adapted.role.save(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": None}))
    with pytest.raises(ModelError, match="names no base model"):
        load_language_model(tmp_path, device="cpu")
