"""Precisions and gradient checkpointing: what is held in which numbers, and that neither changes what is learnt."""

import pytest
import torch

import tiny
from kleash.data.batches import TokenSequence, token_batch
from kleash.errors import ModelError
from kleash.models.causal_lm import load_language_model
from kleash.models.head_logprobs import HeadWorkspace, head_logprobs
from kleash.models.lora import LoraSettings
from kleash.models.precision import cast_once
from kleash.models.recomputing import RecomputedLayers
from kleash.models.reward_models import reward_model_from
from kleash.rollout.decoding import Ask, sample_answers
from kleash.training.optimiser import Optimiser

SEQUENCES = [TokenSequence((1, 20, 30), (40, 50, 60, 2)), TokenSequence((7,), (300, 2))]


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def folder(request, tmp_path_factory):
    return tiny.tiny_language_model_folder(tmp_path_factory.mktemp("base"), request.param, spread=0.1)


def batch_of(model):
    return token_batch(SEQUENCES, pad_id=model.pad_id)


def kept_bytes(compute):
    """Return what a forward pass keeps for its backward pass, in bytes, and the gradients' leaves' sum."""
    kept = {}

    def note(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        total = compute()
    total.backward()
    return sum(kept.values())


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=2)], ids=["full", "lora"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16_autocast", "bfloat16"])
def test_checkpointing_keeps_less_and_gives_the_same_policy_gradient(folder, lora, dtype):
    found = []
    for is_on in (False, True):
        model = load_language_model(folder, device="cpu", dtype=dtype, lora=lora, gradient_checkpointing=is_on)
        kept = kept_bytes(lambda model=model: model.response_outputs(batch_of(model)).logprob_BT.sum())
        found.append((kept, [weight.grad for _, weight in model.trainable_parameters() if weight.grad is not None]))
    (plain, expected), (recomputed, gradients) = found
    assert gradients
    assert any(gradient.any() for gradient in gradients)
    torch.testing.assert_close(gradients, expected, rtol=0, atol=0)
    assert recomputed < plain


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_checkpointing_gives_the_same_critic_gradient(folder, pooling):
    found = []
    for is_on in (False, True):
        critic = reward_model_from(folder, seed=0, device="cpu", pooling=pooling, gradient_checkpointing=is_on)
        kept = kept_bytes(lambda critic=critic: critic.values(batch_of(critic)).sum())
        found.append((kept, [weight.grad for weight in critic.parameters() if weight.grad is not None]))
    torch.testing.assert_close(found[1][1], found[0][1], rtol=0, atol=0)
    assert found[1][0] < found[0][0]


def test_checkpointed_layers_drop_nothing_out_and_decode_with_their_cache(tmp_path):
    """transformers checkpoints in training mode only, and takes the cache away there."""
    folder = tiny.tiny_language_model_folder(tmp_path / "base")
    model = load_language_model(folder, device="cpu", gradient_checkpointing=True)
    for module in model.model.modules():
        module.attention_dropout = 0.9
    first, again = (model.response_outputs(batch_of(model)).logprob_BT for _ in range(2))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    with torch.enable_grad():
        [answer] = sample_answers(model, [Ask((1, 20), 6, seed=3)], temperature=1.0)
    sequence = token_batch([TokenSequence((1, 20), answer.token_ids)], pad_id=model.pad_id)
    forward = model.response_outputs(sequence).logprob_BT[0]
    torch.testing.assert_close(forward.tolist(), list(answer.logprobs), rtol=1e-4, atol=1e-4)
    assert not any(module.training for module in model.model.modules())


def test_a_model_without_such_layers_is_refused():
    class Plain(torch.nn.Linear):
        supports_gradient_checkpointing = False
        config = type("Config", (), {"model_type": "plain"})

    with pytest.raises(ModelError, match=r"this plain model has no layers.*Set it to false"):
        RecomputedLayers(Plain(1, 1), is_on=True)


def test_frozen_weights_are_bfloat16_and_adapters_float32(folder):
    model = load_language_model(folder, device="cpu", dtype="bfloat16", lora=LoraSettings(rank=2))
    trained = {name for name, weight in model.trainable_parameters() if weight.dtype == torch.float32}
    assert trained == {name for name, _ in model.model.named_parameters() if "lora_" in name}
    frozen = {weight.dtype for name, weight in model.model.named_parameters() if name not in trained}
    assert frozen == {torch.bfloat16}
    exact = load_language_model(folder, device="cpu")
    with torch.no_grad():
        ours, theirs = (one.response_outputs(batch_of(one)).logprob_BT for one in (model, exact))
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0.1)  # what bfloat16 rounds
    assert not torch.equal(ours, theirs)


def test_weights_cast_once_are_those_that_autocast_casts(folder):
    model = load_language_model(folder, device="cpu", dtype="bfloat16_autocast", lora=LoraSettings(rank=2))
    before = dict(model.model.named_parameters())
    with torch.no_grad():
        expected = model.response_outputs(batch_of(model)).logprob_BT
        with cast_once(model.model):
            dtypes = {module.weight.dtype for module in model.model.modules() if type(module) is torch.nn.Linear}
            assert dtypes == {torch.bfloat16}
            found = model.response_outputs(batch_of(model)).logprob_BT
    after = dict(model.model.named_parameters())
    assert all(after[name] is weight for name, weight in before.items())
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-2)  # the head's products are bfloat16's in the first


def test_a_bfloat16_heads_products_are_added_up_in_float32_a_block_at_a_time():
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(70, 32, generator=generator, requires_grad=True)
    weight = torch.randn(5000, 32, generator=generator).bfloat16()
    target = torch.randint(5000, (70,), generator=generator)
    workspace = HeadWorkspace()
    found = head_logprobs(hidden, weight, None, target, workspace=workspace).logprob_N
    gradient = torch.autograd.grad(found.sum(), hidden)[0]
    expected = head_logprobs(hidden, weight.float(), None, target).logprob_N
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected.sum(), hidden)[0])
    assert workspace._buffers["block"].numel() < weight.numel()


def test_small_steps_are_not_lost_in_bfloat16_weights():
    """Each step is below what bfloat16 can add to 1; the gradients are added up in float32 as well."""
    weight = torch.nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    optimiser = Optimiser([("weight", weight)], learning_rate=1e-3, max_grad_norm=None)
    for _ in range(20):
        for share in (1.0, 1e-3):
            (weight.float() * share).sum().backward()
        torch.testing.assert_close(optimiser.parameters[0].grad, torch.full((4,), 1.001), rtol=1e-5, atol=0)
        optimiser.step()
    torch.testing.assert_close(optimiser.parameters[0].data, torch.full((4,), 0.98), rtol=1e-4, atol=0)
    torch.testing.assert_close(weight.data.float(), torch.full((4,), 0.98), rtol=4e-3, atol=0)
    flat = optimiser.snapshot("policy")
    other = torch.nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    again = Optimiser([("weight", other)], learning_rate=1e-3, max_grad_norm=None)
    again.restore(flat.tensors, flat.state, "policy")
    assert torch.equal(other, weight)
    assert torch.equal(again.parameters[0], optimiser.parameters[0])
