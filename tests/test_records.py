"""Prompts with their slices and tags, and the names of slices: put together, grouped and read back."""

import pytest

from kleash.records import (
    Prompt,
    by_slice,
    group_by_slice,
    prompt_from_json,
    slice_metric,
    slice_names,
    split_slice,
)


def test_bookkeeping_goes_into_tags_and_every_other_dimension_into_slices():
    first = Prompt("x", {"topic": "sums"}).with_dimensions({"difficulty": "hard", "level": "3"})
    assert (first.slices, first.tags) == ({"topic": "sums", "level": "3"}, {"difficulty": "hard"})
    again = first.with_dimensions({"difficulty": "easy", "selected_by": "control"})
    assert again.tags == {"difficulty": "easy", "selected_by": "control"}
    assert again.dimensions == {"topic": "sums", "level": "3", "difficulty": "easy", "selected_by": "control"}


def test_a_prompt_is_the_same_whatever_its_dimensions():
    plain = Prompt("x")
    tagged = plain.with_dimensions({"topic": "sums", "left_out": "too long"})
    assert (tagged, tagged.id) == (plain, plain.id)


def test_a_prompt_comes_back_from_json_with_its_dimensions():
    prompt = Prompt("x", {"topic": "sums"}, {"red_team": "novel"})
    back = prompt_from_json(prompt.content_json(), prompt.dimensions)
    assert (back, back.slices, back.tags) == (prompt, prompt.slices, prompt.tags)


def test_rows_are_grouped_under_every_slice_they_are_in():
    rows = [{"topic": "b", "aim": "help"}, {}, {"topic": "a"}, {"topic": "b"}]
    assert group_by_slice(rows) == {"aim=help": [0], "topic=a": [2], "topic=b": [0, 3]}
    assert list(group_by_slice(rows)) == ["aim=help", "topic=a", "topic=b"]


@pytest.mark.parametrize("dimensions", [{"topic": "a/b"}, {"level": "3"}, {"formula": "x=y"}])
def test_a_slice_is_parted_where_it_was_put_together(dimensions):
    [name] = slice_names(dimensions)
    assert dict([split_slice(name)]) == dimensions


def test_a_name_without_a_dimension_is_all_value():
    assert split_slice("sums") == ("", "sums")


def test_one_metric_of_every_slice_is_found_among_all_metrics():
    figures = {"": 1.0, "topic=a/b": 2.0, "topic=c": 3.0}
    metrics = {slice_metric(name, "kl"): figure for name, figure in figures.items()}
    assert set(metrics) == {"kl", "slice/topic=a/b/kl", "slice/topic=c/kl"}
    found = by_slice({**metrics, "slice/topic=c/kl_max": 4.0, "my/kl": 5.0}, "kl")
    assert found == {"topic=a/b": 2.0, "topic=c": 3.0}
