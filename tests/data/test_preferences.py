"""Which pairs are trained on, and what single labelled answers and demonstrations are made of them."""

from kleash.data.preferences import labelled_from_preferences, usable_pairs, usable_preferences
from kleash.records import LabelledCompletion, Pair, Preference, Prompt

ASKED = Prompt("p")
CLEAR = Preference(ASKED, ("a", "b"), (Pair(0, 1, 0.0),))
TIE = Preference(ASKED, ("c", "d"), (Pair(0, 1, 0.5),))
LEFT_OUT = Preference(ASKED, ("e", "f"), (Pair(0, 1, 1.0),), left_out="both_bad")
NOT_JUDGED = Preference(ASKED, ("g", "h"), ())
# i beats j and k, j and k tie: j won nothing and lost once, and so did k.
RANKING = Preference(ASKED, ("i", "j", "k"), (Pair(0, 1, 1.0), Pair(0, 2, 1.0), Pair(1, 2, 0.5)))
# l beats m, m beats n, n beats l: nobody won more than they lost.
CYCLE = Preference(ASKED, ("l", "m", "n"), (Pair(0, 1, 1.0), Pair(1, 2, 1.0), Pair(0, 2, 0.0)))
EVERYTHING = [CLEAR, TIE, LEFT_OUT, NOT_JUDGED, RANKING, CYCLE]


def test_rows_left_out_or_without_pairs_are_not_trained_on():
    assert usable_preferences(EVERYTHING) == [CLEAR, TIE, RANKING, CYCLE]


def test_pairs_come_with_their_rows_and_ties_only_if_wanted():
    assert list(usable_pairs([CLEAR, TIE, LEFT_OUT])) == [(CLEAR, CLEAR.pairs[0]), (TIE, TIE.pairs[0])]
    assert [pair.label for _, pair in usable_pairs(EVERYTHING, keeps_ties=False)] == [0.0, 1.0, 1.0, 1.0, 1.0, 0.0]


def test_thumbs_say_who_won_more_than_they_lost():
    assert labelled_from_preferences(EVERYTHING) == [
        LabelledCompletion(ASKED, "a", False),
        LabelledCompletion(ASKED, "b", True),
        LabelledCompletion(ASKED, "i", True),
        LabelledCompletion(ASKED, "j", False),
        LabelledCompletion(ASKED, "k", False),
    ]


def test_votes_in_thirds_that_cancel_make_no_thumb():
    row = Preference(ASKED, ("a", "b", "c"), (Pair(0, 1, 1 / 3), Pair(0, 2, 2 / 3), Pair(1, 2, 0.5)))
    assert [thumb.completion for thumb in labelled_from_preferences([row])] == ["b", "c"]
