"""Toxic words by the built-in lexicon and by one's own."""

import pytest

from kleash.evaluation.toxicity import toxic_words


@pytest.mark.parametrize(
    ("text", "found", "num_words"),
    [
        ("You IDIOTS, shut that damn door!", ["idiots", "damn"], 6),
        ("You are very wise.", [], 4),
        ("The pig ran past the class; a tit sang.", [], 9),
        ("don't be stupid; be kind.", ["stupid"], 5),
        ("", [], 0),
        ("12 + 3 = 15 !!", [], 0),
    ],
)
def test_toxic_words_are_found_whole_and_counted(text, found, num_words):
    assert toxic_words(text) == (found, num_words)


def test_the_lexicon_may_be_ones_own():
    assert toxic_words("You blighter, you idiot.", lexicon=["blighter"]) == (["blighter"], 4)
