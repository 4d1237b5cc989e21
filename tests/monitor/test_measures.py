"""Figures by column: the same as the rows they were made of; and curves thinned without losing a peak."""

import math

from hypothesis import given
from hypothesis import strategies as st

from kleash.monitor.read.measures import MetricTable, column, metric_names, thinned

VALUES = st.one_of(st.floats(), st.integers(-9, 9), st.none(), st.text(max_size=2), st.booleans())
ROWS = st.lists(st.dictionaries(st.sampled_from(["step", "a", "b/c"]), VALUES, max_size=3), max_size=12)


def of(rows):
    metrics = MetricTable()
    for row in rows:
        metrics.append(row)
    return metrics


def test_columns_by_hand():
    metrics = of([{"step": 0, "a": 1.5}, {"step": 1}, {"step": 2, "a": None, "b": 3}, {"a": 9.0}])
    assert metrics.column("a") == ([0], [1.5])
    assert metrics.column("b") == ([2], [3.0])
    assert metrics.column("missing") == ([], [])
    assert len(metrics) == 4
    assert metrics[-1] == {"a": 9.0}
    assert metrics[1:3] == [{"step": 1}, {"step": 2, "b": 3.0}]


@given(ROWS)
def test_columns_are_those_of_the_rows(rows):
    metrics = of(rows)
    assert len(metrics) == len(rows)
    assert metric_names(metrics) == metric_names(rows)
    assert column(metrics, "step")[0] == column(rows, "step")[0]
    for name in ("a", "b/c"):
        assert column(metrics, name) == column(rows, name)


@given(ROWS)
def test_a_row_has_its_finite_numbers(rows):
    for kept, row in zip(of(rows), rows, strict=True):
        numbers = {name: value for name, value in row.items() if type(value) in (int, float) and math.isfinite(value)}
        assert dict(kept) == {name: int(value) if name == "step" else value for name, value in numbers.items()}


def test_a_short_curve_stays_whole():
    assert thinned([1, 2, 3], [5.0, 4.0, 6.0], max_points=3) == ([1, 2, 3], [5.0, 4.0, 6.0])
    assert thinned([], []) == ([], [])


@given(st.lists(st.floats(-1e6, 1e6), min_size=30, max_size=300), st.integers(6, 20))
def test_a_long_curve_keeps_its_ends_its_peak_and_its_dip(values, max_points):
    steps = list(range(0, 2 * len(values), 2))
    shown_steps, shown = thinned(steps, values, max_points=max_points)
    assert len(shown) <= max_points
    assert (shown_steps[0], shown_steps[-1]) == (steps[0], steps[-1])
    assert (min(shown), max(shown)) == (min(values), max(values))
    assert shown_steps == sorted(set(shown_steps))
    assert all(values[step // 2] == value for step, value in zip(shown_steps, shown, strict=True))
