"""A scorer's proof of what it does."""

import pytest

from kleash.errors import SettingsError
from kleash.judges.ranked_examples import RankedExample, check_scorer, misordered_pairs
from kleash.judges.rules import LengthTarget, RuleScorer
from kleash.protocols import Scores
from kleash.records import Prompt


class Shorter:
    """Scores the shorter answer higher."""

    def __init__(self, *answers):
        self.ranked_examples = [RankedExample(Prompt("why?"), answers)]

    def score(self, completions):
        return Scores([-float(len(completion.text)) for completion in completions])


def test_examples_in_order_are_counted():
    assert check_scorer(Shorter("a", "bb", "ccc"), name="shorter") == 1
    assert misordered_pairs(Shorter("a", "bb", "ccc")) == []


def test_a_scorer_without_examples_proves_nothing_and_passes():
    assert check_scorer(RuleScorer([LengthTarget(target_words=3, tolerance_words=3)]), name="rules") == 0


def test_level_and_reversed_pairs_are_found():
    found = misordered_pairs(Shorter("a", "b", "ccc", "dd"))
    assert [(pair.better, pair.worse) for pair in found] == [("a", "b"), ("ccc", "dd")]
    assert (found[1].better_score, found[1].worse_score) == (-3.0, -2.0)


def test_the_first_pair_out_of_order_is_named():
    with pytest.raises(
        SettingsError, match=r"Scorer mine gives 'aa' the score -2 and 'b' -1, as answers to 'why\?'; 1"
    ):
        check_scorer(Shorter("aa", "b"), name="mine")
