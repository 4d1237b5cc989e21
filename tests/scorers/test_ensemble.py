"""Several scorers as one, by hand."""

import pytest

from kleash.errors import SettingsError
from kleash.protocols import Scores
from kleash.records import Completion, Prompt
from kleash.scorers.ensemble import EnsembleScorer

ANSWERS = [Completion(Prompt("p"), "first"), Completion(Prompt("p"), "second")]


class Fixed:
    """A member that gives the scores it was told."""

    def __init__(self, *totals):
        self.totals = totals

    def score(self, completions):
        return Scores(self.totals[: len(completions)])


MEMBERS = [Fixed(1.0, 0.0), Fixed(2.0, 0.0), Fixed(6.0, 0.0)]


@pytest.mark.parametrize(
    ("combine", "expected"),
    [("mean", 3.0), ("worst_case", 1.0), ("uncertainty", 3.0 - 0.5 * 14 / 3)],  # deviations -2, -1, 3
)
def test_one_score_of_three_members(combine, expected):
    scores = EnsembleScorer(MEMBERS, combine=combine, penalty=0.5).score(ANSWERS)
    assert scores.total == [pytest.approx(expected), 0.0]


def test_parts_show_each_member_and_their_disagreement():
    parts = EnsembleScorer(MEMBERS).score(ANSWERS).parts
    assert list(parts) == ["member_0", "member_1", "member_2", "disagreement"]
    assert parts["member_2"] == [6.0, 0.0]
    assert parts["disagreement"] == [pytest.approx((14 / 3) ** 0.5), 0.0]


@pytest.mark.parametrize("combine", ["mean", "worst_case", "uncertainty"])
def test_the_order_of_members_does_not_matter_and_one_member_is_itself(combine):
    ensemble, reverse = (EnsembleScorer(members, combine=combine) for members in (MEMBERS, MEMBERS[::-1]))
    assert ensemble.score(ANSWERS).total == reverse.score(ANSWERS).total
    assert EnsembleScorer(MEMBERS[1:2], combine=combine).score(ANSWERS).total == [2.0, 0.0]


def test_no_answers_no_scores():
    assert EnsembleScorer(MEMBERS).score([]).total == []


@pytest.mark.parametrize(
    ("members", "combine", "penalty"), [([], "mean", 1.0), (MEMBERS, "median", 1.0), (MEMBERS, "uncertainty", -1.0)]
)
def test_what_cannot_be_combined_is_refused(members, combine, penalty):
    with pytest.raises(SettingsError, match=r"cannot be combined by .* Expected one member or more, .* Correct"):
        EnsembleScorer(members, combine=combine, penalty=penalty)
