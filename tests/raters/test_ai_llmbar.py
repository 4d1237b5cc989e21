"""Six judges' published verdicts in both orders, and what became of them: LLMBar's 419 items, twice over."""

import csv
from datetime import UTC, datetime
from pathlib import Path

import pytest
from replay_server import verdict

from kleash.maths.intervals import wilson_interval
from kleash.raters.merging import OrderOutcome, merge
from kleash.raters.monitoring import BandSettings, demotion, first_position_share, judge_figures
from kleash.raters.verdicts import parse_verdict
from kleash.records import Comparison, JudgeCall, Judgement, Prompt

# The sums of "equal" over the five sets in LLMBar's own statistics.json, of 419.
SAME_IN_BOTH_ORDERS = {
    "GPT-4 Vanilla": 389,
    "GPT-4 CoT": 374,
    "PaLM2 Vanilla": 304,
    "PaLM2 CoT": 193,
    "LLaMA2 Vanilla": 314,
    "LLaMA2 CoT": 244,
    "ChatGPT Vanilla": 276,
    "ChatGPT CoT": 244,
    "ChatGPT-0301 Vanilla": 242,
    "ChatGPT-0301 CoT": 233,
    "Falcon Vanilla": 174,
    "Falcon CoT": 53,
}
NOW = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture(scope="module")
def rows():
    path = Path(__file__).parents[1] / "fixtures" / "llmbar" / "judge_orders.csv"
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def comparison_of(row):
    texts = ("a" * int(row["length1_characters"]), "b" * int(row["length2_characters"]))
    return Comparison(Prompt(f"{row['set']} {row['item']}"), texts)


def calls_of(row, judge):
    """The two calls behind a cell, the verdict worded by places as a judge words it."""
    case, calls = comparison_of(row), []
    for order, said in zip([(0, 1), (1, 0)], row[judge], strict=True):
        reply, status = "None of them.", "unparsed"
        if said != "?":
            reply, status = verdict("first" if order[0] == int(said) - 1 else "second"), "ok"
        calls.append(JudgeCall(f"{case.id} {order}", case.id, judge, judge, "", "", order, status, reply))
    return calls


def judgement_of(row, judge):
    heard = {
        call.permutation: OrderOutcome(call.status, parse_verdict(call.reply) if call.status == "ok" else None)
        for call in calls_of(row, judge)
    }
    return merge(comparison_of(row), heard, rater=judge, rubric_version="")


def figures_of(rows, judge):
    by_gold = [
        Judgement(comparison_of(row).id, "gold", "person", (0, 1), "ranked", (1, 2) if row["gold"] == "1" else (2, 1))
        for row in rows
    ]
    (figures,) = judge_figures(
        calls=[(call, NOW) for row in rows for call in calls_of(row, judge)],
        judgements=[(judgement_of(row, judge), NOW) for row in rows],
        comparisons=[comparison_of(row) for row in rows],
        by_people=by_gold,
        is_weekly=False,
    )
    return figures


@pytest.mark.parametrize("judge", SAME_IN_BOTH_ORDERS)
def test_flips_are_what_the_publication_leaves_when_it_counts_the_equal(rows, judge):
    figures = figures_of(rows, judge)
    num_flips = round(figures.flip_rate.value * figures.flip_rate.n)
    num_silent_once = sum(row[judge].count("?") == 1 for row in rows)
    num_silent_twice = sum(row[judge] == "??" for row in rows)
    # The publication takes two replies without a verdict for equal, and one without for unequal.
    assert num_flips + num_silent_once + SAME_IN_BOTH_ORDERS[judge] == 419
    assert figures.flip_rate.n == 419 - num_silent_once - num_silent_twice


@pytest.mark.parametrize("judge", SAME_IN_BOTH_ORDERS)
def test_only_what_both_orders_bear_out_wins(rows, judge):
    ranks = {"11": (1, 2), "22": (2, 1), "12": (1, 1), "21": (1, 1)}
    for row in rows:
        found = judgement_of(row, judge)
        assert found.ranks == ranks.get(row[judge], ())
        assert ("position_flip" in found.flags) == (row[judge] in ("12", "21"))
        assert (found.outcome == "skipped") == ("unparsed" in found.flags) == ("?" in row[judge])


@pytest.mark.parametrize("judge", ["GPT-4 Vanilla", "Falcon CoT"])
def test_right_verdicts_are_what_counting_gives(rows, judge):
    decided = [row for row in rows if row[judge] in ("11", "22")]
    num_right = sum(row[judge][0] == row["gold"] for row in decided)
    assert figures_of(rows, judge).agreement_without_ties == wilson_interval(num_right, len(decided))


@pytest.mark.parametrize("model", ["GPT-4", "PaLM2", "LLaMA2", "ChatGPT", "ChatGPT-0301", "Falcon"])
def test_reasons_before_the_verdict_made_every_judge_flip_more(rows, model):
    assert figures_of(rows, f"{model} CoT").flip_rate.value > figures_of(rows, f"{model} Vanilla").flip_rate.value


def test_a_judge_that_goes_by_the_place_is_seen_and_demoted(rows):
    calls = [call for row in rows for call in calls_of(row, "Falcon CoT")]
    # A cell's verdicts for the first place: "1" as asked in the item's order, "2" with the answers changed about.
    shares = []
    for row in rows:
        firsts = [said == index for said, index in zip(row["Falcon CoT"], "12", strict=True) if said != "?"]
        shares += [sum(firsts) / len(firsts)] if firsts else []
    assert first_position_share(calls) == wilson_interval(sum(shares), len(shares))
    assert abs(sum(shares) / len(shares) - 0.5) > 0.3
    reasons = demotion(figures_of(rows, "Falcon CoT"), BandSettings())
    assert any("flip rate" in reason for reason in reasons)
    assert demotion(figures_of(rows, "GPT-4 Vanilla"), BandSettings()) == []
