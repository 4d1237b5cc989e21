"""Which ids end and pad a text, and what is said of folders that cannot be used."""

import json
from types import SimpleNamespace

import pytest
import transformers
from safetensors.torch import load_file, save_file

import tiny
from kleash.errors import ModelError
from kleash.models.causal_lm import load_language_model
from kleash.models.folders import (
    NO_POSITION_LIMIT,
    choose_pad_id,
    find_model_folder,
    load_tokenizer,
    position_limit,
    resolve_device,
    resolve_eos_ids,
)


@pytest.fixture
def folder(tmp_path):
    return tiny.tiny_language_model_folder(tmp_path / "model", "gpt2")


def tokenizer_with(**changes):
    facts = {"pad_token_id": None, "unk_token_id": None, "eos_token_id": 7, "sep_token_id": None} | changes
    return type("Tokenizer", (SimpleNamespace,), {"__len__": lambda self: 10})(**facts)


class TestPad:
    def test_the_tokenizers_own_is_kept(self):
        assert choose_pad_id(tokenizer_with(pad_token_id=3), (7,), 10) == 3

    @pytest.mark.parametrize(
        ("changes", "eos_ids", "vocabulary_size", "expected"),
        [
            ({"pad_token_id": 7}, (7,), 12, 10),  # a row that no token uses
            ({"pad_token_id": 7, "unk_token_id": 0}, (7,), 10, 0),
            ({}, (9, 8, 7), 10, 6),  # the last id that ends nothing
            ({"pad_token_id": 3}, (3,), 10, 9),
        ],
    )
    def test_otherwise_it_is_an_id_that_ends_nothing(self, changes, eos_ids, vocabulary_size, expected):
        assert choose_pad_id(tokenizer_with(**changes), eos_ids, vocabulary_size) == expected

    def test_there_must_be_one(self):
        with pytest.raises(ModelError, match=r"Every id of the vocabulary \(2\) ends a text"):
            choose_pad_id(tokenizer_with(), (0, 1), 2)


class TestEos:
    def resolve(self, tmp_path, *, generation=None, config=None, eos_token=None, **changes):
        if generation is not None:
            (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": generation}))
        settings = SimpleNamespace(get_text_config=lambda: SimpleNamespace(eos_token_id=config))
        return resolve_eos_ids(tmp_path, settings, tokenizer_with(**changes), eos_token)

    def test_generation_settings_come_first_and_the_tokenizers_own_first_of_them(self, tmp_path):
        assert self.resolve(tmp_path, generation=[5, 7, 6], config=4) == (7, 5, 6)

    def test_then_the_configuration_then_the_tokenizer_then_an_encoders_separator(self, tmp_path):
        assert self.resolve(tmp_path, config=4) == (4,)
        assert self.resolve(tmp_path) == (7,)
        assert self.resolve(tmp_path, eos_token_id=None, sep_token_id=8) == (8,)

    def test_there_must_be_one(self, tmp_path):
        with pytest.raises(ModelError, match="name an end-of-text token"):
            self.resolve(tmp_path, eos_token_id=None)

    def test_setting_must_name_a_known_token(self, folder):
        assert load_language_model(folder, device="cpu", eos_token=5).eos_ids == (5,)
        with pytest.raises(ModelError, match="has no token '<end>', named as `eos_token`"):
            load_language_model(folder, device="cpu", eos_token="<end>")
        with pytest.raises(ModelError, match="has no token 9999"):
            load_language_model(folder, device="cpu", eos_token=9999)


def test_positions_without_a_table_have_no_limit():
    config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(n_positions=None))
    assert position_limit(config) == NO_POSITION_LIMIT
    assert position_limit(transformers.GPT2Config(n_positions=77)) == 77


def test_named_device_is_taken_as_named():
    assert resolve_device("cpu").type == "cpu"
    assert resolve_device("auto").type in {"cpu", "cuda"}


def test_missing_tokenizer(folder):
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ModelError, match="has no tokenizer files"):
        load_tokenizer(folder)


def test_damaged_tokenizer(folder):
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match=r"The tokenizer in .* cannot be read"):
        load_tokenizer(folder)


def test_tokenizer_larger_than_the_embedding(folder):
    tokenizer = load_tokenizer(folder)
    num_rows = len(tokenizer)
    tokenizer.add_tokens(["kleash"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(ModelError, match=f"has {num_rows + 1} tokens, and the model's embedding {num_rows} rows"):
        load_language_model(folder, device="cpu")


def test_missing_weights_are_not_made_up(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["transformer.h.1.mlp.c_fc.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 weights .* \(transformer\.h\.1\.mlp\.c_fc\.weight\)"):
        load_language_model(folder, device="cpu")


def test_damaged_weights(folder):
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelError, match=r"The gpt2 model in .* cannot be loaded by AutoModelForCausalLM"):
        load_language_model(folder, device="cpu")


def test_hub_model_that_cannot_be_had(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="The hub model nobody/nothing could not be fetched"):
        find_model_folder("hub:nobody/nothing")
