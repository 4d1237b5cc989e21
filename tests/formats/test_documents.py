"""Plain text to documents."""

from hypothesis import given
from hypothesis import strategies as st

from kleash.formats.documents import documents_of


def documents(text, **settings):
    return list(documents_of(text, **settings))


def test_marks_of_the_end_of_text_win_over_everything():
    assert documents("A.\n\nStill A.\n<|endoftext|>\nB.") == [(1, "A.\n\nStill A."), (5, "B.")]


def test_a_line_break_ends_a_story_whose_paragraphs_are_parted_by_blank_lines():
    text = "Once.\n\nThen.\n\nEnd.\nTwice.\n\nThen too.\n\nEnd.\n"
    assert documents(text) == [(1, "Once.\n\nThen.\n\nEnd."), (6, "Twice.\n\nThen too.\n\nEnd.")]


def test_a_blank_line_ends_a_document_of_unwrapped_lines():
    assert documents("One.\nTwo.\nThree.\n\nFour.\nFive.\n") == [(1, "One.\nTwo.\nThree."), (5, "Four.\nFive.")]


def test_lines_alone_are_documents():
    assert documents("One.\nTwo.\n") == [(1, "One."), (2, "Two.")]


def test_paragraphs_of_a_wrapped_book_share_a_document_while_they_fit():
    book = "\n\n\nIt was a dark and\nstormy night.\n\nThe rain fell in\ntorrents.\n\nThen it\nstopped.\n"
    assert documents(book, max_characters=70) == [
        (4, "It was a dark and\nstormy night.\n\nThe rain fell in\ntorrents."),
        (10, "Then it\nstopped."),
    ]


def test_what_has_no_border_is_cut_between_words_else_anywhere():
    assert documents("one two three", max_characters=9) == [(1, "one two"), (1, "three")]
    assert documents("x" * 25, max_characters=10) == [(1, "x" * 10), (1, "x" * 10), (1, "x" * 5)]


@given(st.text(st.sampled_from("ab .\n")), st.integers(1, 12))
def test_documents_are_short_and_hold_every_word_on_its_line(text, max_characters):
    found = documents(text, max_characters=max_characters)
    assert all(0 < len(document) <= max_characters for _, document in found)
    assert "".join("".join(document for _, document in found).split()) == "".join(text.split())
    for line, document in found:
        assert text.split("\n")[line - 1 :][0].find(document.split("\n")[0].strip()) >= 0
