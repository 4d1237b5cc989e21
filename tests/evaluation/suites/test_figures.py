"""Rates and differences of suites: worked by hand, and what must not move them."""

import json
import math
import random

import pytest

from evaluation.suites.made_rows import made_row
from kleash.evaluation.suites.figures import (
    differences,
    paired_figure,
    rates,
    sign_test,
    summarise_rows,
    variant_differences,
)
from kleash.maths.intervals import wilson_interval


def test_rates_add_successes_over_tries_by_bucket_and_suite():
    rows = [
        made_row("a", tallies={"prompt": [1, 1], "instruction": [3, 3]}),
        made_row("b", tallies={"prompt": [0, 1], "instruction": [1, 2]}),
        made_row("c", bucket="safety", suite="other", measure="refused"),
        made_row("d", passed=None),
    ]
    found = rates(rows)
    assert found["tasks"]["mine/prompt"]["value"] == 0.5
    assert found["tasks"]["mine/instruction"] == vars(wilson_interval(4, 5))
    assert found["safety"] == {"other/refused": vars(wilson_interval(1, 1))}


def test_a_measure_that_was_tried_no_time_is_left_out():
    assert rates([made_row(tallies={"words": [0, 0]})]) == {}


def test_a_difference_of_single_tries_worked_by_hand():
    outcomes = [(True, False)] * 6 + [(False, True)] * 1 + [(True, True)] * 2 + [(False, False)]
    rows = [made_row(str(n), passed=one, reference=other) for n, (one, other) in enumerate(outcomes)]
    figure = differences(rows)["tasks"]["mine/correct"]
    assert figure["value"] == pytest.approx(0.8 - 0.3)
    assert figure["n"] == 10
    assert figure["p_value"] == pytest.approx(2 * (1 + 7) / 2**7), "6 against 1 of 7, either way"
    assert -0.2 < figure["low"] < 0 < 0.5 < figure["high"] < 1, "and so the interval holds 0"


def test_items_that_one_side_did_not_answer_are_not_compared():
    rows = [made_row("a", reference=True), made_row("b"), made_row("c", passed=None, reference=True)]
    assert differences(rows)["tasks"]["mine/correct"]["n"] == 1


@pytest.mark.parametrize("tries", [1, 3])
def test_items_that_all_come_out_alike_leave_the_interval_open(tries):
    figure = paired_figure([((0, tries), (0, tries))] * 20)
    assert figure["value"] == 0
    assert figure["low"] < -0.01
    assert figure["high"] > 0.01
    assert figure["p_value"] == 1


def test_a_difference_of_ratios_whose_tries_differ():
    # 3 of 30 words against 3 of 300: alike in counts, far apart as rates.
    figure = paired_figure([((1, 10), (1, 100))] * 3)
    assert figure["value"] == pytest.approx(0.1 - 0.01)
    assert figure["p_value"] == 0.25


def test_the_interval_of_ratios_covers_the_truth_about_as_often_as_it_says():
    chance = random.Random(0)

    def tally(rate):
        tries = chance.randint(1, 5)
        return sum(chance.random() < rate for _ in range(tries)), tries

    num_covered = 0
    for _ in range(300):
        figure = paired_figure([(tally(0.6), tally(0.4)) for _ in range(50)])
        num_covered += figure["low"] <= 0.2 <= figure["high"]
    assert 0.91 <= num_covered / 300 <= 0.99


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (5, 0), (3, 4), (10, 2)])
def test_the_sign_test_against_a_slow_twin(wins, losses):
    n = wins + losses
    ways = [math.comb(n, k) for k in range(n + 1)]
    assert sign_test(wins, losses) == pytest.approx(sum(way for way in ways if way <= ways[wins]) / 2**n)


def test_the_order_of_rows_does_not_matter():
    rows = [
        made_row(
            str(n), passed=n % 3 > 0, reference=n % 2 > 0, slices={"topic": "ab"[n % 2]}, tallies={"m": [n % 3, 2]}
        )
        for n in range(12)
    ]
    for row in rows:
        row["reference_tallies"] = {"m": [1, 2]}
    shuffled = random.Random(1).sample(rows, len(rows))
    assert json.dumps(summarise_rows(rows), sort_keys=True) == json.dumps(summarise_rows(shuffled), sort_keys=True)


def test_variants_are_compared_with_the_plain_item_of_their_pair():
    rows = [
        made_row("1", pair="p", passed=True),
        made_row("2", pair="p", variant="in a story", passed=False),
        made_row("3", pair="q", passed=True),
        made_row("4", pair="q", variant="in a story", passed=True),
        made_row("5", pair="lonely", variant="in a story", passed=False),
        made_row("6", passed=False),
    ]
    figure = variant_differences(rows)["tasks"]["mine/correct, in a story"]
    assert figure["value"] == pytest.approx(-0.5)
    assert figure["n"] == 2


def test_the_summary_has_slices_and_names_what_was_not_checked():
    rows = [
        made_row("a", slices={"topic": "sums"}, reference=False),
        made_row("b", slices={"topic": "facts"}, passed=False, reference=False),
        made_row("c", passed=None, detail="no check for language:response_language"),
    ]
    summary = summarise_rows(rows)
    assert summary["items"] == 3
    assert summary["unchecked"] == {"no check for language:response_language": 1}
    assert summary["slices"]["topic=sums"]["buckets"]["tasks"]["mine/correct"]["value"] == 1
    assert summary["slices"]["topic=facts"]["differences"]["tasks"]["mine/correct"]["value"] == 0
    assert summary["reference"]["tasks"]["mine/correct"]["n"] == 2
    json.dumps(summary, allow_nan=False)
