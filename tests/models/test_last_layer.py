"""The last feed-forward part runs where it is read, and nowhere else; what is read stays what it was."""

import pytest
import torch
from torch import nn

from kleash.models.causal_lm import load_language_model
from kleash.models.last_layer import LastFeedForward
from tiny import tiny_language_model_folder

IDS_BS = torch.tensor([[5, 6, 7, 8, 9], [15, 16, 17, 18, 19]])
FLAT_N = torch.tensor([1, 3, 8])


def backbone_of(folder, architecture):
    return load_language_model(tiny_language_model_folder(folder, architecture), device="cpu").model.base_model


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox", "gemma2", "qwen2"])
def test_it_is_found_and_changes_nothing_that_is_read(tmp_path, architecture):
    backbone = backbone_of(tmp_path, architecture)
    last = LastFeedForward(backbone)
    assert last.is_found
    whole_BSD = backbone(input_ids=IDS_BS).last_hidden_state
    with last.only_at(FLAT_N):
        part_BSD = backbone(input_ids=IDS_BS).last_hidden_state
    torch.testing.assert_close(part_BSD.flatten(0, 1)[FLAT_N], whole_BSD.flatten(0, 1)[FLAT_N])
    assert not torch.allclose(part_BSD, whole_BSD)
    torch.testing.assert_close(backbone(input_ids=IDS_BS).last_hidden_state, whole_BSD, rtol=0, atol=0)


def test_only_the_last_layer_sees_fewer_positions(tmp_path):
    backbone = backbone_of(tmp_path, "llama")
    seen = []
    for layer in backbone.layers:
        layer.mlp.down_proj.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0][..., 0].numel()))
    with LastFeedForward(backbone).only_at(FLAT_N):
        seen.clear()
        backbone(input_ids=IDS_BS)
    assert seen == [10] * (len(backbone.layers) - 1) + [3]


def test_without_positions_it_runs_everywhere(tmp_path):
    backbone = backbone_of(tmp_path, "llama")
    whole_BSD = backbone(input_ids=IDS_BS).last_hidden_state
    with LastFeedForward(backbone).only_at(None):
        assert torch.equal(backbone(input_ids=IDS_BS).last_hidden_state, whole_BSD)


class MixesPositions(nn.Module):
    """A feed-forward part that is none: each position's output depends on all positions it is given."""

    def forward(self, x_BSD):
        return x_BSD + x_BSD.mean(1, keepdim=True)


class GivesMore(nn.Module):
    """Returns router figures beside the states, as some mixtures of experts do."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x_BSD):
        return self.inner(x_BSD), None


@pytest.mark.parametrize("odd", [lambda mlp: MixesPositions(), GivesMore])
def test_an_architecture_of_another_kind_is_left_alone(tmp_path, odd):
    backbone = backbone_of(tmp_path, "llama")
    backbone.layers[-1].mlp = odd(backbone.layers[-1].mlp)
    assert not LastFeedForward(backbone).is_found


def test_an_architecture_that_hides_its_layers_is_left_alone(tmp_path):
    assert not LastFeedForward(backbone_of(tmp_path, "opt")).is_found
