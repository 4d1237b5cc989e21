"""The moving average of two policies."""

import pytest
import torch

from kleash.errors import ModelError
from kleash.models.causal_lm import load_language_model
from kleash.stages.averaging import average_policies
from kleash.stages.support.refreshing import AverageSettings
from stages.tiny_recipe import tiny_context
from tiny import tiny_language_model_folder


def weights(folder):
    return dict(load_language_model(folder, device="cpu").model.named_parameters())


def test_weights_lie_between_the_two(tmp_path):
    older = tiny_language_model_folder(tmp_path / "older", seed=0)
    newer = tiny_language_model_folder(tmp_path / "newer", seed=1)
    made = average_policies(
        tiny_context(), AverageSettings(share=0.25), older=older, newer=newer, output_dir=tmp_path / "average"
    )
    old, new, found = weights(older), weights(newer), weights(made.path)
    for name, weight in found.items():
        torch.testing.assert_close(weight, 0.75 * old[name] + 0.25 * new[name])
    assert made.kind == "policy"
    assert set(made.parents) == {"older", "newer"}


def test_all_of_the_newer_is_the_newer(tmp_path):
    older = tiny_language_model_folder(tmp_path / "older", seed=0)
    newer = tiny_language_model_folder(tmp_path / "newer", seed=1)
    made = average_policies(
        tiny_context(), AverageSettings(share=1.0), older=older, newer=newer, output_dir=tmp_path / "average"
    )
    new = weights(newer)
    assert all(torch.equal(weight, new[name]) for name, weight in weights(made.path).items())


def test_policies_of_two_models_have_no_average(tmp_path):
    older = tiny_language_model_folder(tmp_path / "older", "qwen2")
    newer = tiny_language_model_folder(tmp_path / "newer")
    with pytest.raises(
        ModelError, match=r"Weight model.embed_tokens.weight has shape .* Name policies of the same run"
    ):
        average_policies(tiny_context(), AverageSettings(), older=older, newer=newer, output_dir=tmp_path / "average")
