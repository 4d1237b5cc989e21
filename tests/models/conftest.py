"""Loaded tiny models, shared by the tests of one session that only read them."""

import pytest

import tiny
from kleash.models.causal_lm import load_language_model


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory):
    return tiny.tiny_language_model_folder(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="session")
def llama(llama_folder):
    return load_language_model(llama_folder, device="cpu")
