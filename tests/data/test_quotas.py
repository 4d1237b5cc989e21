"""Quotas: worked by hand, against one-by-one dealing, and unmoved by records that come and go."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kleash.data.quotas import choose, quotas


@pytest.mark.parametrize(
    ("available", "total", "weights", "granted"),
    [
        ({"a": 10, "b": 10}, 6, {"a": 1, "b": 1}, {"a": 3, "b": 3}),
        ({"a": 10, "b": 10}, 8, {"a": 3, "b": 1}, {"a": 6, "b": 2}),
        ({"a": 1, "b": 10}, 6, {"a": 1, "b": 1}, {"a": 1, "b": 5}),
        ({"a": 1, "b": 2, "c": 9}, 9, {"a": 1, "b": 1, "c": 1}, {"a": 1, "b": 2, "c": 6}),
        ({"a": 2, "b": 2}, 100, {"a": 1, "b": 1}, {"a": 2, "b": 2}),
        ({"a": 9, "b": 9}, 4, {"a": 1}, {"a": 4, "b": 0}),
        ({"a": 9, "b": 9, "c": 9}, 4, {"a": 1, "b": 1, "c": 2}, {"a": 1, "b": 1, "c": 2}),
        ({"a": 9, "b": 9, "c": 9}, 5, {"a": 1, "b": 1, "c": 1}, {"a": 2, "b": 2, "c": 1}),
        ({}, 5, {"a": 1}, {}),
    ],
)
def test_quotas_by_hand(available, total, weights, granted):
    assert quotas(available, total, weights=weights) == granted


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 30), min_size=1),
    st.integers(0, 100),
)
def test_equal_quotas_are_what_dealing_one_by_one_gives(available, total):
    dealt = dict.fromkeys(available, 0)
    for group in itertools.islice(itertools.cycle(sorted(available)), 31 * len(available)):
        if dealt[group] < available[group] and sum(dealt.values()) < total:
            dealt[group] += 1
    granted = quotas(available, total, weights=dict.fromkeys(available, 1.0))
    assert sum(granted.values()) == min(total, sum(available.values()))
    assert all(abs(granted[group] - dealt[group]) <= 1 for group in available)
    assert all(granted[group] <= available[group] for group in available)


def test_who_is_chosen_depends_on_the_seed_and_not_on_the_order():
    groups = ["x"] * 40 + ["y"] * 10
    keys = [f"record {number}" for number in range(50)]
    order = random.Random(0).sample(range(50), 50)
    chosen = {keys[number] for number in choose(groups, keys, 12, seed=3)}
    shuffled = choose([groups[n] for n in order], [keys[n] for n in order], 12, seed=3)
    assert {keys[order[number]] for number in shuffled} == chosen
    assert {keys[number] for number in choose(groups, keys, 12, seed=4)} != chosen
    assert sum(groups[keys.index(key)] == "y" for key in chosen) == 6


def test_one_more_record_moves_at_most_one():
    keys = [f"record {number}" for number in range(30)]
    before = {keys[number] for number in choose(["x"] * 29, keys[:29], 10, seed=0)}
    after = {keys[number] for number in choose(["x"] * 30, keys, 10, seed=0)}
    assert len(before - after) <= 1
