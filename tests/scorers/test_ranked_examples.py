"""A scorer's proof of what it does."""

from kleash.protocols import Scores
from kleash.records import Prompt
from kleash.scorers.ranked_examples import RankedExample, misordered_pairs
from kleash.scorers.rules import LengthTarget, RuleScorer


class Shorter:
    """Scores the shorter answer higher."""

    def __init__(self, *answers):
        self.ranked_examples = [RankedExample(Prompt("why?"), answers)]

    def score(self, completions):
        return Scores([-float(len(completion.text)) for completion in completions])


def test_nothing_is_wrong_with_examples_in_order():
    assert misordered_pairs(Shorter("a", "bb", "ccc")) == []


def test_a_scorer_without_examples_proves_nothing_and_passes():
    assert misordered_pairs(RuleScorer([LengthTarget(target_words=3, tolerance_words=3)])) == []


def test_level_and_reversed_pairs_are_found():
    found = misordered_pairs(Shorter("a", "b", "ccc", "dd"))
    assert [(pair.better, pair.worse) for pair in found] == [("a", "b"), ("ccc", "dd")]
    assert (found[1].better_score, found[1].worse_score) == (-3.0, -2.0)
