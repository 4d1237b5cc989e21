"""Adapters of any kind are merged by peft to the outputs they had, or refused by name; never a silent base model."""

import json

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import architectures
import tiny
from kleash.errors import ModelError
from kleash.models.causal_lm import load_language_model
from kleash.models.lora import LoraSettings
from kleash.models.reward_models import load_reward_model, reward_model_from

IDS = torch.arange(3, 15)[None]
TARGETS = ["q_proj", "v_proj"]
LM = {"task_type": "CAUSAL_LM"}
KINDS = {
    "plain": peft.LoraConfig(r=2, target_modules=TARGETS, **LM),
    "rslora": peft.LoraConfig(r=2, target_modules=TARGETS, use_rslora=True, rank_pattern={"v_proj": 3}, **LM),
    "dora": peft.LoraConfig(r=2, target_modules=TARGETS, use_dora=True, **LM),
    "biases": peft.LoraConfig(r=2, target_modules=TARGETS, bias="all", **LM),
    "embedding": peft.LoraConfig(r=2, target_modules=["embed_tokens"], **LM),
    "head": peft.LoraConfig(r=2, target_modules=["lm_head"], **LM),
    "whole_head": peft.LoraConfig(r=2, target_modules=TARGETS, modules_to_save=["lm_head"], **LM),
    "whole_embedding": peft.LoraConfig(r=2, target_modules=TARGETS, modules_to_save=["embed_tokens", "norm"], **LM),
    "tokens": peft.LoraConfig(r=2, target_modules=TARGETS, trainable_token_indices=[3, 4], **LM),
    "ia3": peft.IA3Config(target_modules=["q_proj", "down_proj"], feedforward_modules=["down_proj"], **LM),
    "loha": peft.LoHaConfig(r=2, target_modules=TARGETS, **LM),
    "lokr": peft.LoKrConfig(r=2, target_modules=TARGETS, **LM),
    "vera": peft.VeraConfig(r=2, target_modules=["q_proj"], **LM),
    "vblora": peft.VBLoRAConfig(r=2, num_vectors=8, vector_length=4, target_modules=["q_proj"], topk=2, **LM),
}
UNMERGEABLE = {
    "LORA": peft.LoraConfig(r=2, target_modules=TARGETS, lora_bias=True, **LM),
    "PROMPT_TUNING": peft.PromptTuningConfig(num_virtual_tokens=3, **LM),
    "ADAPTION_PROMPT": peft.AdaptionPromptConfig(adapter_len=2, adapter_layers=1, **LM),
}


def disturb(model):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight += 0.3 * torch.randn(weight.shape, generator=generator)


def made_adapter(base, folder, config, *, model_class=transformers.AutoModelForCausalLM, rows=None, **settings):
    """Write an adapter with weights of its own as peft does; return its folder and what it computes."""
    model = model_class.from_pretrained(base, **settings)
    if rows:
        model.resize_token_embeddings(rows, mean_resizing=False)
    wrapped = peft.get_peft_model(model, config)
    disturb(wrapped)
    wrapped.eval()
    wrapped.save_pretrained(folder)
    with torch.no_grad():
        return folder, wrapped(input_ids=IDS).logits


def plain_logits(folder):
    with torch.no_grad():
        return transformers.AutoModelForCausalLM.from_pretrained(folder)(input_ids=IDS).logits


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny.tiny_language_model_folder(tmp_path_factory.mktemp("base"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_what_an_adapter_computes_is_what_the_saved_folder_computes(base, tmp_path, kind, capsys):
    folder, live = made_adapter(base, tmp_path / "adapter", KINDS[kind])
    assert (live - plain_logits(base)).abs().max() > 0.1
    model = load_language_model(folder, device="cpu")
    with torch.no_grad():
        torch.testing.assert_close(model.model(input_ids=IDS).logits, live, rtol=1e-4, atol=1e-4)
    model.save(tmp_path / "merged")
    torch.testing.assert_close(plain_logits(tmp_path / "merged"), live, rtol=1e-4, atol=1e-4)
    assert model.has_adapters == (kind in {"plain", "rslora"})
    assert ("is merged into its base" in capsys.readouterr().err) == (not model.has_adapters)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["mixtral", "qwen3_moe"])
def test_adapters_on_experts_are_merged(tmp_path, name):
    base = architectures.random_folder(tmp_path / "base", name)
    names = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], target_parameters=names, **LM)
    folder, live = made_adapter(base, tmp_path / "adapter", config)
    load_language_model(folder, device="cpu").save(tmp_path / "merged")
    torch.testing.assert_close(plain_logits(tmp_path / "merged"), live, rtol=1e-3, atol=1e-3)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", UNMERGEABLE)
def test_what_peft_cannot_merge_is_refused_by_name_with_the_way_out(base, tmp_path, kind):
    folder, _ = made_adapter(base, tmp_path / "adapter", UNMERGEABLE[kind])
    with pytest.raises(ModelError, match=rf"\({kind}\).*(train a LoRA without such extras)"):
        load_language_model(folder, device="cpu")


@pytest.mark.filterwarnings("ignore")
def test_a_merge_that_changes_the_outputs_is_refused(base, tmp_path, monkeypatch):
    folder, _ = made_adapter(base, tmp_path / "adapter", KINDS["loha"])
    monkeypatch.setattr(peft.tuners.loha.LoHaModel, "merge_and_unload", lambda self, **_: self.unload())
    with pytest.raises(ModelError, match="changes the outputs by"):
        load_language_model(folder, device="cpu")


@pytest.mark.filterwarnings("ignore")
def test_an_adapter_on_an_adapter(base, tmp_path):
    lower, live = made_adapter(base, tmp_path / "lower", KINDS["plain"])
    load_language_model(lower, device="cpu").save(tmp_path / "between")
    upper, both = made_adapter(tmp_path / "between", tmp_path / "upper", KINDS["plain"])
    config = json.loads((upper / "adapter_config.json").read_text())
    (upper / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": str(lower)}))
    model = load_language_model(upper, device="cpu")
    assert not torch.allclose(live, both)
    with torch.no_grad():
        torch.testing.assert_close(model.model(input_ids=IDS).logits, both, rtol=1e-4, atol=1e-4)
    (lower / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": str(upper)}))
    with pytest.raises(ModelError, match="leads back to it"):
        load_language_model(upper, device="cpu")


@pytest.mark.filterwarnings("ignore")
def test_an_adapter_trained_with_added_tokens_brings_their_rows(base, tmp_path):
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens(["<think>", "</think>"])
    config = peft.LoraConfig(r=2, target_modules=TARGETS, modules_to_save=["embed_tokens", "lm_head"], **LM)
    folder, live = made_adapter(base, tmp_path / "adapter", config, rows=len(tokenizer))
    tokenizer.save_pretrained(folder)
    model = load_language_model(folder, device="cpu")
    assert model.vocabulary_size == len(tokenizer)
    model.save(tmp_path / "merged")
    torch.testing.assert_close(plain_logits(tmp_path / "merged"), live, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_a_reward_adapter_scores_as_it_did(base, tmp_path):
    classes = transformers.AutoModelForSequenceClassification
    config = peft.LoraConfig(r=2, target_modules=TARGETS, task_type="SEQ_CLS")
    settings = {"model_class": classes, "num_labels": 1}
    folder, live = made_adapter(base, tmp_path / "reward", config, **settings)
    model = load_reward_model(folder, device="cpu")
    with torch.no_grad():
        hidden = model.backbone(input_ids=IDS).last_hidden_state
        torch.testing.assert_close(model.head(hidden[:, -1]), live, rtol=1e-4, atol=1e-4)
    model.save(tmp_path / "merged")
    again = classes.from_pretrained(tmp_path / "merged")
    with torch.no_grad():
        torch.testing.assert_close(again(input_ids=IDS).logits, live, rtol=1e-4, atol=1e-4)
    folder, _ = made_adapter(base, tmp_path / "two", config, model_class=classes, num_labels=2)
    with pytest.raises(ModelError, match="has 2 labels"):
        load_reward_model(folder, device="cpu")
    folder, _ = made_adapter(base, tmp_path / "policy", KINDS["plain"])
    with pytest.raises(ModelError, match=r"lacks 1 weights .*score\.weight"):
        load_reward_model(folder, device="cpu")


@pytest.mark.filterwarnings("ignore")
def test_a_reward_model_starts_from_an_adapter(base, tmp_path):
    folder, _ = made_adapter(base, tmp_path / "adapter", KINDS["dora"])
    load_language_model(folder, device="cpu").save(tmp_path / "merged")
    from_adapter, from_merged = (
        reward_model_from(path, seed=0, device="cpu") for path in (folder, tmp_path / "merged")
    )
    with torch.no_grad():
        states = [model.backbone(input_ids=IDS).last_hidden_state for model in (from_adapter, from_merged)]
    torch.testing.assert_close(*states, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore")
class TestDamage:
    @pytest.fixture
    def adapter(self, base, tmp_path):
        return made_adapter(base, tmp_path / "adapter", KINDS["plain"])[0]

    def rewrite(self, adapter, change):
        file = adapter / "adapter_model.safetensors"
        save_file({change(name): tensor for name, tensor in load_file(file).items()}, file, metadata={"format": "pt"})

    def test_not_one_expected_name(self, adapter):
        self.rewrite(adapter, lambda name: "other." + name)
        with pytest.raises(ModelError, match="lacks 8 weights"):
            load_language_model(adapter, device="cpu")

    def test_layers_that_the_base_has_not(self, adapter):
        file = adapter / "adapter_model.safetensors"
        weights = load_file(file)
        weights |= {name.replace("layers.1", "layers.7"): tensor.clone() for name, tensor in weights.items()}
        save_file(weights, file, metadata={"format": "pt"})
        with pytest.raises(ModelError, match=r"has no place for 4 weights .*layers\.7"):
            load_language_model(adapter, device="cpu")

    def test_a_pickle(self, adapter):
        (adapter / "adapter_model.safetensors").rename(adapter / "other.safetensors")
        (adapter / "adapter_model.bin").write_bytes(b"")
        with pytest.raises(ModelError, match="a pickle"):
            load_language_model(adapter, device="cpu")

    @pytest.mark.parametrize("text", ["[]", "{", '{"peft_type": "NONE"}', "\x00"])
    def test_settings(self, adapter, base, text):
        if text.startswith('{"'):
            text = json.dumps({"peft_type": "NONE", "base_model_name_or_path": str(base)})
        (adapter / "adapter_config.json").write_text(text)
        with pytest.raises(ModelError, match="adapter"):
            load_language_model(adapter, device="cpu")

    def test_a_base_that_is_not_here(self, adapter):
        config = json.loads((adapter / "adapter_config.json").read_text())
        (adapter / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "owner/name"}))
        with pytest.raises(ModelError, match="was trained on owner/name, which is no folder here"):
            load_language_model(adapter, device="cpu")


@pytest.mark.parametrize("targets", ["embed_tokens", "lm_head", "nowhere"])
def test_targets_that_lora_cannot_be_put_on(base, targets):
    with pytest.raises(ModelError, match=r'lora_targets.*"all-linear"'):
        load_language_model(base, device="cpu", lora=LoraSettings(rank=2, target_modules=[targets]))
