"""Experts, hybrids and recurrent models: right with rows leaving and with LoRA merged, or refused by name."""

import re
from pathlib import Path

import pytest
import torch
import transformers

import architectures
from kleash.errors import ModelError
from kleash.models.causal_lm import load_language_model
from kleash.models.heads import state_size
from kleash.models.lora import LoraSettings
from kleash.models.reward_models import reward_model_from
from kleash.rollout.decoding import Ask, sample_answers

ROOT = Path(__file__).parents[2]
IDS = torch.arange(3, 15)[None]
# the same prompt four times, rows that leave early, and padding on the left
ASKS = [Ask((11, 20, 30, 40), 12, seed) for seed in range(4)]
ASKS += [Ask((7,), 3, 9), Ask((9, 8, 7), 2, 10), Ask((9, 8, 7), 8, 11)]

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # what transformers says of kernels that are not installed
]


def farthest_from_a_plain_forward(model):
    """Return the largest difference between the sampler's log-probabilities and a forward of each sequence alone."""
    farthest = 0.0
    for ask, answer in zip(ASKS, sample_answers(model, ASKS, temperature=1.0), strict=True):
        ids = torch.tensor([[*ask.prompt_ids, *answer.token_ids]])
        with torch.no_grad():
            logprob_SV = model.model(input_ids=ids, use_cache=False).logits[0].float().log_softmax(-1)
        start = len(ask.prompt_ids) - 1
        said = logprob_SV[range(start, start + len(answer.token_ids)), list(answer.token_ids)]
        farthest = max(farthest, float((said - torch.tensor(answer.logprobs)).abs().max()))
    return farthest


@pytest.mark.parametrize("name", architectures.HYBRIDS)
def test_hybrids_sample_what_they_compute_with_rows_leaving(tmp_path, name):
    model = load_language_model(architectures.random_folder(tmp_path, name), device="cpu")
    assert farthest_from_a_plain_forward(model) < 1e-3


@pytest.mark.parametrize("name", architectures.REFUSED)
def test_recurrent_models_are_refused_by_name(tmp_path, name):
    with pytest.raises(ModelError, match=rf"\b{name} model.*docs/models\.md"):
        load_language_model(architectures.random_folder(tmp_path, name), device="cpu")


@pytest.mark.parametrize("name", [*architectures.WITH_EXPERTS, "qwen3_next", "jamba", "falcon_h1"])
def test_lora_beside_experts_and_recurrences_is_saved_whole(tmp_path, name, capsys):
    folder = architectures.random_folder(tmp_path / "base", name)
    model = load_language_model(folder, device="cpu", lora=LoraSettings(rank=2))
    assert f"layers of this {name} model" in capsys.readouterr().err
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _, weight in model.trainable_parameters():
            weight += 0.2 * torch.randn(weight.shape, generator=generator)
        live = model.model(input_ids=IDS, use_cache=False).logits
    model.save(tmp_path / "saved")
    plain, report = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    with torch.no_grad():
        torch.testing.assert_close(plain(input_ids=IDS, use_cache=False).logits, live, rtol=1e-3, atol=1e-3)
    load_language_model(tmp_path / "saved", device="cpu")


@pytest.mark.parametrize("name", ["opt (projected, as OPT-350m)", "gemma3 (images too)"])
def test_heads_have_the_width_of_the_states_they_read(tmp_path, name):
    folder = architectures.random_folder(tmp_path, name)
    model = load_language_model(folder, device="cpu")
    reward = reward_model_from(folder, seed=0, device="cpu")
    with torch.no_grad():
        width = model.model.base_model(input_ids=IDS).last_hidden_state.shape[-1]
    assert state_size(model.model.base_model) == reward.head.in_features == width


def test_the_page_has_a_row_for_each_architecture_that_is_tried():
    rows = re.findall(r"^\| `(.+?)` \| (yes|refused) \|", (ROOT / "docs" / "models.md").read_text(), flags=re.M)
    assert rows == [(name, "refused" if name in architectures.REFUSED else "yes") for name in architectures.ALL]
