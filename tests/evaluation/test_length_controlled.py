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
    # The bounds are drawn at random: a win more and a loss more at equal length have weights of their own.
    assert there.low == pytest.approx(1 - back.high, abs=0.01)


def test_the_unit_of_length_makes_no_difference():
    wins_N, difference_N = simulated(300, quality=0.4, liking=1.0)
    assert length_controlled_win_rate(wins_N, difference_N) == length_controlled_win_rate(wins_N, 4 * difference_N)


@pytest.mark.parametrize("how", ["500 +- 50", "500 +- 1", "500", "one of 100 shorter"])
def test_where_one_side_is_always_longer_the_interval_says_that_nothing_is_known(how):
    rng = np.random.default_rng(0)
    won_N = rng.permutation([1.0] * 80 + [0.0] * 20)
    longer_N = {
        "500 +- 50": rng.normal(500, 50, size=100),
        "500 +- 1": rng.normal(500, 1, size=100),
        "500": np.full(100, 500.0),
        "one of 100 shorter": np.append(rng.normal(500, 50, size=99), -500.0),
    }[how]
    found = length_controlled_win_rate(won_N, longer_N)
    assert found.low < 0.8 < found.high
    assert found.high - found.low > 0.5
    if how != "one of 100 shorter":
        assert found.value == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("lengths", [[0.0], [3.0], [-800.0]])
@pytest.mark.parametrize("won", [0.0, 0.5, 1.0])
def test_one_comparison_leaves_the_rate_open(won, lengths):
    found = length_controlled_win_rate([won], lengths)
    assert found.low <= found.value <= found.high
    assert found.high - found.low > 0.5


def test_who_won_everything_may_have_won_less():
    found = length_controlled_win_rate([1.0] * 8, [3.0, -4.0, 10.0, -2.0, 5.0, -6.0, 1.0, -1.0])
    assert found.low < 0.7
    assert found.value > 0.95


def test_difficulty_that_goes_with_length_is_taken_out():
    """Hard prompts are lost and answered briefly: without their difficulty, length is blamed for it."""
    rng = np.random.default_rng(5)
    hard_N = rng.normal(size=3000)
    difference_N = rng.normal(-100 - 80 * hard_N, 60)
    covariate_N = np.tanh(difference_N / difference_N.std(ddof=1))
    won_N = 1 / (1 + np.exp(-(-1.0 + 1.0 * covariate_N - 1.5 * hard_N)))
    true = (1 / (1 + np.exp(-(-1.0 - 1.5 * hard_N)))).mean()
    with_it = length_controlled_win_rate(won_N, difference_N, difficulty=hard_N)
    assert with_it.value == pytest.approx(true, abs=0.005)
    assert with_it.low < true < with_it.high
    assert abs(length_controlled_win_rate(won_N, difference_N).value - true) > 0.05
    other_scale = length_controlled_win_rate(won_N, difference_N, difficulty=3 + 10 * hard_N)
    assert other_scale.value == pytest.approx(with_it.value, abs=1e-6)


def test_what_was_not_judged_is_refused():
    with pytest.raises(DataError, match="not finite"):
        length_controlled_win_rate([1.0, float("nan")], [3.0, 4.0])
    with pytest.raises(DataError, match="2 scores and 2 length differences and 1 difficulties"):
        length_controlled_win_rate([1.0, 0.0], [3.0, 4.0], difficulty=[1.0])


def test_scores_without_their_lengths_are_refused():
    with pytest.raises(DataError, match="2 scores and 1 length differences, expected as many of each"):
        length_controlled_win_rate([1.0, 0.0], [3.0])
    with pytest.raises(DataError, match="0 scores"):
        length_controlled_win_rate([], [])
