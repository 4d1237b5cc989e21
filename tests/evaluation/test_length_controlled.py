"""Length-controlled win rates: what they are when length decides everything, nothing, or half."""

import numpy as np
import pytest

from kleash.errors import DataError
from kleash.evaluation.length_controlled import length_controlled_win_rate


def simulated(num_prompts, *, quality, liking, seed=0):
    """Draw verdicts of a judge that likes quality and length, both in logits."""
    rng = np.random.default_rng(seed)
    difference_N = rng.normal(40, 60, size=num_prompts)
    wins_N = rng.random(num_prompts) < 1 / (1 + np.exp(-quality - liking * np.tanh(difference_N / difference_N.std())))
    return wins_N.astype(float), difference_N


def test_where_length_says_nothing_it_is_the_raw_rate():
    found = length_controlled_win_rate([1.0] * 60 + [0.0] * 30 + [0.5] * 10, [7.0] * 100)
    assert found.value == pytest.approx(0.65, abs=0.001)
    assert found.low < 0.65 < found.high
    assert found.n == 100


def test_a_policy_that_is_only_longer_loses_its_lead():
    wins_N, difference_N = simulated(2000, quality=0.0, liking=2.0)
    assert wins_N.mean() > 0.6
    found = length_controlled_win_rate(wins_N, difference_N)
    assert found.low < 0.5 < found.high


def test_quality_is_found_under_a_liking_for_length():
    wins_N, difference_N = simulated(4000, quality=1.0, liking=-1.5, seed=1)
    found = length_controlled_win_rate(wins_N, difference_N)
    assert found.low < 1 / (1 + np.exp(-1.0)) < found.high
    assert found.high - found.low < 0.06


def test_to_swap_the_policies_swaps_the_rate():
    wins_N, difference_N = simulated(300, quality=0.4, liking=1.0)
    there, back = (
        length_controlled_win_rate(wins_N, difference_N),
        length_controlled_win_rate(1 - wins_N, -difference_N),
    )
    assert there.value == pytest.approx(1 - back.value, abs=1e-6)
    assert there.low == pytest.approx(1 - back.high, abs=1e-6)


def test_the_unit_of_length_makes_no_difference():
    wins_N, difference_N = simulated(300, quality=0.4, liking=1.0)
    assert length_controlled_win_rate(wins_N, difference_N) == length_controlled_win_rate(wins_N, 4 * difference_N)


def test_scores_without_their_lengths_are_refused():
    with pytest.raises(DataError, match="2 scores and 1 length differences, expected as many of each"):
        length_controlled_win_rate([1.0, 0.0], [3.0])
    with pytest.raises(DataError, match="0 scores"):
        length_controlled_win_rate([], [])
