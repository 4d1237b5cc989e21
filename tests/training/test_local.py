"""The reference engine on a tiny model: log-probabilities, references, critics, micro-batches, exact resume."""

from dataclasses import replace

import pytest
import torch

from kleash.data.batches import TokenSequence
from kleash.models.causal_lm import load_language_model
from kleash.models.forward import sequence_logprobs
from kleash.rollout.local import LocalGenerator
from training.tiny_engine import PROMPTS, engine_of, generator_of, rollouts_of, state_of, train


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_samplings_log_probabilities_are_the_training_forwards(policy_folder, temperature, lora):
    """The fastest check of the whole path: the first ratio is 1 within 1e-4."""
    engine = engine_of(policy_folder, temperature=temperature, lora=lora)
    rollouts = rollouts_of(engine)
    logprob_BT, reference_BT, value_BT = engine.annotate(rollouts)
    assert value_BT is None
    ratio_N = (logprob_BT - reference_BT)[rollouts.mask_BT].exp()
    assert (ratio_N - 1).abs().max() < 1e-4  # the reference is the policy still, and is computed by a training forward
    assert rollouts.logprob_BT[rollouts.mask_BT].abs().min() > 0
    assert not reference_BT[~rollouts.mask_BT].any()


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_the_reference_stays_where_it_was(policy_folder, lora):
    engine = engine_of(policy_folder, lora=lora)
    rollouts = rollouts_of(engine)
    _, before_BT, _ = engine.annotate(rollouts)
    train(engine, name="rloo")
    _, after_BT, _ = engine.annotate(rollouts)
    torch.testing.assert_close(after_BT, before_BT, rtol=0, atol=0)
    moved_BT, _, _ = engine.annotate(rollouts_of(engine))
    assert (moved_BT.sum() - before_BT.sum()).abs() > 1e-3


def test_the_lora_reference_is_the_adapter_that_training_starts_from_and_not_the_bare_base(policy_folder, tmp_path):
    engine = engine_of(policy_folder, lora=True)
    rollouts = rollouts_of(engine)
    _, base_BT, _ = engine.annotate(rollouts)
    train(engine, name="rloo")
    engine.policy.save(tmp_path / "trained")
    later = engine_of(tmp_path / "trained", lora=True)
    fresh = rollouts_of(later)
    logprob_BT, reference_BT, _ = later.annotate(fresh)
    torch.testing.assert_close(logprob_BT, reference_BT, rtol=1e-4, atol=1e-4)  # cached decoding against a forward
    _, moved_BT, _ = later.annotate(rollouts)
    assert (moved_BT - base_BT).abs().max() > 1e-3
    assert later.policy.model is later.reference.model


@pytest.mark.parametrize("critic", ["separate", "shared"])
def test_values_are_the_critics_and_masked(policy_folder, critic):
    engine = engine_of(policy_folder, critic=critic, max_batch_tokens=20)
    rollouts = rollouts_of(engine)
    _, _, value_BT = engine.annotate(rollouts)
    assert not value_BT[~rollouts.mask_BT].any()
    if critic == "shared":
        assert not value_BT.any()  # a value head starts at zero
    else:
        whole = engine_of(policy_folder, critic=critic, max_batch_tokens=10**6)
        torch.testing.assert_close(whole.annotate(rollouts)[2], value_BT, rtol=1e-4, atol=1e-5)
        assert value_BT.any()


@pytest.mark.parametrize("critic", ["separate", "shared"])
def test_the_critic_learns_the_returns(policy_folder, critic):
    engine = engine_of(policy_folder, critic=critic)
    _, rows = train(engine, steps=6)
    assert rows[-1]["value_loss"] < rows[0]["value_loss"]
    assert {"policy_gradient_norm", "critic_gradient_norm"} <= rows[0].keys()


@pytest.mark.parametrize(("name", "critic"), [("ppo", "separate"), ("ppo", "shared"), ("grpo", None), ("rloo", None)])
def test_the_size_of_micro_batches_changes_nothing_but_rounding(policy_folder, name, critic):
    """Plain gradients, because Adam's first step is the sign of the gradient and would magnify rounding."""

    def gradients(max_batch_tokens):
        engine = engine_of(policy_folder, critic=critic, max_batch_tokens=max_batch_tokens)
        found = {}

        def record(optimiser, key):
            def step(*, learning_rate_share=1.0):
                found[key] = [
                    parameter.grad.clone() for parameter in optimiser.parameters if parameter.grad is not None
                ]
                for parameter in optimiser.parameters:
                    parameter.grad = None
                return {}

            return step

        for key, optimiser in engine.optimisers.items():
            optimiser.step = record(optimiser, key)
        train(engine, name=name, steps=1, minibatches=1)
        return found

    small, large = gradients(1), gradients(10**6)
    for key in small:
        torch.testing.assert_close(small[key], large[key], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("dtype", ["bfloat16_autocast", "bfloat16"])
def test_the_first_ratio_is_1_in_bfloat16_too(policy_folder, dtype, lora):
    """Old log-probabilities come from the micro-batches of the first update; `check_ratio` stops the run otherwise."""
    texts = [TokenSequence((5,), tuple(range(start, start + 12))) for start in (20, 60)]
    engine = engine_of(policy_folder, critic="separate", lora=lora, max_batch_tokens=48, loading={"dtype": dtype})
    _, rows = train(engine, steps=3, minibatches=2, texts=texts, pretraining_coefficient=0.1)
    assert len(rows) == 3
    assert rows[2]["ratio_max"] > 1.01, "after the first minibatch it moves"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16_autocast", "bfloat16"])
@pytest.mark.parametrize(("critic", "lora"), [("separate", False), ("shared", True), ("separate", True)])
def test_a_restored_engine_goes_on_bit_for_bit(policy_folder, critic, lora, dtype):
    def made():
        return engine_of(
            policy_folder, critic=critic, lora=lora, loading={"dtype": dtype, "gradient_checkpointing": lora}
        )

    engine, kept = made(), {}

    def keep(state):
        kept[state.step] = (state, state_of(engine), engine.snapshot()[1])

    final, rows = train(engine, steps=4, after_step=keep)
    state, tensors, plain = kept[2]
    other = made()
    other.restore(tensors, plain)
    final_again, rows_again = train(other, steps=4, state=state)
    assert final_again == final
    assert rows_again == rows[2:]
    ours, theirs = state_of(engine), state_of(other)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_weights_are_offered_under_hugging_face_names_with_adapters_merged(policy_folder):
    engine = engine_of(policy_folder, lora=True)
    train(engine, name="rloo", steps=1)
    names = dict(engine.named_weights())
    assert not any("lora" in name for name in names)
    elsewhere = LocalGenerator(load_language_model(policy_folder, device="cpu"), max_new_tokens=8, shares_weights=False)
    elsewhere.load_weights(engine.named_weights(), version=1)
    ours = generator_of(engine).generate(PROMPTS, samples_per_prompt=1, seed=9, policy_version=1)
    theirs = elsewhere.generate(PROMPTS, samples_per_prompt=1, seed=9, policy_version=1)
    assert ours.texts == theirs.texts
    torch.testing.assert_close(ours.logprob_BT, theirs.logprob_BT, rtol=1e-4, atol=1e-5)


def test_a_step_without_rows_moves_nothing(policy_folder):
    engine = engine_of(policy_folder)
    before = state_of(engine)
    assert engine.step([], lambda outputs, rows: outputs.logprob_BT.sum())["policy_gradient_norm"] == 0.0
    after = state_of(engine)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_gradient_of_the_likelihood_raises_it(policy_folder):
    engine = engine_of(policy_folder)
    texts = [TokenSequence((5, 6), (7, 8, 2)), TokenSequence((5,), (9, 2))]
    found = []

    def loss(outputs, rows):
        found.append(float(outputs.logprob_BT.detach().sum()))
        return -outputs.logprob_BT.sum()

    for _ in range(3):
        engine.step(texts, loss)
    assert found == sorted(found)


def texts_of(engine):
    encode = engine.policy.rendering.encode
    return [encode(PROMPTS[0], "the cat is happy"), encode(PROMPTS[1], "big")]


def test_texts_are_read_at_temperature_1_whatever_answers_are_sampled_at(policy_folder):
    """PPO-ptx keeps up the likelihood of texts, which is that of the model and not of a sharpened one."""
    engine = engine_of(policy_folder, critic="separate", temperature=0.5)
    texts = [replace(text, is_text=True) for text in texts_of(engine)]
    answers = list(rollouts_of(engine).sequences)
    plain, sharp = (engine_of(policy_folder, temperature=temperature) for temperature in (1.0, 0.5))
    rows, seen = [texts[0], *answers, texts[1]], {}
    for chosen in engine.micro_batches(rows):
        for outputs in engine.forward([rows[row] for row in chosen]):
            if outputs.logprob_BT is not None:
                seen |= dict(zip(chosen, outputs.logprob_BT.sum(dim=1).tolist(), strict=True))
            else:
                assert not {0, len(rows) - 1} & set(chosen), "the critic learns nothing from texts"
    for row, sequence in enumerate(rows):
        [expected] = sequence_logprobs(plain.policy, [sequence]).tolist()
        if not sequence.is_text:
            [outputs] = sharp.forward([sequence])
            expected = outputs.logprob_BT.sum().item()
        assert seen[row] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("texts", [False, True], ids=["alone", "with texts"])
def test_a_critics_warm_up_leaves_the_policy_alone_weight_decay_or_not(policy_folder, texts):
    engine = engine_of(policy_folder, critic="separate", weight_decay=0.5)
    before, kept = state_of(engine), texts_of(engine) if texts else ()
    _, rows = train(engine, steps=2, critic_warmup_steps=2, texts=kept, pretraining_coefficient=1.0)
    after = state_of(engine)
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("policy/"))
    assert any(not torch.equal(before[name], after[name]) for name in before if name.startswith("critic/"))
    assert not any(name.startswith("policy/adam") for name in after), "its moments begin with its own first step"
    assert (rows[0]["policy_learning_rate"], rows[0]["policy_gradient_norm"]) == (0.0, 0.0)
    assert rows[0]["critic_learning_rate"] > 0
