import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kleash.errors import ShapeError
from kleash.maths.masked import (
    Moments,
    last_counted,
    masked_mean,
    masked_moments,
    masked_sum,
    select,
    whiten,
    whiten_with,
)

X_BT = torch.tensor([[1.0, 2.0, 9.0], [4.0, 9.0, 9.0]], dtype=torch.float64)
MASK_BT = torch.tensor([[True, True, False], [True, False, False]])
NUMBERS = st.lists(st.floats(-1e3, 1e3), max_size=8)


def moments_of(values: list[float]) -> Moments:
    x = torch.tensor(values, dtype=torch.float64)
    return masked_moments(x, torch.ones_like(x, dtype=torch.bool))


def of_two_ranks(first: Moments, second: Moments) -> Moments:
    """What the first of two ranks comes to."""
    total: dict[str, float] = {}

    def sum_across_ranks(figures):
        if "count" in figures:
            total["count"], total["sum"] = figures["count"] + second.count, figures["sum"] + second.count * second.mean
            return total
        gap = second.mean - total["sum"] / total["count"]
        return {"square": figures["square"] + second.squared_deviation + second.count * gap**2}

    return first.merged(sum_across_ranks)


def test_sums_and_means_by_hand():
    assert masked_sum(X_BT, MASK_BT).item() == 7.0
    assert masked_sum(X_BT, MASK_BT, dim=1).tolist() == [3.0, 4.0]
    assert masked_mean(X_BT, MASK_BT).item() == pytest.approx(7 / 3)
    assert masked_mean(X_BT, MASK_BT, dim=1).tolist() == [1.5, 4.0]
    assert select(X_BT, MASK_BT, fill=-1.0).tolist() == [[1.0, 2.0, -1.0], [4.0, -1.0, -1.0]]


def test_mask_of_another_shape_is_refused():
    with pytest.raises(ShapeError, match="mask_BT has shape"):
        masked_sum(X_BT, MASK_BT[:, :2])


def test_last_counted_ignores_gaps_and_empty_rows():
    mask = torch.tensor([[1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]], dtype=torch.bool)
    assert last_counted(mask).long().tolist() == [[0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]]


def test_moments_by_hand():
    moments = masked_moments(X_BT, MASK_BT)
    assert (moments.count, moments.mean) == (3.0, pytest.approx(7 / 3))
    assert moments.variance() == pytest.approx(14 / 9)
    assert moments.variance(ddof=1) == pytest.approx(7 / 3)
    assert moments.sd() == pytest.approx(math.sqrt(14 / 9))


def test_variance_of_too_little_is_zero():
    assert moments_of([]) == Moments()
    assert moments_of([5.0]).variance(ddof=1) == 0.0


@given(NUMBERS, NUMBERS)
def test_merged_moments_are_the_moments_of_all(first, second):
    merged, whole = of_two_ranks(moments_of(first), moments_of(second)), moments_of(first + second)
    assert merged.count == whole.count
    assert merged.mean == pytest.approx(whole.mean, rel=1e-9, abs=1e-9)
    assert merged.squared_deviation == pytest.approx(whole.squared_deviation, rel=1e-9, abs=1e-6)


def test_merging_does_not_cancel_far_from_zero():
    merged = of_two_ranks(moments_of([1e9, 1e9 + 2]), moments_of([1e9 + 4]))
    assert merged.variance() == pytest.approx(8 / 3)


def test_whiten_matches_a_loop_over_what_counts():
    counted = [1.0, 2.0, 4.0]
    mean = sum(counted) / 3
    sd = math.sqrt(sum((c - mean) ** 2 for c in counted) / 3 + 1e-8)
    white = whiten(X_BT, MASK_BT)
    assert white[MASK_BT].tolist() == pytest.approx([(c - mean) / sd for c in counted])
    kept = whiten(X_BT, MASK_BT, shift_mean=False)
    assert kept[MASK_BT].tolist() == pytest.approx([(c - mean) / sd + mean for c in counted])
    assert not white[~MASK_BT].any()
    assert not kept[~MASK_BT].any()


def test_whitening_in_parts_with_merged_moments_is_whitening_at_once():
    parts = [(X_BT[:1], MASK_BT[:1]), (X_BT[1:], MASK_BT[1:])]
    moments = of_two_ranks(*(masked_moments(x, mask) for x, mask in parts))
    together = torch.cat([whiten_with(x, mask, moments) for x, mask in parts])
    torch.testing.assert_close(together, whiten(X_BT, MASK_BT))


def test_whitening_ignores_unit_padding_and_order():
    white = whiten(X_BT, MASK_BT)
    torch.testing.assert_close(whiten(100 * X_BT + 7, MASK_BT), white, rtol=1e-6, atol=1e-6)
    padded, padded_mask = torch.nn.functional.pad(X_BT, (0, 2)), torch.nn.functional.pad(MASK_BT, (0, 2))
    torch.testing.assert_close(whiten(padded, padded_mask)[:, :3], white)
    for rows in itertools.permutations(range(2)):
        torch.testing.assert_close(whiten(X_BT[list(rows)], MASK_BT[list(rows)]), white[list(rows)])


def test_equal_values_whiten_to_zero_not_nan():
    assert not whiten(torch.full((2, 3), 0.25), MASK_BT).any()
