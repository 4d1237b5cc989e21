import itertools
import math

import pytest
import torch

from kleash.errors import SettingsError, ShapeError
from kleash.maths.bradley_terry import (
    expected_calibration_error,
    normalise_reward,
    pair_loss,
    ranking_loss,
)


def numbers(seed: int, n: int = 6) -> torch.Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


LABEL_N = torch.tensor([1.0, 0.0, 0.5, 2 / 3, 0.9, 1.0], dtype=torch.float64)
MARGIN_N = torch.tensor([1.0, -1.0, 0.0, 1 / 3, 2 / 3, 0.0], dtype=torch.float64)


def test_a_pair_by_hand():
    loss = pair_loss(torch.tensor([math.log(3.0)]), torch.tensor([0.0]))
    assert loss.total.item() == pytest.approx(-math.log(0.75))
    assert loss.count.item() == 1


def test_pair_loss_matches_a_loop():
    chosen, rejected = numbers(1), numbers(2)
    weight = torch.tensor([1.0, 0.5, 0.5, 1.0, 0.25, 0.75], dtype=torch.float64)
    loss = pair_loss(
        chosen, rejected, label_N=LABEL_N, margin_N=MARGIN_N, smoothing=0.1, centring=0.01, weight_N=weight
    )
    total = 0.0
    for n in range(6):
        c, r, share = chosen[n].item(), rejected[n].item(), LABEL_N[n].item()
        d, share = c - r - MARGIN_N[n].item(), 0.9 * share + 0.1 * (1 - share)
        total += weight[n].item() * (share * softplus(-d) + (1 - share) * softplus(d) + 0.01 * (c + r) ** 2)
    assert loss.total.item() == pytest.approx(total)
    assert loss.count.item() == pytest.approx(4.0)


def test_pair_loss_knows_no_side_and_no_common_constant():
    chosen, rejected = numbers(1), numbers(2)
    loss = pair_loss(chosen, rejected, label_N=LABEL_N, margin_N=MARGIN_N, smoothing=0.1, centring=0.01)
    swapped = pair_loss(rejected, chosen, label_N=1 - LABEL_N, margin_N=-MARGIN_N, smoothing=0.1, centring=0.01)
    torch.testing.assert_close(loss.total, swapped.total)
    torch.testing.assert_close(pair_loss(chosen + 9, rejected + 9).total, pair_loss(chosen, rejected).total)


def test_pair_loss_pushes_apart_and_a_tie_pulls_together():
    chosen, rejected = torch.tensor([0.0, 1.0], requires_grad=True), torch.tensor([0.0, 0.0])
    (gradient,) = torch.autograd.grad(pair_loss(chosen, rejected, label_N=torch.tensor([1.0, 0.5])).total, chosen)
    assert gradient[0] < 0 < gradient[1]


def test_misfits_are_refused():
    for name in ("label_N", "margin_N", "weight_N"):
        with pytest.raises(ShapeError, match=f"{name} has shape"):
            pair_loss(numbers(1), numbers(2), **{name: torch.ones(5)})
    with pytest.raises(ShapeError, match="rank_K has shape"):
        ranking_loss(numbers(1), torch.ones(5))


@pytest.mark.parametrize("rank", [None, [3, 1, 2, 2, 5, 1]])
def test_a_ranking_is_the_mean_over_all_its_pairs(rank):
    reward = numbers(1)
    loss = ranking_loss(reward, None if rank is None else torch.tensor(rank), smoothing=0.1)
    terms = []
    for i, j in itertools.combinations(range(6), 2):
        share = 1.0 if rank is None else 0.5 if rank[i] == rank[j] else float(rank[i] < rank[j])
        d, share = (reward[i] - reward[j]).item(), 0.9 * share + 0.1 * (1 - share)
        terms.append(share * softplus(-d) + (1 - share) * softplus(d))
    assert loss.total.item() == pytest.approx(sum(terms) / 15)
    assert loss.count.item() == 1


def test_a_ranking_of_two_is_a_pair_and_order_is_free_with_ranks():
    reward, rank = numbers(1), torch.tensor([3, 1, 2, 2, 5, 1])
    torch.testing.assert_close(ranking_loss(reward[:2]).total, pair_loss(reward[:1], reward[1:2]).total)
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    torch.testing.assert_close(ranking_loss(reward[order], rank[order]).total, ranking_loss(reward, rank).total)


def test_one_answer_is_no_ranking():
    with pytest.raises(ShapeError, match=r"reward_K has 1 answer\(s\), expected at least 2 to rank\. Leave"):
        ranking_loss(torch.zeros(1))


def test_calibration_by_hand():
    confidence = torch.tensor([0.55, 0.6, 0.95, 0.85, 1.0], dtype=torch.float64)
    correct = torch.tensor([1.0, 0.0, 1.0, 1.0, 1.0])
    assert expected_calibration_error(confidence, correct, 5) == pytest.approx(0.4 * 0.075 + 0.6 * 0.2 / 3)


def test_calibration_matches_a_loop_and_ignores_order():
    confidence, correct = numbers(1, 50).sigmoid(), (numbers(2, 50) > 0).double()
    error = 0.0
    for k in range(10):
        inside = [n for n in range(50) if k / 10 < confidence[n].item() <= (k + 1) / 10]
        if inside:
            sure, right = (sum(x[n].item() for n in inside) / len(inside) for x in (confidence, correct))
            error += len(inside) / 50 * abs(sure - right)
    assert expected_calibration_error(confidence, correct, 10) == pytest.approx(error)
    assert expected_calibration_error(confidence.flip(0), correct.flip(0), 10) == pytest.approx(error)
    assert math.isnan(expected_calibration_error(torch.zeros(0), torch.zeros(0), 10))


def test_a_model_that_knows_its_doubts_is_calibrated():
    confidence = torch.full((10,), 0.7)
    assert expected_calibration_error(confidence, torch.tensor([1.0] * 7 + [0.0] * 3), 10) == pytest.approx(0, abs=1e-7)


def test_no_bins_are_refused():
    with pytest.raises(SettingsError, match=r"num_bins is 0, expected at least 1\. Set 10"):
        expected_calibration_error(torch.ones(2), torch.ones(2), 0)


def test_z_scores_are_clipped_and_counted():
    result = normalise_reward(torch.tensor([3.0, 1.0, -99.0, 99.0]), mean=1.0, sd=2.0, clip=5.0)
    assert result.reward_B.tolist() == [1.0, 0.0, -5.0, 5.0]
    assert result.is_clipped_B.tolist() == [False, False, True, True]


def test_a_reward_without_spread_cannot_be_normalised():
    with pytest.raises(SettingsError, match=r"standard deviation is 0\.0, expected a positive number\. Measure it"):
        normalise_reward(torch.ones(2), mean=1.0, sd=0.0)
