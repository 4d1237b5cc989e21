"""Forwards over many sequences: order, slow twins, and the KL that four callers must agree on, in bfloat16 too."""

from statistics import fmean

import pytest
import torch

import tiny
from kleash.data.batches import TokenSequence
from kleash.maths.kl import kl_per_token
from kleash.models.causal_lm import load_language_model
from kleash.models.forward import kl_to_reference, rollout_outputs, sequence_logprobs, sequence_scores
from kleash.records import Prompt
from kleash.rollout.local import LocalGenerator
from kleash.training.local import LocalEngine

PROMPTS = [Prompt(text) for text in ("the cat", "what is the big red house", "a", "how are you", "one two three")]


class ScoresByFirstToken:
    """Stands in for a reward model: the score of a sequence is its first response token."""

    device, pad_id = torch.device("cpu"), 0

    def score(self, batch):
        return batch.ids_BS[torch.arange(len(batch.ids_BS)), batch.prompt_length_B].float()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two random language models: a policy and its reference."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("models")
    return [tiny.tiny_language_model_folder(folder / str(seed), seed=seed) for seed in (1, 2)]


def sampled(policy, *, temperature=1.0):
    generator = LocalGenerator(policy, max_new_tokens=24, temperature=temperature)
    return generator.generate(PROMPTS, samples_per_prompt=4, seed=3, policy_version=0)


@pytest.mark.parametrize("max_tokens", [None, 1, 12])
def test_scores_come_back_in_order_whatever_the_grouping(max_tokens):
    sequences = [TokenSequence((1,), (score, *[9] * (7 * score % 5))) for score in (5, 2, 8, 3)]
    assert sequence_scores(ScoresByFirstToken(), sequences, max_tokens=max_tokens).tolist() == [5.0, 2.0, 8.0, 3.0]
    assert sequence_scores(ScoresByFirstToken(), [], max_tokens=max_tokens).tolist() == []


def test_log_probabilities_and_kl_are_what_the_models_say_token_by_token(folders):
    policy, reference = (load_language_model(folder, device="cpu") for folder in folders)
    rollouts = sampled(policy, temperature=0.7)
    slow = {policy: [], reference: []}
    for sequence in rollouts.sequences:
        ids = torch.tensor([[*sequence.prompt_ids, *sequence.response_ids]])
        start = len(sequence.prompt_ids) - 1
        for model, sums in slow.items():
            with torch.no_grad():
                logprob_TV = (model.model(ids).logits[0] / 0.7).log_softmax(-1)
            sums.append(sum(logprob_TV[start + t, id].item() for t, id in enumerate(sequence.response_ids)))
    found = rollout_outputs(reference, rollouts, temperature=0.7, max_tokens=100).logprob_BT.sum(dim=1)
    assert found.tolist() == pytest.approx(slow[reference], abs=1e-4)
    expected = [a - b for a, b in zip(slow[policy], slow[reference], strict=True)]
    assert kl_to_reference(rollouts, policy, reference, max_tokens=100) == pytest.approx(expected, abs=2e-4)


def test_the_log_probability_of_a_response_is_the_sum_over_its_tokens_and_learns(folders):
    model = load_language_model(folders[0], device="cpu")
    rollouts = sampled(model)
    logprob_N = sequence_logprobs(model, rollouts.sequences)
    assert logprob_N.tolist() == pytest.approx(rollouts.logprob_BT.sum(dim=1).tolist(), abs=1e-4)
    logprob_N.sum().backward()
    assert next(iter(model.model.parameters())).grad.any()


class TestUnderBfloat16:
    def test_a_policy_with_the_references_weights_has_no_distance_to_it(self, folders):
        policy, reference = (load_language_model(folders[0], device="cpu", dtype="bfloat16_autocast") for _ in "ab")
        rollouts = sampled(policy)
        assert kl_to_reference(rollouts, policy, reference, max_tokens=100) == [0.0] * len(rollouts)
        forward_BT = rollout_outputs(policy, rollouts, temperature=1.0, max_tokens=100).logprob_BT
        assert not torch.equal(forward_BT, rollouts.logprob_BT), "cached decoding rounds as a forward does: no test"

    def test_evaluation_and_engine_measure_the_same_distance(self, folders):
        policy, reference = (load_language_model(one, device="cpu", dtype="bfloat16_autocast") for one in folders)
        rollouts = sampled(policy, temperature=0.7)
        engine = LocalEngine(policy, reference, None, optimisers={}, temperature=0.7, max_batch_tokens=100)
        logprob_BT, reference_BT, _ = engine.annotate(rollouts)
        by_engine = kl_per_token(logprob_BT, reference_BT, estimator="k1").sum(dim=1).tolist()
        by_evaluation = kl_to_reference(rollouts, policy, reference, max_tokens=100)
        assert by_evaluation == pytest.approx(by_engine, abs=1e-4)
        assert abs(fmean(by_evaluation)) > 1.0, "two random models are far from each other"
