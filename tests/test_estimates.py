"""Measured figures: how they print, and what is read of a file."""

import pytest

from kleash.estimates import Estimate, Rate, estimate


def test_figures_print_as_people_read_them():
    assert str(Rate(0.82, 0.81, 0.83, 2000)).replace("\u202f", " ") == "82 % (81 to 83 %)"
    assert str(Estimate(0.5, 0.25, 0.75, 4)) == "0.500 (0.250 to 0.750)"
    assert str(Estimate(0.5)) == "0.500"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.5, Estimate(0.5)),
        ({"mean": 0.5, "n": 3}, Estimate(0.5, n=3)),
        ({"value": 0.5, "low": float("nan")}, Estimate(0.5)),
        (True, None),
        ("0.5", None),
        ({}, None),
    ],
)
def test_an_estimate_is_read_where_there_is_a_finite_number(value, expected):
    assert estimate(value) == expected
