import math

import pytest
import torch

from kleash.errors import SettingsError, ShapeError
from kleash.maths.preference_losses import dpo_loss, ipo_loss, kto_baseline, kto_loss


def numbers(seed: int) -> torch.Tensor:
    return torch.randn(6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def labels() -> torch.Tensor:
    return torch.tensor([1.0, 0.0, 0.5, 2 / 3, 0.9, 1.0], dtype=torch.float64)


ZERO = torch.zeros(6, dtype=torch.float64)


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_losses_at_initialisation():
    assert (dpo_loss(ZERO, ZERO, beta=0.1).total / 6).item() == pytest.approx(math.log(2))
    assert (ipo_loss(ZERO, ZERO, tau=0.1).total / 6).item() == pytest.approx(25.0)
    is_desirable = torch.tensor([True, False] * 3)
    assert (kto_loss(ZERO, is_desirable, beta=0.1, baseline=0.0).total / 6).item() == pytest.approx(0.5)


def test_dpo_matches_a_loop():
    chosen, rejected = numbers(1), numbers(2)
    loss = dpo_loss(chosen, rejected, beta=0.4, label_N=labels())
    total = 0.0
    for c, r, share in zip(chosen.tolist(), rejected.tolist(), labels().tolist(), strict=True):
        h = 0.4 * (c - r)
        total += share * softplus(-h) + (1 - share) * softplus(h)
    assert loss.total.item() == pytest.approx(total)
    assert loss.count.item() == 6
    torch.testing.assert_close(loss.chosen_reward_N, 0.4 * chosen)
    torch.testing.assert_close(loss.rejected_reward_N, 0.4 * rejected)


@pytest.mark.parametrize("settings", [{}, {"label_smoothing": 0.1}, {"label_smoothing": 0.1, "robust": True}])
def test_swapping_answers_and_labels_changes_nothing(settings):
    chosen, rejected = numbers(1), numbers(2)
    forward = dpo_loss(chosen, rejected, beta=0.4, label_N=labels(), **settings)
    backward = dpo_loss(rejected, chosen, beta=0.4, label_N=1 - labels(), **settings)
    torch.testing.assert_close(forward.total, backward.total)
    torch.testing.assert_close(
        ipo_loss(chosen, rejected, tau=0.2, label_N=labels()).total,
        ipo_loss(rejected, chosen, tau=0.2, label_N=1 - labels()).total,
    )


def test_the_robust_loss_under_flips_is_the_clean_loss_on_average():
    chosen, rejected, flips = numbers(1), numbers(2), 0.2
    right = dpo_loss(chosen, rejected, beta=0.4, label_smoothing=flips, robust=True).total
    wrong = dpo_loss(chosen, rejected, beta=0.4, label_smoothing=flips, robust=True, label_N=ZERO).total
    clean = dpo_loss(chosen, rejected, beta=0.4).total
    torch.testing.assert_close((1 - flips) * right + flips * wrong, clean)


def test_learning_separates_the_answers():
    chosen, rejected = ZERO.clone().requires_grad_(), ZERO.clone().requires_grad_()
    for loss in (dpo_loss(chosen, rejected, beta=0.1), ipo_loss(chosen, rejected, tau=0.1)):
        up, down = torch.autograd.grad(loss.total, (chosen, rejected))
        assert (up < 0).all()
        assert (down > 0).all()


@pytest.mark.parametrize("value", [-0.1, 0.5])
def test_smoothing_out_of_range_is_refused(value):
    with pytest.raises(SettingsError, match=r"label_smoothing is .*, expected from 0 to below \.5\. Set the share"):
        dpo_loss(ZERO, ZERO, beta=0.1, label_smoothing=value)


def test_ipo_is_satisfied_at_its_target_gap():
    chosen = torch.full((6,), 2.5, dtype=torch.float64, requires_grad=True)
    loss = ipo_loss(chosen, ZERO, tau=0.2)
    assert loss.total.item() == 0.0
    assert not torch.autograd.grad(loss.total, chosen)[0].any()


def test_ipo_by_length_is_ipo_on_averages():
    chosen, rejected = numbers(1), numbers(2)
    lengths = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], dtype=torch.float64)
    by_length = ipo_loss(chosen, rejected, tau=0.2, chosen_length_N=lengths, rejected_length_N=lengths + 1)
    torch.testing.assert_close(by_length.total, ipo_loss(chosen / lengths, rejected / (lengths + 1), tau=0.2).total)


def test_ipo_refuses_half_a_pair_of_lengths_and_a_tau_of_zero():
    with pytest.raises(ShapeError, match=r"Only one of the two lengths was given, expected both or none\. Pass"):
        ipo_loss(ZERO, ZERO, tau=0.1, chosen_length_N=ZERO)
    with pytest.raises(SettingsError, match=r"tau is 0\.0, expected a positive number\. Set \.1"):
        ipo_loss(ZERO, ZERO, tau=0.0)


def test_kto_matches_a_loop():
    logratio, is_desirable = numbers(1), torch.tensor([True, False, False, True, True, False])
    loss = kto_loss(logratio, is_desirable, beta=0.3, baseline=0.7, weight_desirable=1.3, weight_undesirable=0.8)
    total = 0.0
    for r, good in zip(logratio.tolist(), is_desirable.tolist(), strict=True):
        sigmoid = 1 / (1 + math.exp(-0.3 * (r - 0.7) * (1 if good else -1)))
        total += (1.3 if good else 0.8) * (1 - sigmoid)
    assert loss.total.item() == pytest.approx(total)
    assert loss.count.item() == 6
    torch.testing.assert_close(loss.reward_N, 0.3 * logratio)


def test_kto_raises_the_good_lowers_the_bad_and_leaves_its_baseline_alone():
    logratio, baseline = ZERO.clone().requires_grad_(), torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    loss = kto_loss(logratio, torch.tensor([True, False] * 3), beta=0.1, baseline=baseline)
    gradient, none = torch.autograd.grad(loss.total, (logratio, baseline), allow_unused=True)
    assert (gradient[::2] < 0).all()
    assert (gradient[1::2] > 0).all()
    assert none is None


def test_kto_baseline_is_a_mean_above_zero():
    assert kto_baseline(6.0, 4) == 1.5
    assert kto_baseline(torch.tensor(6.0, requires_grad=True), torch.tensor(4)) == 1.5
    assert kto_baseline(-6.0, 4) == 0.0
    assert kto_baseline(0.0, 0) == 0.0


def test_misfits_are_refused():
    with pytest.raises(ShapeError, match="rejected_logratio_N has shape"):
        dpo_loss(ZERO, ZERO[:5], beta=0.1)
    with pytest.raises(ShapeError, match="label_N has shape"):
        ipo_loss(ZERO, ZERO, tau=0.1, label_N=ZERO[:5])
