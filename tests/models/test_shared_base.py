"""Four roles on one base: the traps that fail silently, and adapters as what is kept of them."""

import gc
import json
import shutil
import weakref

import pytest
import torch
import transformers

import tiny
from kleash.data.batches import TokenSequence, token_batch
from kleash.errors import ModelError
from kleash.models import causal_lm, shared_base
from kleash.models.causal_lm import load_language_model
from kleash.models.heads import critic_from_reward_model
from kleash.models.lora import LoraSettings
from kleash.models.reward_models import load_reward_model, reward_model_from
from kleash.models.shared_base import Bases
from kleash.training.optimiser import Optimiser

SEQUENCES = [TokenSequence((1, 20, 30), (40, 50, 60, 2)), TokenSequence((7,), (300, 2))]
LORA = LoraSettings(rank=2, alpha=4.0)


def batch_of(model):
    return token_batch(SEQUENCES, pad_id=model.pad_id)


def disturb(model, seed=0):
    """Give the trainable weights other values, as training would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, weight in model.trainable_parameters():
            weight += 0.2 * torch.randn(weight.shape, generator=generator)


def logprobs(model):
    with torch.no_grad():
        return model.response_outputs(batch_of(model)).logprob_BT


def scores(model):
    with torch.no_grad():
        return model.score(batch_of(model))


@pytest.fixture
def base(tmp_path):
    return tiny.tiny_language_model_folder(tmp_path / "base")


@pytest.fixture
def sft(base, tmp_path):
    """A policy that was trained with LoRA."""
    model = load_language_model(base, device="cpu", lora=LORA)
    disturb(model)
    model.save(tmp_path / "sft")
    return tmp_path / "sft"


@pytest.fixture
def reward(sft, tmp_path):
    """A reward model that was trained from it with LoRA."""
    model = reward_model_from(sft, seed=1, device="cpu", lora=LORA)
    disturb(model, seed=1)
    model.save(tmp_path / "reward")
    return tmp_path / "reward"


def roles_of(sft, reward, *, bases, **how):
    how = {"device": "cpu", "lora": LORA, "bases": bases} | how
    scorer = load_reward_model(reward, **how)
    policy = load_language_model(sft, **how)
    reference = load_language_model(sft, role="reference", is_trained=False, **how)
    critic = load_reward_model(reward, role="critic", is_trained=True, **how)
    return scorer, policy, reference, critic_from_reward_model(critic, mean=0.0, sd=1.0, zero_head=False)


def test_four_roles_are_one_base_and_each_answers_as_a_copy_of_its_own_would(sft, reward):
    shared, apart = roles_of(sft, reward, bases=Bases()), roles_of(sft, reward, bases=None)
    scorer, policy, reference, critic = shared
    assert {id(model.role.base) for model in shared} == {id(policy.role.base)}
    assert len({id(model.role.base) for model in apart}) == 4
    for _ in range(2):  # in any order, again and again
        for ours, theirs in zip((policy, reference), apart[1:3], strict=True):
            torch.testing.assert_close(logprobs(ours), logprobs(theirs), rtol=0, atol=0)
        for ours, theirs in zip((scorer, critic), (apart[0], apart[3]), strict=True):
            torch.testing.assert_close(scores(ours), scores(theirs), rtol=0, atol=0)
    torch.testing.assert_close(logprobs(policy), logprobs(reference), rtol=0, atol=0)


@pytest.mark.parametrize("gradient_checkpointing", [False, True])
def test_gradients_of_policy_and_critic_are_those_of_separate_copies(sft, reward, gradient_checkpointing):
    found = []
    for bases in (Bases(), None):
        how = {"gradient_checkpointing": gradient_checkpointing}
        scorer, policy, reference, critic = roles_of(sft, reward, bases=bases, **how)
        logprobs(reference)
        policy.response_outputs(batch_of(policy)).logprob_BT.sum().backward()
        critic.values(batch_of(critic)).square().sum().backward()
        scores(scorer)
        weights = [*policy.trainable_parameters(), *critic.trainable_parameters()]
        found.append({name: weight.grad.clone() for name, weight in weights})
    assert all(gradient.any() for gradient in found[0].values())
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


def test_no_role_may_compute_between_anothers_forward_and_backward_pass(sft, reward):
    _, policy, reference, critic = roles_of(sft, reward, bases=Bases())
    outputs = policy.response_outputs(batch_of(policy))
    logprobs(reference)
    with pytest.raises(ModelError, match=r"Adapter 'reference' is active in the backward pass of 'policy'.*one role"):
        outputs.logprob_BT.sum().backward()
    values = critic.values(batch_of(critic))
    logprobs(policy)
    with pytest.raises(ModelError, match="'policy' is active in the backward pass of 'critic'"):
        values.sum().backward()


def test_who_is_active_and_who_is_trained_are_apart(sft, reward):
    """peft's own switch would set requires_grad; an optimiser keeps what had it when it was built."""
    bases = Bases()
    scorer, policy, reference, critic = roles_of(sft, reward, bases=bases)
    model = policy.model

    def trained():
        return {name for name, weight in model.named_parameters() if weight.requires_grad}

    expected = {name for name in trained() if ".policy." in name or ".critic." in name}
    assert expected
    for one in (reference, policy, reference):
        logprobs(one)
        assert trained() == expected
    later = load_language_model(sft, device="cpu", lora=LORA, role="later", is_trained=False, bases=bases)
    assert later.model is model
    assert trained() == expected
    assert list(scorer.role.parameters())
    assert not [name for name, weight in scorer.role.parameters() if weight.requires_grad]
    optimisers = [Optimiser(one.trainable_parameters(), learning_rate=0.1) for one in (policy, critic)]
    assert not {id(weight) for weight in optimisers[0].parameters} & {id(weight) for weight in optimisers[1].parameters}
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    critic.values(batch_of(critic)).square().sum().backward()
    optimisers[1].step()
    moved = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    assert moved == {name for name in before if ".critic." in name}


def test_the_critics_adapter_starts_as_a_copy_of_the_rewards(sft, reward):
    scorer, _, _, critic = roles_of(sft, reward, bases=Bases())
    ours, theirs = (
        [weight for _, weight in sorted(model.role.parameters())] for model in (critic, scorer)
    )  # by name, in which the role alone differs
    assert any(weight.any() for weight in ours)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    assert not {id(weight) for weight in ours} & {id(weight) for weight in theirs}


def test_a_reward_model_from_elsewhere_stands_beside_and_carries_its_critic(base, tmp_path):
    """Its own weights are the base of scorer and critic: one more model in memory, not two."""
    foreign = reward_model_from(base, seed=3, device="cpu")
    foreign.save(tmp_path / "foreign")
    how = {"device": "cpu", "lora": LORA, "bases": Bases()}
    policy = load_language_model(base, **how)
    scorer = load_reward_model(tmp_path / "foreign", **how)
    critic = load_reward_model(tmp_path / "foreign", role="critic", is_trained=True, **how)
    assert scorer.role.base is critic.role.base is not policy.role.base
    torch.testing.assert_close(scores(scorer), scores(foreign))
    disturb(critic)
    torch.testing.assert_close(scores(scorer), scores(foreign))
    assert not torch.allclose(scores(critic), scores(foreign))


def test_names_of_trained_weights_do_not_depend_on_what_else_is_there(base):
    how = {"device": "cpu", "lora": LORA, "bases": Bases()}
    first, second = load_language_model(base, **how), load_language_model(base, **how)
    assert first.role.adapter != second.role.adapter
    assert [name for name, _ in first.trainable_parameters()] == [name for name, _ in second.trainable_parameters()]


def test_a_base_is_there_as_long_as_it_is_used(base):
    bases = Bases()
    model = load_language_model(base, device="cpu", lora=LORA, bases=bases)
    seen = weakref.ref(model.role.base)
    del model
    gc.collect()
    assert seen() is None


def test_other_settings_share_no_base(base):
    how = {"device": "cpu", "lora": LORA, "bases": Bases()}
    first = load_language_model(base, **how)
    assert load_language_model(base, dtype="bfloat16", **how).role.base is not first.role.base
    settings = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(settings | {"rms_norm_eps": 1e-3}))
    assert load_language_model(base, **how).role.base is not first.role.base


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_portable_reward_folder_is_made_on_demand(sft, reward, tmp_path, dtype):
    model = load_reward_model(reward, device="cpu", dtype=dtype)
    assert sorted(file.name for file in reward.iterdir()) == ["backbone", "head.safetensors", "kleash_head.json"]
    model.save(tmp_path / "portable", is_portable=True)
    exact = load_reward_model(reward, device="cpu")
    batch = batch_of(exact)
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "portable").eval()
    assert plain.dtype == torch.float32
    with torch.no_grad():
        theirs = plain(input_ids=batch.ids_BS, attention_mask=batch.attention_mask_BS.long()).logits[:, 0]
    # a bfloat16 base has lost digits when it is read
    torch.testing.assert_close(theirs, scores(exact), rtol=0, atol=1e-4 if dtype == "float32" else 0.1)


def test_a_mean_pooled_one_has_no_such_folder(sft, tmp_path):
    model = reward_model_from(sft, seed=1, device="cpu", lora=LORA, pooling="mean")
    model.save(tmp_path / "reward")
    torch.testing.assert_close(scores(load_reward_model(tmp_path / "reward", device="cpu")), scores(model))
    with pytest.raises(ModelError, match="reads the mean state of a llama model has no portable form"):
        model.save(tmp_path / "portable", is_portable=True)


class TestWhatIsKept:
    def test_an_adapter_that_cannot_be_merged_is_kept_alone_and_the_screen_says_so(
        self, base, tmp_path, capsys, monkeypatch
    ):
        model = load_language_model(base, device="cpu", lora=LORA)
        disturb(model)
        monkeypatch.setattr(causal_lm, "MAX_MERGE_GAP", -1.0)
        model.save(tmp_path / "policy", probes=SEQUENCES)
        assert "nats per token away from the model that was trained" in capsys.readouterr().err
        assert not list((tmp_path / "policy").glob("*.safetensors"))
        again = load_language_model(tmp_path / "policy", device="cpu")
        torch.testing.assert_close(logprobs(again), logprobs(model), rtol=0, atol=0)

    @pytest.mark.parametrize("dtype", ["float32", "bfloat16_autocast", "bfloat16"])
    def test_merging_in_float32_loses_nothing_whatever_the_model_computes_in(self, base, tmp_path, dtype):
        model = load_language_model(base, device="cpu", dtype=dtype, lora=LORA)
        disturb(model)
        before = logprobs(model)
        gap = model.save(tmp_path / "merged", probes=SEQUENCES)
        assert gap.mean <= gap.max < 1e-4
        assert (gap.mean_as_trained > 1e-4) == (dtype != "float32"), "the rounding of products"
        torch.testing.assert_close(logprobs(model), before, rtol=0, atol=0)
        plain = load_language_model(tmp_path / "merged", device="cpu", whole=True)
        assert {weight.dtype for weight in plain.model.parameters()} == {torch.float32}
        assert json.loads((tmp_path / "merged" / "config.json").read_text())["dtype"] == "float32"

    def test_what_merging_loses_is_measured(self, base, tmp_path, monkeypatch):
        """As a folder in bfloat16 would lose it: small changes fall below what its weights can tell apart."""
        model = load_language_model(base, device="cpu", dtype="bfloat16", lora=LORA)
        disturb(model)
        merged = shared_base._merged
        monkeypatch.setattr(shared_base, "_merged", lambda *given: merged(*given).bfloat16().float())
        assert model.save(tmp_path / "policy", probes=SEQUENCES).mean > 1e-3

    def test_a_model_goes_on_as_its_adapter_where_its_base_has_moved_along(self, base, tmp_path):
        model = load_language_model(base, device="cpu", lora=LORA)
        disturb(model)
        model.save(tmp_path / "policy")
        there = tmp_path / "elsewhere"
        there.mkdir()
        for folder in (base, tmp_path / "policy"):
            shutil.move(folder, there / folder.name)
        again = load_language_model(there / "policy", device="cpu")
        assert again.has_adapters
        torch.testing.assert_close(logprobs(again), logprobs(model), rtol=0, atol=0)

    @pytest.mark.parametrize("damage", ["gone", "changed"])
    def test_merged_weights_stand_in_for_a_lost_base_and_the_screen_says_so(self, base, tmp_path, capsys, damage):
        model = load_language_model(base, device="cpu", lora=LORA)
        disturb(model)
        model.save(tmp_path / "policy")
        shutil.rmtree(base)
        if damage == "changed":
            tiny.tiny_language_model_folder(base, seed=5)
        again = load_language_model(tmp_path / "policy", device="cpu")
        assert not again.has_adapters
        assert "policy stand in for it." in capsys.readouterr().err
        torch.testing.assert_close(logprobs(again), logprobs(model), rtol=1e-4, atol=1e-4)

    def test_an_adapter_of_another_shape_than_the_settings_is_said(self, sft, capsys):
        load_language_model(sft, device="cpu", lora=LoraSettings(rank=3))
        assert "goes on as it was made, with rank 2 and alpha 4" in capsys.readouterr().err

    def test_merging_holds_one_weight_at_a_time(self, base, tmp_path, monkeypatch):
        """Weights that are computed are on the disk before the next one is."""
        model = load_language_model(base, device="cpu", lora=LORA)
        disturb(model)
        alive, most = weakref.WeakSet(), []

        def counted(self, **settings):
            for name, tensor in merged_weights(self, **settings):
                if tensor.data_ptr() not in own:
                    alive.add(tensor)
                    most.append(len(alive))
                yield name, tensor
                del tensor

        own = {tensor.data_ptr() for tensor in model.model.state_dict().values()}
        merged_weights = type(model.role).merged_weights
        monkeypatch.setattr(type(model.role), "merged_weights", counted)
        model.save(tmp_path / "policy")
        assert len(most) > 4
        assert max(most) <= 2
        assert sorted(file.name for file in (tmp_path / "policy").glob("tmp*")) == []
