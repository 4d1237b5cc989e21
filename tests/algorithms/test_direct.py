"""The table of offline algorithms: what each row hands to its loss."""

import math

import pytest
import torch

from kleash.algorithms.direct import DIRECT_ALGORITHMS, DirectLossSettings, LabelledInputs, PairInputs


def inputs(chosen, rejected, *, lengths=(1, 1), label=1.0):
    return PairInputs(
        torch.tensor([chosen]),
        torch.tensor([rejected]),
        torch.tensor([float(lengths[0])]),
        torch.tensor([float(lengths[1])]),
        torch.tensor([label]),
    )


def loss(name, given, **settings):
    return float(DIRECT_ALGORITHMS[name].pair_loss(given, DirectLossSettings(**settings)).total)


def test_dpo_by_hand():
    assert loss("dpo", inputs(0.0, 0.0)) == pytest.approx(math.log(2))
    assert loss("dpo", inputs(2.0, -1.0), beta=0.5) == pytest.approx(math.log(1 + math.exp(-1.5)))


def test_dpo_takes_the_share_of_votes_for_a_label():
    agreed, disagreed = loss("dpo", inputs(2.0, -1.0)), loss("dpo", inputs(-1.0, 2.0))
    assert loss("dpo", inputs(2.0, -1.0, label=0.75)) == pytest.approx(0.75 * agreed + 0.25 * disagreed)


def test_dpo_smoothing_pulls_towards_the_flipped_label():
    agreed, disagreed = loss("dpo", inputs(2.0, -1.0)), loss("dpo", inputs(-1.0, 2.0))
    smoothed = loss("dpo", inputs(2.0, -1.0), label_smoothing=0.1)
    assert smoothed == pytest.approx(0.9 * agreed + 0.1 * disagreed)
    robust = loss("dpo", inputs(2.0, -1.0), label_smoothing=0.1, robust=True)
    assert robust == pytest.approx((0.9 * agreed - 0.1 * disagreed) / 0.8)


def test_ipo_aims_at_a_margin():
    assert loss("ipo", inputs(0.0, 0.0), tau=0.5) == pytest.approx(1.0)
    assert loss("ipo", inputs(1.5, 0.5), tau=0.5) == pytest.approx(0.0, abs=1e-7)


def test_ipo_per_token_divides_each_side_by_its_own_length():
    averaged = loss("ipo", inputs(4.0, 6.0, lengths=(2, 3)), tau=0.25, ipo_average="mean")
    assert averaged == pytest.approx((2.0 - 2.0 - 2.0) ** 2)
    assert loss("ipo", inputs(4.0, 6.0, lengths=(2, 3)), tau=0.25) == pytest.approx((-2.0 - 2.0) ** 2)


def test_kto_learns_from_single_answers_by_hand():
    thumbs = LabelledInputs(torch.tensor([1.0, 3.0]), torch.tensor([True, False]), baseline=1.0)
    found = DIRECT_ALGORITHMS["kto"].labelled_loss(thumbs, DirectLossSettings(beta=0.5, weight_undesirable=2.0))
    assert float(found.total) == pytest.approx(0.5 + 2 / (1 + math.exp(-1.0)))


def test_rows_stand_under_their_names():
    assert all(name == row.name and row.source for name, row in DIRECT_ALGORITHMS.items())
