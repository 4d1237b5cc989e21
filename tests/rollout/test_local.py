"""The local generator: exact log-probabilities, answers that depend on nothing but seed and prompt, and its errors."""

from dataclasses import replace

import pytest
import torch

from kleash.data.batches import token_batch
from kleash.errors import DataError, ModelError, SettingsError
from kleash.models.causal_lm import LanguageModel
from kleash.models.rendering import Rendering
from kleash.records import Prompt
from kleash.rollout.local import LocalGenerator, SamplingSettings, answer_prompts

TEXTS = ["the cat sat", "hello", "what is the big red dog good for", "a", "the the the the", "two plus two is", "no"]
PROMPTS = [Prompt(text, {"length": str(len(text))}) for text in TEXTS]


def select_rows(rollouts, rows):
    """Return the given rows, in the given order, as rollouts of their own (columns are kept)."""
    index = torch.as_tensor(list(rows), dtype=torch.long)
    return replace(
        rollouts,
        prompts=tuple(rollouts.prompts[row] for row in rows),
        sequences=tuple(rollouts.sequences[row] for row in rows),
        texts=tuple(rollouts.texts[row] for row in rows),
        seeds=tuple(rollouts.seeds[row] for row in rows) if rollouts.seeds else (),
        logprob_BT=rollouts.logprob_BT[index],
        mask_BT=rollouts.mask_BT[index],
        is_finished_B=rollouts.is_finished_B[index],
    )


def generate(language_model, prompts=PROMPTS, *, samples=3, seed=0, **settings):
    generator = LocalGenerator(language_model, **{"max_new_tokens": 24, **settings})
    return generator.generate(prompts, samples_per_prompt=samples, seed=seed, policy_version=7)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox", "gemma2", "qwen2", "opt"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_are_those_of_the_training_forward(load_wordy, architecture, temperature):
    language_model = load_wordy(architecture)
    rollouts = generate(language_model, temperature=temperature)
    batch = token_batch(rollouts.sequences, pad_id=language_model.pad_id)
    with torch.no_grad():
        trained = language_model.response_outputs(batch, temperature=temperature)
    assert torch.equal(batch.response_mask_BT, rollouts.mask_BT)
    assert rollouts.logprob_BT.dtype == torch.float32
    ratio_BT = (trained.logprob_BT - rollouts.logprob_BT).exp()
    assert (ratio_BT - 1).abs().max() < 1e-4


def test_one_call_answers_prompts_as_the_generator_does(wordy):
    done = []
    sampling = SamplingSettings(max_new_tokens=9, temperature=0.7)
    rollouts = answer_prompts(
        wordy, PROMPTS, sampling, seed=5, samples_per_prompt=2, policy_id="policy-1", on_done=done.append
    )
    expected = generate(wordy, samples=2, seed=5, max_new_tokens=9, temperature=0.7)
    assert rollouts.sequences == expected.sequences
    assert torch.equal(rollouts.logprob_BT, expected.logprob_BT)
    assert (rollouts.policy_id, rollouts.temperature, sum(done)) == ("policy-1", 0.7, 2 * len(PROMPTS))


def test_a_prompt_may_fill_what_a_whole_answer_leaves_of_the_models_positions(wordy):
    assert SamplingSettings(max_prompt_tokens=20).prompt_room(wordy) == 20
    assert SamplingSettings(max_new_tokens=250).prompt_room(wordy) == wordy.max_positions - 250 == 6


def test_rows_are_in_the_callers_order_and_carry_where_they_came_from(wordy):
    rollouts = generate(wordy, policy_id="policy-1")
    assert rollouts.prompts == tuple(prompt for prompt in PROMPTS for _ in range(3))
    assert (rollouts.samples_per_prompt, rollouts.policy_version, rollouts.policy_id) == (3, 7, "policy-1")
    for prompt, sequence, text in zip(rollouts.prompts, rollouts.sequences, rollouts.texts, strict=True):
        assert list(sequence.prompt_ids) == wordy.tokenizer.encode(prompt.content)
        assert text == wordy.tokenizer.decode(sequence.response_ids, skip_special_tokens=True)
    ends = [sequence.response_ids[-1] in wordy.eos_ids for sequence in rollouts.sequences]
    assert rollouts.is_finished_B.tolist() == ends
    assert not rollouts.logprob_BT[~rollouts.mask_BT].any()
    assert len(set(rollouts.seeds)) == len(rollouts)


@pytest.mark.parametrize("max_batch_tokens", [1, 7 * 32])
def test_answers_do_not_depend_on_the_batch_size(wordy, max_batch_tokens):
    whole, split = generate(wordy), generate(wordy, max_batch_tokens=max_batch_tokens)
    assert split.sequences == whole.sequences
    assert split.seeds == whole.seeds
    torch.testing.assert_close(split.logprob_BT, whole.logprob_BT)


def test_answers_do_not_depend_on_the_order_of_the_prompts(wordy):
    order = [4, 2, 6, 0, 5, 1, 3]
    whole = generate(wordy)
    shuffled = generate(wordy, [PROMPTS[row] for row in order])
    expected = select_rows(whole, [3 * row + sample for row in order for sample in range(3)])
    assert shuffled.sequences == expected.sequences
    torch.testing.assert_close(shuffled.logprob_BT, expected.logprob_BT)


def test_answers_to_one_prompt_differ_by_sample_repeat_and_seed_and_a_prefix_of_samples_stays(wordy):
    twice = generate(wordy, [PROMPTS[0], PROMPTS[0]], samples=2)
    assert len({sequence.response_ids for sequence in twice.sequences}) == 4
    assert generate(wordy, PROMPTS[:1], samples=4).sequences[:2] == twice.sequences[:2]
    assert generate(wordy, seed=1).sequences != generate(wordy, seed=0).sequences


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_temperature_zero_is_greedy_search_as_transformers_does_it(load_wordy, architecture):
    language_model = load_wordy(architecture)
    tokenizer = language_model.tokenizer
    tokenizer.padding_side = "left"
    inputs = tokenizer(TEXTS, return_tensors="pt", padding=True, return_token_type_ids=False)
    expected = language_model.model.generate(
        **inputs, do_sample=False, max_new_tokens=24, eos_token_id=list(language_model.eos_ids), pad_token_id=0
    )[:, inputs["input_ids"].shape[1] :]
    rollouts = generate(language_model, temperature=0.0, samples=1)
    for row, sequence in enumerate(rollouts.sequences):
        assert list(sequence.response_ids) == expected[row, : len(sequence.response_ids)].tolist()
        assert not expected[row, len(sequence.response_ids) :].any()


def test_a_stream_joins_to_the_generated_text_and_cuts_no_character(load_wordy):
    model = load_wordy("llama")
    single_eos = LanguageModel(model.model, Rendering(model.tokenizer, (2,)))
    generator = LocalGenerator(single_eos, max_new_tokens=60)
    for seed in range(4):  # a random model writes random bytes, so most answers hold broken characters
        [text] = generator.generate(PROMPTS[:1], samples_per_prompt=1, seed=seed, policy_version=0).texts
        pieces = list(generator.stream(PROMPTS[0], seed=seed))
        assert "".join(pieces) == text
        assert len(pieces) > 5
        assert not any(piece.endswith("\N{REPLACEMENT CHARACTER}") for piece in pieces[:-1])


def test_an_answer_stops_at_the_models_last_position(wordy):
    prompt = Prompt("the " * 250)
    num_tokens = len(wordy.tokenizer.encode(prompt.content))
    rollouts = generate(wordy, [prompt], samples=20)
    longest = max(sequence.num_tokens for sequence in rollouts.sequences)
    assert wordy.max_positions - num_tokens < 24
    assert longest == wordy.max_positions


@pytest.mark.parametrize(("text", "found"), [("the " * 300, "301 tokens"), ("", "0 tokens")])
def test_a_prompt_without_room_for_an_answer_is_refused_by_name(wordy, text, found):
    with pytest.raises(DataError, match=rf"Prompt '{text[:20]}.* has {found}\. Expected between 1 and 255.* Shorten"):
        generate(wordy, [PROMPTS[0], Prompt(text)])


def test_nothing_asked_is_nothing_answered(wordy):
    rollouts = generate(wordy, [])
    assert len(rollouts) == 0
    assert rollouts.logprob_BT.shape == rollouts.mask_BT.shape == (0, 0)


@pytest.mark.parametrize("setting", [{"max_new_tokens": 0}, {"max_batch_tokens": 0}, {"temperature": -0.1}])
def test_settings_that_sample_nothing_are_refused(wordy, setting):
    with pytest.raises(SettingsError, match=r"cannot be sampled with .* Expected limits of at least 1 .* Correct"):
        LocalGenerator(wordy, **{"max_new_tokens": 5, **setting})


def test_a_generator_of_its_own_samples_from_the_weights_it_is_given(load_wordy):
    trained, stale = load_wordy("llama", seed=1), load_wordy("llama", seed=0)
    generator = LocalGenerator(stale, max_new_tokens=24, shares_weights=False)
    generator.load_weights(trained.named_weights(), version=3)
    rollouts = generator.generate(PROMPTS, samples_per_prompt=3, seed=0, policy_version=7)
    assert generator.version == 3
    assert rollouts.sequences == generate(trained).sequences
    assert rollouts.sequences != generate(load_wordy("llama", seed=0)).sequences


def test_a_generator_that_shares_its_weights_reads_none(wordy):
    generator = LocalGenerator(wordy, max_new_tokens=5)
    unread = iter([("lm_head.weight", torch.zeros(1))])
    generator.load_weights(unread, version=2)
    assert generator.version == 2
    assert next(unread)[0] == "lm_head.weight"


def test_weights_of_another_architecture_are_refused(load_wordy):
    generator = LocalGenerator(load_wordy("llama"), max_new_tokens=5, shares_weights=False)
    weights = dict(load_wordy("llama").named_weights())
    name, weight = next(iter(weights.items()))
    with pytest.raises(ModelError, match=r"has no such weight where the trained one has extra \(2,\)\. Expected"):
        generator.load_weights([("extra", torch.zeros(2))], version=1)
    with pytest.raises(ModelError, match=r"has the shape .* where the trained one has .*embed_tokens"):
        generator.load_weights([(name, weight[:1])], version=1)
    with pytest.raises(ModelError, match=r"gave no value for \d+ of the generator's weights, .* Load the generator"):
        generator.load_weights([(name, weight)], version=1)


def test_completions_hold_what_was_sampled(wordy):
    rollouts = generate(wordy, samples=1)
    for row, completion in enumerate(rollouts.completions()):
        assert completion.token_ids == rollouts.sequences[row].response_ids
        assert completion.prompt.slices == PROMPTS[row].slices
        assert replace(completion, logprobs=()).text == rollouts.texts[row]


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_what_is_sampled_is_as_surprising_as_the_distribution_says(wordy, temperature):
    """logprob + entropy has mean zero at each token, whatever came before: checks sampling and log-probs at once."""
    rollouts = generate(wordy, samples=60, temperature=temperature)
    batch = token_batch(rollouts.sequences, pad_id=wordy.pad_id)
    with torch.no_grad():
        entropy_BT = wordy.response_outputs(batch, temperature=temperature).entropy_BT
    excess_B = (rollouts.logprob_BT + entropy_BT).sum(dim=1)
    standard_error = excess_B.std() / len(excess_B) ** 0.5
    assert abs(excess_B.mean()) < 3 * standard_error
