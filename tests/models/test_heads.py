"""Reward models, critics and value heads: what plain transformers scores too, and what only we can express."""

import json
import math

import pytest
import torch
import transformers

import tiny
from kleash.data.batches import TokenSequence, token_batch
from kleash.errors import ModelError
from kleash.models.heads import RewardNormaliser, ValueHead, critic_from_reward_model
from kleash.models.reward_models import load_reward_model, reward_model_from

SEQUENCES = [
    TokenSequence((1, 20, 30), (40, 50, 60, 70, 2)),
    TokenSequence((1, 90, 80, 70, 60, 50), (33, 2)),
    TokenSequence((7,), (300, 301, 302)),
]


@pytest.fixture(params=["llama", "gpt2"])
def folder(request, tmp_path):
    return tiny.tiny_language_model_folder(tmp_path / "base", request.param)


def batch_for(model, sequences=SEQUENCES):
    return token_batch(sequences, pad_id=model.pad_id)


def classifier_folder(folder, architecture, **changes):
    """Write a sequence-classification folder as somebody else would have."""
    tokenizer = tiny.tiny_tokenizer()
    config = tiny.tiny_config(architecture, vocabulary_size=len(tokenizer))
    config.num_labels = 1
    for name, value in changes.items():
        setattr(config, name, value)
    return tiny.save_tiny(folder, transformers.AutoModelForSequenceClassification.from_config(config), tokenizer)


def transformers_scores(folder, batch):
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    return model(input_ids=batch.ids_BS, attention_mask=batch.attention_mask_BS.long()).logits[:, 0]


def critic_of(folder, *, zero_head=False):
    return critic_from_reward_model(load_reward_model(folder, device="cpu"), mean=2.0, sd=0.5, zero_head=zero_head)


class TestPortableForm:
    def test_plain_transformers_scores_our_folder_identically(self, folder, tmp_path):
        model = reward_model_from(folder, seed=0, device="cpu")
        assert model.is_portable
        model.save(tmp_path / "reward")
        batch = batch_for(model)
        torch.testing.assert_close(transformers_scores(tmp_path / "reward", batch), model.score(batch))

    @pytest.mark.parametrize("architecture", ["llama", "gpt2"])
    def test_we_score_their_folder_identically(self, tmp_path, architecture):
        theirs = classifier_folder(tmp_path, architecture)
        model = load_reward_model(theirs, device="cpu")
        batch = batch_for(model)
        torch.testing.assert_close(model.score(batch), transformers_scores(theirs, batch))

    def test_pooling_goes_by_lengths_where_pad_is_eos(self, tmp_path):
        """transformers would pool the token before the EOS there, which is no padding."""
        model = load_reward_model(classifier_folder(tmp_path, "llama", pad_token_id=2), device="cpu")
        ids = torch.tensor([SEQUENCES[0].prompt_ids + SEQUENCES[0].response_ids])
        last = model.backbone(input_ids=ids).last_hidden_state[0, -1]
        torch.testing.assert_close(model.score(batch_for(model))[0], model.head(last)[0])

    def test_saved_folder_scores_the_same_when_loaded(self, folder, tmp_path):
        model = reward_model_from(folder, seed=0, device="cpu", eos_token="<s>")
        model.save(tmp_path / "reward")
        again = load_reward_model(tmp_path / "reward", device="cpu")
        assert (again.eos_ids, again.pooling) == ((1,), "last")
        batch = batch_for(model)
        torch.testing.assert_close(again.score(batch), model.score(batch))

    def test_critic_can_be_saved_after_the_reward_model_it_came_from(self, folder, tmp_path):
        model = reward_model_from(folder, seed=0, device="cpu")
        model.save(tmp_path / "reward")
        critic = critic_of(tmp_path / "reward")
        assert not critic.is_portable
        critic.save(tmp_path / "critic")
        again = load_reward_model(tmp_path / "critic", device="cpu")
        batch = batch_for(model)
        torch.testing.assert_close(again.score(batch), critic.score(batch))


class TestFreshHead:
    def test_standard_deviation_and_seed(self, tmp_path):
        folder = tiny.tiny_language_model_folder(tmp_path)
        heads = [reward_model_from(folder, seed=seed, device="cpu").head for seed in range(40)]
        spread = torch.cat([head.weight.detach() for head in heads]).std()
        assert abs(float(spread) * math.sqrt(17) - 1) < 0.1  # 640 draws: the standard error is 0.028
        again = reward_model_from(folder, seed=3, device="cpu").head
        torch.testing.assert_close(again.weight, heads[3].weight, rtol=0, atol=0)
        assert not torch.equal(heads[3].weight, heads[4].weight)
        assert heads[0].bias is None

    def test_backbone_is_the_language_models(self, folder):
        language_model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
        model = reward_model_from(folder, seed=0, device="cpu")
        ids = torch.tensor([[1, 5, 9]])
        torch.testing.assert_close(
            model.backbone(input_ids=ids).last_hidden_state, language_model.base_model(input_ids=ids).last_hidden_state
        )


class TestOwnForm:
    @pytest.mark.parametrize("architecture", ["llama", "bert"])
    def test_mean_pooling_averages_real_tokens_and_survives_saving(self, tmp_path, architecture):
        base = tiny.tiny_language_model_folder(tmp_path / "base", architecture)
        model = reward_model_from(base, seed=0, pooling="mean", device="cpu")
        batch = batch_for(model)
        for row, sequence in enumerate(SEQUENCES):
            ids = torch.tensor([sequence.prompt_ids + sequence.response_ids])
            state = model.backbone(input_ids=ids).last_hidden_state[0].mean(0)
            torch.testing.assert_close(model.score(batch)[row], model.head(state)[0])
        model.save(tmp_path / "reward")
        again = load_reward_model(tmp_path / "reward", device="cpu")
        assert again.pooling == "mean"
        torch.testing.assert_close(again.score(batch), model.score(batch))

    def test_it_does_not_pose_as_a_portable_folder(self, tmp_path):
        base = tiny.tiny_language_model_folder(tmp_path / "base")
        reward_model_from(base, seed=0, pooling="mean", device="cpu").save(tmp_path / "reward")
        with pytest.raises((OSError, ValueError)):
            transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward")


class TestValues:
    @pytest.mark.parametrize("pooling", ["last", "mean"])
    def test_value_is_the_score_of_the_text_before_the_token(self, folder, pooling):
        model = reward_model_from(folder, seed=0, pooling=pooling, device="cpu")
        value_BT = model.values(batch_for(model))
        for row, sequence in enumerate(SEQUENCES):
            for column in range(len(sequence.response_ids)):
                before = TokenSequence(sequence.prompt_ids, sequence.response_ids[:column])
                expected = model.score(batch_for(model, [before]))[0]
                torch.testing.assert_close(value_BT[row, column], expected, rtol=1e-5, atol=1e-5)
            assert not value_BT[row, len(sequence.response_ids) :].any()

    def test_encoder_has_none(self, tmp_path):
        model = reward_model_from(tiny.tiny_language_model_folder(tmp_path, "bert"), seed=0, device="cpu")
        with pytest.raises(ModelError, match="bert model reads a whole answer at once"):
            model.values(batch_for(model))

    def test_value_head_is_zero_at_first_whatever_the_state(self):
        assert not ValueHead(4)(torch.full((3, 4), 100.0)).any()


class TestCritic:
    def test_normaliser_is_folded_into_the_head(self, folder, tmp_path):
        model = reward_model_from(folder, seed=0, device="cpu")
        model.save(tmp_path / "reward")
        critic = critic_of(tmp_path / "reward")
        batch = batch_for(model)
        expected = ((model.values(batch) - 2.0) / 0.5).where(batch.response_mask_BT, 0.0)
        torch.testing.assert_close(critic.values(batch), expected)

    def test_zeroed_head_starts_at_zero_and_learns(self, folder, tmp_path):
        model = reward_model_from(folder, seed=0, device="cpu")
        model.save(tmp_path / "reward")
        critic = critic_of(tmp_path / "reward", zero_head=True)
        values = critic.values(batch_for(model))
        assert not values.any()
        values.sum().backward()
        assert critic.head.weight.grad.any()


def test_frozen_backbone_leaves_the_head_to_train(folder):
    model = reward_model_from(folder, seed=0, device="cpu")
    model.freeze_backbone(True)
    assert [name for name, weight in model.named_parameters() if weight.requires_grad] == ["head.weight"]
    model.freeze_backbone(False)
    assert all(weight.requires_grad for weight in model.parameters())


def test_normaliser_travels_beside_the_model(tmp_path):
    assert RewardNormaliser.load(tmp_path) == RewardNormaliser(0.0, 1.0)
    RewardNormaliser(1.5, 0.25).save(tmp_path)
    assert RewardNormaliser.load(tmp_path) == RewardNormaliser(1.5, 0.25)


def test_how_the_scale_was_measured_is_recorded_with_it_and_a_folder_without_the_record_is_read(folder, tmp_path):
    model = reward_model_from(folder, seed=0, device="cpu", dtype="bfloat16_autocast", eos_token=50)
    RewardNormaliser.measured(torch.tensor([1.0, 3.0]), model).save(tmp_path)
    how = {"dtype": "bfloat16_autocast", "device": "cpu", "eos_ids": [50]}
    assert RewardNormaliser.load(tmp_path) == RewardNormaliser(2.0, pytest.approx(2**0.5), how)
    (tmp_path / "kleash_reward.json").write_text('{"mean": 1.5, "sd": 0.25}')
    assert RewardNormaliser.load(tmp_path) == RewardNormaliser(1.5, 0.25, {})


def test_what_ended_texts_when_the_scale_was_measured_ends_them_ever_after(folder, tmp_path):
    reward = tmp_path / "reward"
    reward_model_from(folder, seed=0, device="cpu", eos_token=50).save(reward)
    assert load_reward_model(reward, device="cpu").eos_ids == (50,), "the folder's own"
    assert load_reward_model(reward, device="cpu", eos_token=60).eos_ids == (60,)
    assert load_reward_model(reward, device="cpu", eos_token="<|a stranger's|>").eos_ids == (50,)
    RewardNormaliser(1.5, 0.25, {"eos_ids": [70, 2]}).save(reward)
    assert load_reward_model(reward, device="cpu", eos_token=60).eos_ids == (70, 2)


class TestErrors:
    def test_language_model_is_no_reward_model(self, folder):
        with pytest.raises(ModelError, match=r"lacks 1 weights .* \(score.weight\)"):
            load_reward_model(folder, device="cpu")

    def test_several_labels(self, tmp_path):
        with pytest.raises(ModelError, match=r"has 3 labels\. Expected 1"):
            load_reward_model(classifier_folder(tmp_path, "llama", num_labels=3), device="cpu")

    def test_encoder_classifier(self, tmp_path):
        with pytest.raises(ModelError, match="is a BertForSequenceClassification, whose head is not one linear layer"):
            load_reward_model(classifier_folder(tmp_path, "bert"), device="cpu")

    def test_batch_longer_than_the_positions(self, tmp_path):
        model = reward_model_from(tiny.tiny_language_model_folder(tmp_path), seed=0, device="cpu")
        with pytest.raises(ModelError, match=r"has 257 tokens\. Expected at most 256"):
            model.score(batch_for(model, [TokenSequence((1,), (5,) * 256)]))

    def test_damaged_own_folder(self, tmp_path):
        (tmp_path / "kleash_head.json").write_text(json.dumps({"pooling": "mean"}))
        with pytest.raises(ModelError, match=r"There is no model folder .*backbone"):
            load_reward_model(tmp_path, device="cpu")


def test_a_tokenizer_with_more_tokens_than_the_reward_model_has_rows_is_refused(tmp_path):
    base = tiny.tiny_language_model_folder(tmp_path / "base")
    reward_model_from(base, seed=0, device="cpu").save(tmp_path / "reward")
    larger = tiny.tiny_tokenizer()
    larger.add_tokens([f"<extra_{number}>" for number in range(20)])
    for folder in (base, tmp_path / "reward"):
        larger.save_pretrained(folder)
    with pytest.raises(ModelError, match=r"tokenizer in .*reward has 396 tokens.* embedding 376 rows.* Use the tok"):
        load_reward_model(tmp_path / "reward", device="cpu")
    with pytest.raises(ModelError, match=r"tokenizer in .*base has 396 tokens"):
        reward_model_from(base, seed=0, device="cpu")
