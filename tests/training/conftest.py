"""A tiny policy on the disk, shared by the training tests; each test loads its own copy and may train it."""

import pytest

import tiny


@pytest.fixture(scope="session")
def policy_folder(tmp_path_factory):
    return tiny.tiny_language_model_folder(tmp_path_factory.mktemp("policy"))
