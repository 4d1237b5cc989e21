import json
import math
from datetime import timedelta

import pytest

from collection.made_judgements import NOON, entry, item, items_of
from kleash.collection.charts import (
    agreement_by_slice_figure,
    agreement_over_time_figure,
    daily_figure,
    judge_charts,
    leaderboard_figure,
    progress_figure,
    rater_figures,
    seconds_figure,
)
from kleash.collection.leaderboard import Leaderboard, Standing
from kleash.collection.quality import Agreement, rater_table
from kleash.collection.views import Pace
from kleash.maths.intervals import Interval
from kleash.raters.monitoring import JudgeFigures

HOSTILE = "<img src=x>"
SHOWN = "&lt;img src=x&gt;"
NONE = Interval(math.nan, math.nan, math.nan, 0)


def rate(value, n=50, half_width=0.1):
    return Interval(value, value - half_width, value + half_width, n)


def measured(plain, ac1=None):
    others = dict.fromkeys(
        ("percent", "cohen_kappa", "fleiss_kappa", "alpha_nominal", "alpha_ordinal", "ac2"), rate(0.5)
    )
    return Agreement(percent_without_ties=plain, ac1=ac1 or rate(0.6), **others)


def bars_of(trace, axis):
    """Return the ends of a trace's error bars."""
    errors = trace[f"error_{axis}"]
    parts = zip(trace[axis], errors["arrayminus"], errors["array"], strict=True)
    return [(pytest.approx(value - below), pytest.approx(value + above)) for value, below, above in parts]


# ------------------------------------------------------------------------------------------------------------ progress
def present_pace(**ends):
    days = {name: NOON + timedelta(days=number) for name, number in ends.items()}
    return Pace(rate(10, 5, 2), 40, 10, **{"finish": None, "earliest": None, "latest": None, **days})


def test_progress_adds_up_and_leads_to_the_number_wanted():
    votes = {"2026-11-21": 10, "2026-11-22": 0, "2026-11-23": 20}
    figure = progress_figure(votes, present_pace(finish=1, earliest=0.5, latest=2), now=NOON)
    sums, fan, middle = figure["data"]
    assert list(sums["y"]) == [10, 10, 30, 30]
    assert list(middle["x"]) == [NOON.isoformat(), (NOON + timedelta(days=1)).isoformat()]
    assert list(middle["y"]) == [30, 40]
    assert [x[:13] for x in fan["x"]] == ["2026-11-23T12", "2026-11-24T00", "2026-11-25T12", "2026-11-23T12"]
    assert figure["layout"]["shapes"][0]["y0"] == 40


def test_a_finish_that_may_never_come_has_no_fan():
    figure = progress_figure({"2026-11-23": 30}, present_pace(finish=1, earliest=0.5), now=NOON)
    assert len(figure["data"]) == 2
    without = progress_figure({"2026-11-23": 30}, present_pace(), now=NOON)
    assert [trace.get("opacity") for trace in without["data"]] == [None, 0]


def test_days_are_drawn_as_counted():
    figure = daily_figure({"2026-11-22": 3, "2026-11-23": 0})
    assert list(figure["data"][0]["y"]) == [3, 0]


def test_every_verdict_is_in_one_bin_and_too_fast_ones_are_left_of_the_line():
    seconds = [0.1, 1.0, 1.9, 2.1, 30.0, 45.0, 45.0, 4000.0]
    figure = seconds_figure(seconds, min_seconds=2.0)
    [trace] = figure["data"]
    assert sum(trace["y"]) == len(seconds)
    line = figure["layout"]["shapes"][0]["x0"]
    assert line == pytest.approx(math.log10(2))
    assert sum(count for x, count in zip(trace["x"], trace["y"], strict=True) if x < line) == 3
    assert sum(seconds_figure([5.0, 5.0], min_seconds=0)["data"][0]["y"]) == 2


# ----------------------------------------------------------------------------------------------------------- agreement
def test_agreement_over_time_is_a_line_in_its_interval():
    over_time = {"2026-W47": measured(rate(0.7)), "2026-W48": measured(rate(0.8)), "2026-W49": measured(rate(0.9, n=9))}
    band, second, main = agreement_over_time_figure(over_time)["data"]
    assert list(main["x"]) == ["2026-W47", "2026-W48"]
    assert list(main["y"]) == pytest.approx([70, 80])
    assert list(second["y"]) == pytest.approx([60, 60])
    assert list(band["y"]) == pytest.approx([80, 90, 70, 60])
    assert main["text"][0] == "2026-W47: 70\u202f% (60 to 80\u202f%, n = 50)"


def test_slices_are_worst_first_within_their_dimension():
    by_slice = {
        "difficulty": {"easy": measured(rate(0.9)), "hard": measured(rate(0.6)), "odd": measured(rate(0.1, n=9))},
        "domain": {HOSTILE: measured(rate(0.5))},
    }
    figure = agreement_by_slice_figure(by_slice, rate(0.7))
    names = list(figure["layout"]["yaxis"]["ticktext"])[::-1]
    assert names == ["difficulty=hard", "difficulty=easy", f"domain={SHOWN}"]
    [trace] = figure["data"]
    assert list(trace["x"])[::-1] == pytest.approx([60, 90, 50])
    assert bars_of(trace, "x")[::-1] == [(50, 70), (80, 100), (40, 60)]
    assert figure["layout"]["shapes"][0]["x0"] == pytest.approx(70)


def test_raters_are_worst_first_in_every_habit():
    items = items_of(*(item(f"i{n}") for n in range(4)), item("g1", gold_ranks=(1, 2)))
    given = [entry(f"i{n}", "ann", (1, 2)) for n in range(4)]
    given += [entry(f"i{n}", "bob", (2, 1), permutation=(1, 0)) for n in range(4)]
    given += [entry("g1", "ann", (1, 2)), entry("g1", "bob", (2, 1))]
    drawn = rater_figures(rater_table(items, given))
    assert sorted(drawn) == ["first_position", "gold_accuracy", "longer", "with_others"]
    assert list(drawn["gold_accuracy"]["layout"]["yaxis"]["ticktext"]) == ["ann", "bob"]
    assert list(drawn["gold_accuracy"]["data"][0]["x"]) == [100, 0]
    assert sorted(drawn["longer"]["data"][0]["x"]) == [0, 100]


def test_the_leaderboard_shows_both_strengths_of_each_policy():
    standings = tuple(
        Standing(name, rate(raw), rate(controlled), rate(0.5), 1)
        for name, raw, controlled in (("ppo", 0.5, 0.3), (HOSTILE, -0.5, -0.3))
    )
    figure = leaderboard_figure(Leaderboard(standings, NONE, 9))
    raw, controlled = figure["data"]
    assert list(raw["x"]) == [-0.5, 0.5]
    assert list(controlled["x"]) == [-0.3, 0.3]
    assert bars_of(controlled, "x") == [(-0.4, -0.2), (0.2, 0.4)]
    assert list(figure["layout"]["yaxis"]["ticktext"]) == [SHOWN, "ppo"]


# -------------------------------------------------------------------------------------------------------------- judges
def test_each_judge_is_a_line_over_the_weeks_it_judged_in():
    def week(judge, name, flips):
        return JudgeFigures(judge, name, {}, NONE, flips, NONE, rate(0.5), NONE, NONE)

    weeks = [week("m@1", "2026-W47", rate(0.2)), week("m@1", "2026-W49", rate(0.3)), week(HOSTILE, "2026-W48", NONE)]
    drawn = judge_charts(weeks)
    assert sorted(drawn) == ["flips", "judge_longer"]
    [trace] = drawn["flips"]["data"]
    assert list(trace["y"]) == pytest.approx([20, 30])
    assert list(drawn["flips"]["layout"]["xaxis"]["ticktext"]) == ["2026-W47", "2026-W49"]
    assert [trace["name"] for trace in drawn["judge_longer"]["data"]] == [SHOWN, "m@1"]


def test_without_figures_nothing_is_drawn():
    nothing = Pace(NONE, 0, 0, None, None, None)
    assert progress_figure({}, nothing, now=NOON) is None
    assert daily_figure({}) is seconds_figure([], min_seconds=2.0) is None
    assert agreement_over_time_figure({"2026-W47": measured(rate(0.7))}) is None
    assert agreement_by_slice_figure({}, NONE) is None
    assert leaderboard_figure(Leaderboard((), NONE, 0)) is None
    assert rater_figures([]) == judge_charts([]) == {}


def test_figures_are_plain_data_a_page_can_carry():
    over_time = {"\ud800</script>": measured(rate(0.7)), "2026-W48": measured(rate(0.8), ac1=NONE)}
    figure = agreement_over_time_figure(over_time)
    assert json.loads(json.dumps(figure, allow_nan=False)) == figure
    assert figure["data"][1]["y"] == [pytest.approx(60), None]
