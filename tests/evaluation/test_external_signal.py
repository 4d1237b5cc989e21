"""The external signal: whom it asks, how often, and what it makes of what they say."""

import pytest

from kleash.errors import SettingsError
from kleash.evaluation.external_signal import ExternalSignal
from kleash.records import Judgement, Prompt
from kleash.testing import FakeComparer

PROMPTS = [Prompt(f"question {number}") for number in range(8)]
REFERENCE = [f"answer {number}" for number in range(8)]


class Listening(FakeComparer):
    """Remembers what it was asked."""

    def __init__(self, worth=len, **more):
        super().__init__(worth, **more)
        self.asked = []

    def compare(self, comparisons):
        self.asked += comparisons
        return super().compare(comparisons)


def test_votes_are_for_the_present_answer_and_ties_count_half():
    now = [*REFERENCE[:2], "a longer answer", "short", "answer 9", *REFERENCE[5:]]
    comparer = Listening()
    votes = ExternalSignal(comparer, num_comparisons=8).votes(PROMPTS, REFERENCE, now)
    assert votes == [0.5, 0.5, 1.0, 0.0, 0.5, 0.5, 0.5, 0.5]
    assert [comparison.completions for comparison in comparer.asked] == [
        (REFERENCE[2], "a longer answer"),
        (REFERENCE[3], "short"),
        (REFERENCE[4], "answer 9"),
    ]


def test_the_budget_is_kept_and_spread_over_the_same_prompts_every_time():
    comparer = Listening()
    signal = ExternalSignal(comparer, num_comparisons=4)
    votes = signal.votes(PROMPTS, REFERENCE, ["x"] * 8)
    assert votes == [0.0, None, 0.0, None, 0.0, None, 0.0, None]
    signal.votes(PROMPTS, REFERENCE, ["y"] * 8)
    assert [asked.prompt for asked in comparer.asked[:4]] == [asked.prompt for asked in comparer.asked[4:]]


def test_several_raters_share_a_vote():
    class Split:
        def compare(self, comparisons):
            for comparison in comparisons:
                for rater, ranks in (("a", (2, 1)), ("b", (2, 1)), ("c", (1, 2)), ("d", (1, 1))):
                    yield Judgement(comparison.id, rater, "ai", (0, 1), "ranked", ranks)

    assert ExternalSignal(Split(), num_comparisons=1).votes(PROMPTS[:1], ["x"], ["y"]) == [2.5 / 4]


def test_who_could_not_say_has_no_vote():
    class Mute:
        def compare(self, comparisons):
            yield Judgement(comparisons[0].id, "a", "ai", (0, 1), "skipped")

    assert ExternalSignal(Mute(), num_comparisons=2).votes(PROMPTS[:2], ["x", "y"], ["y", "z"]) == [None, None]


def test_a_budget_of_nothing_is_refused():
    with pytest.raises(SettingsError, match=r"a budget of 0 comparisons. Expected at least one. Raise alarms.comp"):
        ExternalSignal(FakeComparer(len), num_comparisons=0)
