"""Loaded tiny models that end their answers now and then, shared by the sampling tests, which only read them."""

import pytest

import tiny
from kleash.models.causal_lm import LanguageModel, load_language_model
from kleash.models.rendering import Rendering


@pytest.fixture(scope="session")
def load_wordy(tmp_path_factory):
    """Load a tiny model of an architecture; one id in eight is an EOS, so that answers end at many lengths."""

    def load(architecture, seed=0):
        folder = tmp_path_factory.mktemp(architecture)
        tiny.tiny_language_model_folder(folder, architecture, seed=seed)
        loaded = load_language_model(folder, device="cpu")
        eos_ids = (2, *range(12, loaded.vocabulary_size, 8))
        return LanguageModel(loaded.model, Rendering(loaded.tokenizer, eos_ids))

    return load


@pytest.fixture(scope="session")
def wordy(load_wordy):
    return load_wordy("llama")
