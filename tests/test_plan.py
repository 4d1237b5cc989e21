"""The plan: weights by the files' headers, bytes by role by hand, and what is proposed where they do not fit."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import transformers

import tiny
from kleash.errors import SettingsError
from kleash.models.causal_lm import load_language_model
from kleash.models.lora import LoraSettings
from kleash.plan import ModelShape, Speeds, TokenLengths, activation_bytes, bytes_in, memory_of, proposals, times_of
from kleash.recipe import Recipe
from kleash.settings import check_settings

SHAPE = ModelShape(
    weights=1_000_000,
    hidden=64,
    layers=4,
    intermediate=256,
    heads=64,
    kv=32,
    vocabulary=1000,
    linear={"q_proj": 128, "down_proj": 320},
)
ADAPTER = 4 * 2 * 4 * 448
LENGTHS = TokenLengths(prompt=10, answer=20)
SPEEDS = Speeds(forward=1.0, both=3.0, head=0.5, decode_step=7.0, decode_row=2.0, update_weight=1e-6)


def recipe_of(**given):
    policy = {"prompts_per_step": 8, "epochs": 2, "steps": 5, **given.pop("policy", {})}
    return check_settings({"stages": ["policy"], "policy": policy, **given}, Recipe, source="here")


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_models_shape_is_read_without_its_weights(tmp_path, family):
    folder = tiny.tiny_language_model_folder(tmp_path / "base", family)
    shape, model = ModelShape.of(folder), load_language_model(folder, device="cpu")
    assert shape.weights == sum(weight.numel() for weight in model.model.parameters())
    assert (shape.layers, shape.hidden) == (model.model.config.num_hidden_layers, model.model.config.hidden_size)


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "down_proj"]])
def test_adapters_are_counted_as_they_are_put_on(tmp_path, targets):
    folder = tiny.tiny_language_model_folder(tmp_path / "base")
    model = load_language_model(folder, device="cpu", lora=LoraSettings(rank=3, target_modules=targets))
    trained = sum(weight.numel() for _, weight in model.trainable_parameters())
    assert ModelShape.of(folder).adapter_weights(3, targets) == trained


def test_full_training_holds_weights_gradients_and_moments_of_policy_and_critic():
    held = memory_of(recipe_of(), SHAPE, LENGTHS).held
    assert held == {"policy": 16e6, "reference": 4e6, "reward model": 4e6, "critic": 16e6}


@pytest.mark.parametrize(
    ("given", "held"),
    [
        ({"model": {"lora_rank": 2}}, {"policy": 4e6 + 4 * ADAPTER, "reward model": ADAPTER, "critic": 4 * ADAPTER}),
        (
            {"model": {"lora_rank": 2, "lora_roles": "policy"}},
            {"policy": 4e6 + 4 * ADAPTER, "reward model": 4e6, "critic": 16e6},
        ),
        (
            {"model": {"dtype": "bfloat16"}},
            {"policy": 18e6, "reference": 2e6, "reward model": 2e6, "critic": 18e6},
        ),
        (
            {"policy": {"algorithm": "rloo", "samples_per_prompt": 2}, "scorer": {"kind": "function"}},
            {"policy": 16e6, "reference": 4e6},
        ),
        ({"policy": {"critic": "shared"}}, {"policy": 16e6, "reference": 4e6, "reward model": 4e6}),
        ({"stages": ["sft"]}, {"policy": 16e6}),
        ({"stages": ["direct"]}, {"policy": 16e6, "reference": 4e6}),
    ],
)
def test_who_is_in_memory_follows_from_the_settings(given, held):
    assert memory_of(recipe_of(**given), SHAPE, LENGTHS).held == held


@pytest.mark.parametrize("family", [transformers.LlamaConfig, transformers.Qwen2Config])
def test_what_a_layer_keeps_for_the_backward_pass_is_what_torch_keeps(family):
    """Counted by autograd's own hooks, on two models that differ by two layers."""
    size = {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2}
    kept = {}
    for layers in (1, 3):
        model = transformers.AutoModel.from_config(family(**size, num_hidden_layers=layers, vocab_size=1000)).eval()
        own, seen = {weight.untyped_storage().data_ptr() for weight in model.parameters()}, {}

        def pack(tensor, own=own, seen=seen):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                seen[storage.data_ptr()] = (storage.nbytes(), tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(torch.arange(64)[None], use_cache=False)
        kept[layers] = sum(size for size, _ in seen.values())
    assert activation_bytes(SHAPE) == pytest.approx((kept[3] - kept[1]) / 2 / 64, rel=0.1)


def test_time_is_the_sum_of_a_steps_parts():
    recipe = recipe_of(policy={"algorithm": "rloo", "samples_per_prompt": 2}, scorer={"kind": "function"})
    [policy] = times_of(recipe, SHAPE, {"policy": LENGTHS}, SPEEDS, {})
    sampling = 8 * 10 * 1.0 + 20 * (7.0 + 16 * 2.0)
    annotating = 16 * (30 * 1.0 + 20 * 0.5)
    updating = 2 * (16 * (30 * 3.0 + 3 * 20 * 0.5) + 1_000_000 * 1e-6)
    assert policy.seconds_per_step == pytest.approx(sampling + annotating + updating)
    assert (policy.steps, policy.seconds) == (5, pytest.approx(5 * policy.seconds_per_step))


def test_settings_are_proposed_until_it_fits_and_no_more():
    recipe = recipe_of(policy={"prompts_per_step": 200})
    peak = memory_of(recipe, SHAPE, LENGTHS).peak
    assert list(proposals(recipe, SHAPE, LENGTHS, peak)) == []
    found = list(proposals(recipe, SHAPE, LENGTHS, 0.9 * peak))
    assert found[-1][1].peak <= 0.9 * peak
    assert all(after.peak < before.peak for (_, before), (_, after) in pairwise(found))
    changes = [change for change, _ in proposals(recipe, SHAPE, LENGTHS, 0)]
    assert changes[:2] == ["model.gradient_checkpointing = true", 'model.dtype = "bfloat16"']
    assert changes[-1] == "model.lora_rank = 16", "the last resort"


@pytest.mark.parametrize(("text", "size"), [("24GB", 24e9), ("512 MiB", 512 * 2**20), ("1.5gib", 1.5 * 2**30)])
def test_amounts_of_memory(text, size):
    assert bytes_in(text) == size


def test_what_is_no_amount_is_refused():
    with pytest.raises(SettingsError, match=r"'24 apples' is no amount of memory\. Expected one such as 24GB"):
        bytes_in("24 apples")


def test_a_config_that_says_too_little_is_refused(tmp_path):
    folder = tiny.tiny_language_model_folder(tmp_path / "base")
    config = json.loads((folder / "config.json").read_text())
    Path(folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "hidden_size"}))
    with pytest.raises(SettingsError, match=r"config\.json says nothing of hidden_size or n_embd"):
        ModelShape.of(folder)
