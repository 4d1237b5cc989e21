"""How one token is chosen: by hand, by frequency, and at the edges of the unit interval."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from transformers import TopKLogitsWarper, TopPLogitsWarper

from kleash.rollout.choosing import Among, choose, uniforms

ALMOST_ONE = 1 - 2.0**-53


def choose_one(probabilities, uniform, temperature=1.0):
    logits_BV = torch.tensor([probabilities]).log()
    token_B, logprob_B = choose(logits_BV, torch.tensor([uniform], dtype=torch.float64), temperature=temperature)
    return int(token_B), float(logprob_B)


@pytest.mark.parametrize(("uniform", "token"), [(0.0, 0), (0.49, 0), (0.51, 1), (0.74, 1), (0.76, 2), (ALMOST_ONE, 2)])
def test_the_unit_interval_is_shared_out_by_probability(uniform, token):
    probabilities = [0.5, 0.25, 0.25]
    assert choose_one(probabilities, uniform) == (token, pytest.approx(np.log(probabilities[token])))


@pytest.mark.parametrize("uniform", [0.0, 0.5, ALMOST_ONE])
def test_a_token_of_probability_zero_is_never_chosen(uniform):
    token, logprob = choose_one([0.0, 1.0, 0.0, 0.0], uniform)
    assert (token, logprob) == (1, 0.0)


def test_the_last_instant_belongs_to_the_last_possible_token_whatever_the_rounding():
    logits_BV = torch.randn(200, 500, generator=torch.Generator().manual_seed(0))
    logits_BV[:, 400:] = -torch.inf
    token_B, _ = choose(logits_BV, torch.full((200,), ALMOST_ONE, dtype=torch.float64), temperature=1.0)
    assert token_B.max() == 399


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_frequencies_are_the_softmax_at_the_temperature(temperature):
    num_draws = 20_000
    logits_V = torch.tensor([0.3, -torch.inf, 1.2, -0.7, 0.0, 2.0])
    uniform_B = uniforms(range(num_draws), 1)[:, 0]
    token_B, logprob_B = choose(logits_V.expand(num_draws, -1), uniform_B, temperature=temperature)
    probability_V = torch.softmax(logits_V / temperature, dim=0)
    torch.testing.assert_close(logprob_B, probability_V.log()[token_B])
    counts = torch.bincount(token_B, minlength=6).numpy()
    assert counts[1] == 0
    possible = probability_V.numpy().astype(float) > 0
    expected = probability_V.numpy().astype(float)[possible]
    assert chisquare(counts[possible], num_draws * expected / expected.sum()).pvalue > 0.01


def test_temperature_zero_takes_the_likeliest_token_and_reports_it_at_temperature_one():
    assert choose_one([0.2, 0.7, 0.1], 0.99, temperature=0) == (1, pytest.approx(np.log(0.7)))


@pytest.mark.parametrize(
    ("among", "kept"),
    [
        ({}, [0.1, 0.4, 0.3, 0.2]),
        ({"top_k": 2}, [0, 0.4, 0.3, 0]),
        ({"top_p": 0.7}, [0, 0.4, 0.3, 0]),
        ({"top_p": 0.71}, [0, 0.4, 0.3, 0.2]),
        ({"top_p": 0.01}, [0, 0.4, 0, 0]),
        ({"top_k": 3, "top_p": 0.75}, [0, 0.4, 0.3, 0]),  # .7 of the .9 that the three hold is enough
        ({"top_k": 9}, [0.1, 0.4, 0.3, 0.2]),
    ],
)
def test_the_likeliest_tokens_alone_are_chosen_from(among, kept):
    probability_BV = torch.tensor([[0.1, 0.4, 0.3, 0.2], [0.4, 0.1, 0.2, 0.3]], dtype=torch.float64)
    torch.testing.assert_close(Among(**among).kept(probability_BV)[0], torch.tensor(kept, dtype=torch.float64))
    num_draws = 4_000
    uniform_B = uniforms(range(num_draws), 1)[:, 0]
    logits_BV = probability_BV[:1].float().log().expand(num_draws, -1)
    token_B, logprob_B = choose(logits_BV, uniform_B, temperature=1.0, among=Among(**among))
    torch.testing.assert_close(logprob_B, logits_BV[0][token_B])
    expected, counts = np.array(kept), torch.bincount(token_B, minlength=4).numpy()
    assert set(counts[expected == 0]) <= {0}
    distance, limit = counts / num_draws - expected / expected.sum(), 4 * np.sqrt(0.25 / num_draws)
    assert np.abs(distance).max() < limit, "four standard errors"


def test_top_k_and_top_p_keep_the_tokens_that_hugging_face_keeps():
    logits_BV = 3 * torch.randn(20, 300, generator=torch.Generator().manual_seed(0))
    for top_k, top_p in ((5, 1.0), (None, 0.3), (40, 0.9)):
        scores_BV = logits_BV if top_k is None else TopKLogitsWarper(top_k)(None, logits_BV)
        theirs_BV = TopPLogitsWarper(top_p)(None, scores_BV) > -torch.inf
        ours_BV = Among(top_k, top_p).kept(torch.softmax(logits_BV, dim=-1)) > 0
        torch.testing.assert_close(ours_BV, theirs_BV)


def test_a_longer_draw_begins_with_a_shorter_one_and_no_two_seeds_agree():
    torch.testing.assert_close(uniforms([5, 6], 40)[:, :8], uniforms([5, 6], 8), rtol=0, atol=0)
    assert uniforms([5, 6], 8).unique().numel() == 16
