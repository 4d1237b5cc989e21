"""Sums of scorers: totals and parts by hand, what is refused, and the terms a recipe describes."""

import pytest

from kleash.cli.recipes import settings_of
from kleash.errors import SettingsError
from kleash.functions import recorded_functions
from kleash.idle_settings import refuse_idle_settings
from kleash.recipe import Recipe
from kleash.records import Completion, Prompt
from kleash.scorers.ensemble import SumScorer, Term
from kleash.settings import check_settings
from kleash.stages.support.scoring import ScorerSettings, build_scorer
from kleash.testing import FakeScorer

LENGTH = FakeScorer(lambda answer: float(len(answer.text)))
ANSWERS = [Completion(Prompt("p", check={"kind": "exact", "expected": "ab"}), text) for text in ("ab", "abc")]
TERMS = (
    {"name": "right", "kind": "checks", "weight": 2.0},
    {"name": "short", "kind": "function", "function": "stages.judge:likes_short_words", "weight": -0.5},
)


def test_a_sum_adds_its_terms_by_weight_and_tells_each_before_its_weight():
    scores = SumScorer([Term("a", 2.0, LENGTH), Term("b", -1.0, FakeScorer(lambda answer: 3.0))]).score(ANSWERS)
    assert scores.total == [1.0, 3.0]
    assert scores.parts == {"term/a": [2.0, 3.0], "term/b": [3.0, 3.0]}


@pytest.mark.parametrize(("names", "found"), [((), "no terms"), (("a", "a"), "two terms named 'a'")])
def test_a_sum_without_terms_or_with_two_of_one_name_is_refused(names, found):
    with pytest.raises(SettingsError, match=f"There are {found} to score by"):
        SumScorer([Term(name, 1.0, LENGTH) for name in names])


def test_a_recipe_describes_a_sum_and_its_functions_are_known_by_what_they_do():
    settings = check_settings({"kind": "sum", "terms": TERMS}, ScorerSettings, source="here")
    source = build_scorer(None, settings)
    scores = source.require().score(ANSWERS)
    assert list(scores.parts) == ["term/right", "term/short"]
    assert scores.parts["term/right"] == [1.0, 0.0]
    expected = [2 * right - 0.5 * short for right, short in zip(*scores.parts.values(), strict=True)]
    assert list(scores.total) == pytest.approx(expected)
    assert not source.is_z_score
    assert "scorer.terms.1.function" in dict(recorded_functions(settings, "scorer."))


def test_what_does_nothing_in_a_term_is_refused_by_its_place():
    terms = [{**TERMS[0], "function": "x:y"}]
    recipe = check_settings({"scorer": {"kind": "sum", "terms": terms}}, Recipe, source="here")
    with pytest.raises(SettingsError, match=r"scorer.terms.0.function is 'x:y' and scorer.terms.0.kind is 'checks', w"):
        refuse_idle_settings(recipe)


def test_explain_lists_the_terms():
    assert any(setting.name == "scorer.terms" for setting in settings_of(Recipe))
