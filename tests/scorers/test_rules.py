"""Rules by hand, one by one and added up."""

import pytest
from pydantic import TypeAdapter, ValidationError

from kleash.errors import SettingsError
from kleash.records import Completion, Prompt
from kleash.scorers.rules import Avoids, Ends, LengthTarget, Matches, Rule, RuleScorer


def value(rule, text, **fields):
    return rule.value(Completion(Prompt("p"), text, **fields))


@pytest.mark.parametrize(("num_words", "expected"), [(4, 1.0), (3, 0.5), (6, 0.0), (5, 0.5), (0, 0.0), (40, 0.0)])
def test_length_falls_evenly_on_both_sides(num_words, expected):
    assert value(LengthTarget(target_words=4, tolerance_words=2), "word " * num_words) == expected


def test_a_pattern_is_searched_anywhere_and_across_lines():
    rule = Matches(pattern=r"because.*therefore")
    assert value(rule, "Well, because\nit rains, therefore") == 1.0
    assert value(rule, "therefore, because") == 0.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [("an ass", 0.0), ("AN ASS!", 0.0), ("class", 1.0), ("write c++ code", 0.0), ("c", 1.0), ("as an AI, I", 0.0)],
)
def test_forbidden_words_count_whole_and_whatever_their_capitals(text, expected):
    assert value(Avoids(words=("ass", "c++", "as an ai")), text) == expected


def test_an_answer_must_come_to_an_end_of_its_own():
    assert value(Ends(), "It is so. \n") == 1.0
    assert value(Ends(), "It is so") == 0.0
    assert value(Ends(), "It is so.", finish_reason="length") == 0.0
    assert value(Ends(endings=("</answer>",)), "<answer>4</answer>") == 1.0


def test_total_is_the_weighted_sum_and_parts_are_its_shares():
    scorer = RuleScorer([LengthTarget(target_words=2, tolerance_words=2, weight=3.0), Ends(weight=-1.0, name="stops")])
    scores = scorer.score([Completion(Prompt("p"), "one."), Completion(Prompt("p"), "one two")])
    assert scores.parts == {"length": [1.5, 3.0], "stops": [-1.0, 0.0]}
    assert scores.total == [0.5, 3.0]


def test_rules_are_read_from_plain_settings():
    rule = TypeAdapter(Rule).validate_python({"rule": "avoids", "words": ["never"], "weight": 2})
    assert rule == Avoids(words=("never",), weight=2.0)


def test_a_pattern_that_is_none_is_refused():
    with pytest.raises(ValidationError, match=r"'\(' is no regular expression"):
        Matches(pattern="(")


def test_no_rules_or_two_of_one_name_are_refused():
    with pytest.raises(SettingsError, match=r"There are no rules to score by\. Expected one or more in scorer.rules"):
        RuleScorer([])
    with pytest.raises(SettingsError, match=r"two rules named 'ends' to score by.* Set `name` in each"):
        RuleScorer([Ends(), Ends()])
