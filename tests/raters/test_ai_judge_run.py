"""A purse by hand: what is spent, what is put by, and what one question more would break."""

import pytest

from kleash.raters.configuration import JudgeSettings
from kleash.raters.judge_run import Concurrency, Spending
from kleash.raters.prompting import JudgeQuestion

# 36 bytes and 64 for the form make at most 100 prompt tokens; with at most 50 reply tokens: 100 * 2 + 50 * 4 = 400.
QUESTION = JudgeQuestion("k", ({"role": "user", "content": "é" * 18},), (0, 1), "d")


def purse(**limits):
    return Spending(
        JudgeSettings(
            base_url="http://h/v1",
            model="m",
            max_reply_tokens=50,
            price_per_million_prompt_tokens=2e6,
            price_per_million_reply_tokens=4e6,
            **limits,
        )
    )


def test_a_question_costs_at_most_its_bytes_and_the_longest_reply():
    assert purse().most(QUESTION) == 400.0


def test_questions_under_way_count_as_if_they_cost_the_most():
    spending = purse(budget=800.0)
    spending.start(QUESTION)
    assert spending.limit_met(QUESTION) == ""
    spending.start(QUESTION)
    assert spending.limit_met(QUESTION) == "budget = 800.0 (the next question may cost up to 400)"
    spending.finish(QUESTION, prompt_tokens=10, reply_tokens=5)
    assert (spending.cost, spending.own.reserved) == (40.0, 400.0)
    assert spending.limit_met(QUESTION) != ""
    spending.abandon(QUESTION)
    assert (spending.cost, spending.own.reserved) == (40.0, 0.0)
    assert spending.limit_met(QUESTION) == ""


@pytest.mark.parametrize("counted", [(None, None), (10, None), (None, 5)])
def test_a_reply_whose_tokens_nobody_counted_costs_the_most(counted):
    spending = purse()
    spending.start(QUESTION)
    spending.finish(QUESTION, *counted)
    assert spending.cost == 400.0


def test_the_number_of_calls_is_limited_by_itself():
    spending = purse(max_calls=1)
    assert spending.limit_met(QUESTION) == ""
    spending.start(QUESTION)
    spending.abandon(QUESTION)
    assert spending.limit_met(QUESTION) == "max_calls = 1"


def test_without_limits_nothing_stops():
    spending = purse()
    for _ in range(100):
        spending.start(QUESTION)
    assert spending.limit_met(QUESTION) == ""


def test_a_429_halves_what_is_under_way_and_answers_open_it_again():
    concurrency = Concurrency(8)
    concurrency.note(num_throttled=1, num_under_way=8)
    assert concurrency.width == 4.0
    # The other seven were sent at the old pace: their 429s say nothing new, and neither do they open it.
    for num_under_way in range(7, 0, -1):
        concurrency.note(num_throttled=9 - num_under_way, num_under_way=num_under_way)
    assert concurrency.width == 4.0
    concurrency.note(num_throttled=9, num_under_way=4)
    assert concurrency.width == 2.0
    for _ in range(60):
        concurrency.note(num_throttled=9, num_under_way=2)
    assert concurrency.width == 8.0


def test_one_question_at_a_time_is_the_least():
    concurrency = Concurrency(2)
    for num_throttled in range(1, 9):
        concurrency.note(num_throttled=num_throttled, num_under_way=1)
    assert concurrency.width == 1.0
