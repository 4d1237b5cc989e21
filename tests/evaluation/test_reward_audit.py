"""Figures of scored pairs: by hand, by a slow twin, and the same from either side of a pair."""

import math
import random
from dataclasses import replace

import pytest

from kleash.evaluation.reward_audit import (
    ScoredPair,
    brier_score,
    calibration_figures,
    expected_calibration_error,
    fit_temperature,
    measure_pairs,
    memory_figures,
    reliability,
    scored_pairs,
)
from kleash.records import Pair, Preference, Prompt


def pair(margin, label=1.0, **more):
    return ScoredPair("why?", "because", "so", label, margin, more.pop("lengths", (3, 1)), **more)


def simulated(num_pairs=400, temperature=1.0, seed=0):
    """Pairs whose votes are right with probability sigmoid(margin / temperature), to the vote."""
    chance = random.Random(seed)
    pairs = []
    for _ in range(num_pairs):
        margin = chance.gauss(0, 2)
        share = 1 / (1 + math.exp(-margin / temperature))
        pairs.append(pair(margin, share) if share >= 0.5 else pair(-margin, 1 - share))
    return pairs


def test_pairs_are_read_from_either_side():
    first = Preference(Prompt("why?", {"topic": "a"}), ("because", "so"), (Pair(0, 1, 0.75, "much"),))
    second = Preference(Prompt("why?", {"topic": "a"}), ("so", "because"), (Pair(0, 1, 0.25, "much"),))
    [one], [other] = scored_pairs([first], [2.0, 0.5], [7, 2]), scored_pairs([second], [0.5, 2.0], [2, 7])
    assert one == other
    assert (one.preferred, one.label, one.margin, one.lengths) == ("because", 0.75, 1.5, (7, 2))
    assert (one.agreement, one.difficulty) == (0.75, "hard")


def test_a_ranking_gives_each_of_its_pairs():
    row = Preference(Prompt("why?"), ("a", "b", "c"), (Pair(0, 1, 1.0), Pair(1, 2, 1.0), Pair(0, 2, 0.5)))
    assert [found.margin for found in scored_pairs([row], [3.0, 1.0, 2.0], [1, 1, 1])] == [2.0, -1.0, 1.0]


def test_accuracy_is_known_by_tag_as_by_slice():
    prompt = Prompt("why?", {"topic": "a"}, {"difficulty": "easy", "red_team": "novel"})
    figures = measure_pairs(scored_pairs([Preference(prompt, ("a", "b"), (Pair(0, 1, 1.0),))], [2.0, 1.0], [1, 1]))
    assert set(figures["slices"]) == {"topic=a", "difficulty=easy", "red_team=novel"}
    assert set(figures["difficulties"]) == {"easy"}


def test_accuracy_by_hand():
    pairs = [
        pair(1.0, strength="much", slices={"topic": "a"}),
        pair(-1.0, strength="slightly", slices={"topic": "a"}),
        pair(2.0, 2 / 3, slices={"topic": "b"}, lengths=(1, 3)),
        pair(0.0, slices={"topic": "b"}),  # scored level: not in the right order
        pair(5.0, 0.5, slices={"topic": "b"}),  # a tie has no right order
    ]
    figures = measure_pairs(pairs)
    assert (figures["accuracy"]["value"], figures["accuracy"]["n"], figures["ties"]) == (0.5, 4, 1)
    assert {name: (rate["value"], rate["n"]) for name, rate in figures["slices"].items()} == {
        "topic=a": (0.5, 2),
        "topic=b": (0.5, 2),
    }
    assert {name: rate["value"] for name, rate in figures["strengths"].items()} == {"much": 1.0, "slightly": 0.0}
    assert {name: rate["n"] for name, rate in figures["difficulties"].items()} == {"easy": 2, "hard": 1, "near miss": 1}
    assert (figures["longer_wins"]["value"], figures["length_baseline_accuracy"]) == (0.75, 0.75)
    assert figures["accuracy_where_shorter_preferred"]["value"] == 1.0


def test_what_cannot_be_told_is_left_out():
    figures = measure_pairs([pair(1.0, lengths=(2, 2)), pair(-1.0, lengths=(2, 2))])
    assert figures["longer_wins"]["value"] == 0.5
    assert not {"accuracy_where_longer_preferred", "margin_length_correlation"} & figures.keys()


def test_a_slice_named_difficulty_says_how_hard_a_pair_is():
    assert pair(1.0, slices={"difficulty": "adversarial"}).difficulty == "adversarial"


def test_whether_style_outvotes_truth():
    apart = [pair(1.0, factuality=0.0, style=1.0), pair(-1.0, factuality=0.0, style=1.0)]
    same = [pair(-1.0, factuality=1.0, style=1.0), pair(-1.0, factuality=0.5, style=1.0), pair(-1.0)]
    figures = measure_pairs(apart + same)
    assert (figures["sides_with_facts"]["value"], figures["sides_with_facts"]["n"]) == (0.5, 2)
    assert figures["raters_side_with_facts"]["value"] == 0.0
    assert "sides_with_facts" not in measure_pairs(same)


def test_the_correlation_with_length_is_the_same_from_either_side():
    chance = random.Random(1)
    pairs = [pair(chance.gauss(0, 1), lengths=(chance.randrange(9), chance.randrange(9))) for _ in range(60)]
    turned = [
        replace(one, margin=-one.margin, lengths=one.lengths[::-1]) if n % 2 else one for n, one in enumerate(pairs)
    ]
    whole = measure_pairs(pairs)["margin_length_correlation"]["value"]
    assert measure_pairs(turned)["margin_length_correlation"]["value"] == pytest.approx(whole)
    perfect = [pair(2.0, lengths=(5, 1)), pair(-1.0, lengths=(1, 3))]
    assert measure_pairs(perfect)["margin_length_correlation"]["value"] == pytest.approx(1.0)


# ------------------------------------------------------------------------------------------------------- calibration
def test_reliability_and_its_error_by_hand():
    sure, unsure = [pair(math.log(9))] * 30, [pair(-math.log(3 / 2))] * 30  # confidences .9 and .6
    low, _, high = reliability([*sure, *unsure])
    assert (low["confidence"], low["agreement"], low["n"]) == (pytest.approx(0.6), 0.0, 20)
    assert (high["confidence"], high["agreement"], high["n"]) == (pytest.approx(0.9), 1.0, 20)
    one_bin = expected_calibration_error([*sure[:10], *unsure[:10]])
    assert one_bin == pytest.approx(0.75 - 0.5)


def test_brier_score_by_hand():
    # p = .8 for the preferred answer, which four of five votes took: .8 * .2^2 + .2 * .8^2
    assert brier_score([pair(math.log(4), 0.8)]) == pytest.approx(0.8 * 0.04 + 0.2 * 0.64)
    assert brier_score([pair(0.0, 0.7)]) == pytest.approx(0.25)


def test_calibration_does_not_depend_on_which_answer_stands_first():
    # The trap of chosen-first tables: sigmoid(margin) of the chosen answer is "right" by construction.
    wrong_and_sure = [pair(-3.0)] * 40
    assert expected_calibration_error(wrong_and_sure) == pytest.approx(1 / (1 + math.exp(-3)))


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_the_temperature_that_made_the_votes_is_found(temperature):
    figures = calibration_figures(simulated(temperature=temperature))
    assert figures["temperature"] == pytest.approx(temperature, rel=0.01)
    assert figures["ece_after"] < 0.01
    assert figures["brier_after"] <= figures["brier"] + 1e-6


def test_a_temperature_has_bounds():
    assert fit_temperature([pair(1.0)] * 5) == pytest.approx(math.exp(-4), rel=0.01)
    assert fit_temperature([pair(-1.0)] * 5) == pytest.approx(math.exp(4), rel=0.01)


def test_what_is_left_of_an_earlier_round_is_told_pair_by_pair():
    def scored(*margins):
        return [ScoredPair("p", "a", "b", 1.0, margin, (1, 1)) for margin in margins]

    tie = ScoredPair("p", "a", "b", 0.5, 9.0, (1, 1))
    found = memory_figures([*scored(1, 1, 1, -1), tie], [*scored(1, -1, -1, 1), tie])
    assert (found["before"]["value"], found["after"]["value"], found["change"]["value"]) == (0.75, 0.5, -0.25)
    assert found["change"]["n"] == 4
    assert found["change"]["low"] < -0.25 < found["change"]["high"]
