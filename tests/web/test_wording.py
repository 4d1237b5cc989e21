"""Numbers as people read them."""

import math

import pytest

from kleash.web.wording import (
    count,
    duration,
    length_accuracy,
    length_alone,
    listing,
    number,
    number_range,
    percent,
    percent_range,
    points,
)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (number(-0.125, 2), "−0.12"),
        (number(-0.001), "0.00"),
        (number(0.5, signed=True), "+0.50"),
        (number(-0.001, signed=True), "0.00"),
        (number(None), "–"),
        (number(math.nan), "–"),
        (percent(0.714), "71\u202f%"),
        (percent(None), "–"),
        (points(-0.14), "−14\u202fpoints"),
        (points(0.03), "+3\u202fpoints"),
        (percent_range(0.66, 0.75), "66 to 75\u202f%"),
        (percent_range(0.66, None), ""),
        (number_range(-0.1, 0.1), "−0.10 to 0.10"),
        (count(12345), "12\u202f345"),
        (duration(3.21), "3.2\u202fs"),
        (duration(59.4), "59\u202fs"),
        (duration(59.6), "1\u202fmin"),
        (duration(121.7), "2\u202fmin 2\u202fs"),
        (duration(7500), "2\u202fh 5\u202fmin"),
        (duration(None), "–"),
        (listing(["a"]), "a"),
        (listing(["a", "b", "c"]), "a, b and c"),
        (listing([]), ""),
    ],
)
def test_numbers_read_well(made, expected):
    assert made == expected


def test_length_alone_is_judged_in_its_better_direction():
    assert length_accuracy(0.6) == (0.6, "longer")
    assert length_accuracy(0.3) == (0.7, "shorter")
    assert length_alone(0.3) == "always the shorter answer: 70\u202f%"
    assert length_alone(None) == "length alone: –"
