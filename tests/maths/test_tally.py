"""Tallies: sums and counts add over any split, maxima stay, and what was not counted has no mean."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kleash.maths.tally import Tally, merge_figures


@given(values=st.lists(st.integers(-99, 99), min_size=2, max_size=30), cut=st.integers(1, 29))
def test_any_split_gives_the_same_means(values, cut):
    whole, first, second = Tally(), Tally(), Tally()
    for index, value in enumerate(values):
        for tally in (whole, first if index < cut else second):
            tally.add("mean", value, 1)
            tally.maximum("largest", value)
    first.extend(second)
    assert first.means() == whole.means() == {"mean": sum(values) / len(values), "largest_max": max(values)}


def test_a_mean_weighs_parts_by_their_counts():
    tally = Tally()
    tally.add("loss", 1.0, 1)
    tally.add("loss", 0.0, 3)
    assert tally.means() == {"loss": 0.25}


def test_what_was_never_counted_is_left_out():
    tally = Tally()
    tally.add("loss", 0.0, 0)
    assert tally.means() == {}


@pytest.mark.parametrize("values", [(math.nan, 1.0), (1.0, math.nan), (1.0, math.nan, 2.0)])
def test_nan_shows_among_maxima(values):
    tally = Tally()
    for value in values:
        tally.maximum("ratio", value)
    assert math.isnan(tally.means()["ratio_max"])
    merged = merge_figures({"ratio:max": values[0]}, {"ratio:max": values[1]})
    assert math.isnan(merged["ratio:max"])


def test_merging_keeps_what_only_one_side_has_and_changes_neither():
    first, second = {"a:sum": 1.0, "a:count": 1.0}, {"a:sum": 2.0, "a:count": 1.0, "b:max": 5.0}
    assert merge_figures(first, second) == {"a:sum": 3.0, "a:count": 2.0, "b:max": 5.0}
    assert first == {"a:sum": 1.0, "a:count": 1.0}


def test_ranks_are_merged_by_the_engine():
    tally = Tally()
    tally.add("loss", 2.0, 4)
    assert tally.merged(lambda figures: merge_figures(figures, figures)).figures == {"loss:sum": 4.0, "loss:count": 8.0}
