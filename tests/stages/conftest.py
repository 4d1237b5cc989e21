"""One tiny round, made once and only read by the tests of the stages."""

import pytest

import tiny
from stages.tiny_recipe import run_round, write_data


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    return tiny.tiny_language_model_folder(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def round_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("round")


@pytest.fixture(scope="session")
def made(base, data, round_folder):
    return run_round(base, data, round_folder)
