import pytest
import torch

from kleash.errors import ShapeError
from kleash.maths.shapes import check_shapes


def test_equal_letters_have_equal_sizes():
    sizes = check_shapes("B T", first=torch.zeros(2, 3), second=torch.zeros(2, 3))
    assert sizes == {"B": 2, "T": 3}
    assert check_shapes("B", sizes, score_B=torch.zeros(2)) == sizes


def test_a_misfit_is_named_with_both_shapes_and_the_way_out():
    with pytest.raises(ShapeError) as caught:
        check_shapes("B T", logprob_BT=torch.zeros(2, 3), mask_BT=torch.zeros(2, 4))
    message = str(caught.value)
    assert "mask_BT has shape (2, 4)" in message
    assert "expected (B=2, T=3)" in message
    assert "Pass mask_BT with 2 dimension(s)" in message


def test_a_wrong_number_of_dimensions_is_refused_even_alone():
    with pytest.raises(ShapeError, match=r"score_B has shape \(2, 1\), expected \(B\)"):
        check_shapes("B", score_B=torch.zeros(2, 1))


def test_sizes_of_an_earlier_call_bind():
    with pytest.raises(ShapeError, match=r"score_B has shape \(3,\), expected \(B=2\)"):
        check_shapes("B", {"B": 2}, score_B=torch.zeros(3))
