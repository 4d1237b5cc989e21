"""Which words two answers share: by hand, whole for any texts, and bounded for huge ones."""

from hypothesis import given
from hypothesis import strategies as st

from kleash.web.visible import visible_text
from kleash.web.word_diff import MAX_COMPARED_WORDS, word_diff


def parts(segments):
    return [(segment.text, segment.is_shared) for segment in segments]


def test_differing_words_are_marked():
    diff = word_diff("the quick fox jumps", "the slow fox leaps!")
    assert parts(diff.first) == [("the ", True), ("quick", False), (" fox ", True), ("jumps", False)]
    assert parts(diff.second) == [("the ", True), ("slow", False), (" fox ", True), ("leaps!", False)]


def test_equal_and_empty_texts():
    assert parts(word_diff("same", "same").first) == [("same", True)]
    assert word_diff("", "").first == ()
    assert parts(word_diff("", "new").second) == [("new", False)]


@given(st.text("ab \n.\0", max_size=60), st.text("ab \n.\0", max_size=60))
def test_the_stretches_join_to_the_texts_and_the_shared_ones_are_equal(first, second):
    diff = word_diff(first, second)
    assert "".join(segment.text for segment in diff.first) == visible_text(first)
    assert "".join(segment.text for segment in diff.second) == visible_text(second)
    shared = ["".join(part.text for part in side if part.is_shared) for side in (diff.first, diff.second)]
    assert shared[0] == shared[1]


def test_what_lies_beyond_the_bound_is_not_compared():
    first, second = "a " * 10_000 + "end", "b " * 10_000 + "end"
    diff = word_diff(first, second)
    assert "".join(segment.text for segment in diff.first) == first
    not_compared = [segment for segment in diff.first if segment.is_shared is None]
    assert len(not_compared) == 1
    assert len(not_compared[0].text) == 20_000 - MAX_COMPARED_WORDS - 1
    assert diff.first[-1].text == " end"
    assert diff.first[-1].is_shared
