import math
from datetime import timedelta

import pytest

from collection.made_judgements import NOON, entry, item, items_of
from kleash.collection.aggregation import AggregationSettings
from kleash.collection.campaign import DEFAULT_RUBRIC, Campaign, CampaignSettings
from kleash.collection.recorded import ordinary_votes
from kleash.collection.store.campaigns import CampaignProgress
from kleash.collection.views import (
    export_command,
    item_lines,
    pace,
    quality_of,
    rater_lines,
    rubric_versions,
    verdict_words,
    votes_by_day,
)

FIRST, SECOND, TIE = (1, 2), (2, 1), (1, 1)


def progress(num_full=0, num_done=0, *, num_items=10, num_slots=30, num_held=0, target=10):
    return CampaignProgress(num_items, num_full, num_slots, num_done, num_held, target)


def votes_of(per_day):
    """Return so many votes in each of the last days, today last, all an hour before noon."""
    days = [NOON - timedelta(days=ago, hours=1) for ago in range(len(per_day) - 1, -1, -1)]
    return [
        entry("i1", f"rater {day:%d} {number}", FIRST, given_at=day)
        for day, num_votes in zip(days, per_day, strict=True)
        for number in range(num_votes)
    ]


# --------------------------------------------------------------------------------------------------------------- pace
def test_pace_by_hand():
    found = pace(votes_of([0, 1, 3, 5]), progress(num_full=3, num_done=9), now=NOON)
    # The first vote came 2 days and 1 hour ago, so two whole days count: 3 and 5 votes.
    assert (found.votes_per_day.value, found.votes_per_day.n) == (4.0, 2)
    assert (found.num_wanted, found.num_left) == (30, 21)
    assert found.finish == NOON + timedelta(days=21 / 4)


def test_the_ends_of_the_pace_are_the_ends_of_the_finish():
    found = pace(votes_of([4, 5, 6, 5, 4, 6, 5]), progress(num_done=9), now=NOON)
    assert found.earliest < found.finish < found.latest
    assert (found.earliest - NOON) / timedelta(days=1) == pytest.approx(21 / found.votes_per_day.high)
    assert (found.latest - NOON) / timedelta(days=1) == pytest.approx(21 / found.votes_per_day.low)


def test_a_pace_that_may_be_nothing_may_never_end():
    found = pace(votes_of([9, 0, 0, 1]), progress(num_done=9), now=NOON)
    assert found.votes_per_day.low == 0  # a rate, whatever Student's t says of so few days
    assert found.finish is not None
    assert found.latest is None


def test_votes_of_long_ago_are_no_pace():
    old = [entry("i1", "ann", FIRST, given_at=NOON - timedelta(days=40))]
    found = pace(old, progress(num_done=9), now=NOON)
    assert (found.votes_per_day.value, found.votes_per_day.n) == (0.0, 14)
    assert found.finish is None


def test_the_first_day_has_a_pace_without_an_interval():
    young = [entry("i1", rater, FIRST, given_at=NOON - timedelta(hours=6)) for rater in ("ann", "bob")]
    found = pace(young, progress(num_done=2), now=NOON)
    assert found.votes_per_day.value == pytest.approx(8.0)
    assert math.isnan(found.votes_per_day.low)
    assert (found.earliest, found.latest) == (None, None)


@pytest.mark.parametrize(
    ("given", "num_wanted", "num_left"),
    [
        ({"num_full": 10, "num_done": 30}, 30, 0),
        ({"num_full": 4, "num_done": 14, "target": 5}, 15, 1),
        ({"num_full": 4, "num_done": 16, "target": 5}, 15, 1),
        ({"num_items": 0, "num_slots": 0, "target": 0}, 0, 0),
    ],
)
def test_what_is_left(given, num_wanted, num_left):
    found = pace([], progress(**given), now=NOON)
    assert (found.num_wanted, found.num_left) == (num_wanted, num_left)


def test_days_without_votes_count_as_days():
    assert votes_by_day(votes_of([2, 0, 1])) == {"2026-11-21": 2, "2026-11-22": 0, "2026-11-23": 1}
    assert votes_by_day([]) == {}


def test_only_votes_on_ordinary_items_bring_the_end_nearer():
    items = items_of(item("i1"), item("g1", gold_ranks=FIRST))
    given = [
        entry("i1", "ann", FIRST),
        entry("g1", "ann", FIRST),
        entry("i1", "ann", FIRST, is_repeat=True),
        entry("i1", "cyd", FIRST, is_surplus=True),
        entry("i1", "dee", outcome="skipped"),
    ]
    assert ordinary_votes(items, given) == given[:1]


# ------------------------------------------------------------------------------------------------------------- quality
def test_the_period_grows_with_the_campaign():
    items = items_of(item("i1"), item("i2"))

    def period(days):
        late = NOON + timedelta(days=days)
        given = [entry("i1", "ann", FIRST), entry("i2", "ann", FIRST, given_at=late)]
        return quality_of(items, given, min_seconds=2.0).period

    assert (period(28), period(29)) == ("day", "week")
    assert quality_of({}, [], min_seconds=2.0).agreement.percent.n == 0


def test_raters_come_worst_first_and_rulings_make_no_rater():
    items = items_of(*(item(f"i{n}") for n in range(12)), *(item(f"g{n}", gold_ranks=FIRST) for n in range(12)))
    given = [entry(f"g{n}", "good", FIRST) for n in range(12)] + [entry(f"g{n}", "bad", SECOND) for n in range(12)]
    given += [entry(f"i{n}", rater, FIRST) for n in range(12) for rater in ("good", "bad", "idle")]
    given.append(entry("i1", "judge", FIRST, is_adjudication=True))
    lines = rater_lines(items, given, min_seconds=2.0)
    assert [(line.row.rater, line.state) for line in lines] == [
        ("bad", "fail"),
        ("good", "unknown"),
        ("idle", "unknown"),
    ]
    assert [gate.name for gate in lines[0].gates if gate.state == "fail"] == ["easy_gold_accuracy"]


# --------------------------------------------------------------------------------------------------------------- items
def test_an_items_votes_are_split_without_saying_which_way():
    items = items_of(item("i1"), item("i2"), item("i3", hold="names a model"), item("g1", gold_ranks=FIRST), item("i4"))
    given = [
        entry("i1", "ann", SECOND),
        entry("i1", "bob", SECOND),
        entry("i1", "cyd", TIE),
        entry("i1", "dee", outcome="both_bad"),
        entry("i2", "ann", FIRST),
        entry("i2", "judge", FIRST, is_adjudication=True),
    ]
    found = {line.item.id: (line.state, line.split) for line in item_lines(items, given)}
    assert found == {
        "i1": ("full", (2, 1, 1)),
        "i2": ("ruled", (1,)),
        "i3": ("held", ()),
        "g1": ("gold", ()),
        "i4": ("waiting", ()),
    }


def test_ranks_with_gaps_are_the_same_verdict():
    items = items_of(item("i1", completions=("a", "b", "c")))
    given = [entry("i1", "ann", (1, 1, 3)), entry("i1", "bob", (1, 1, 2))]
    assert item_lines(items, given)[0].split == (2,)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (("ranked", (1, 2), "much"), "A much better"),
        (("ranked", (2, 1), "better"), "B better"),
        (("ranked", (1, 1), None), "tie"),
        (("ranked", (2, 1, 1), None), "B = C > A"),
        (("ranked", (1, 1, 1), None), "tie"),
        (("both_bad", (), None), "both bad"),
        (("skipped", (), None), "skipped"),
    ],
)
def test_verdicts_in_words(said, words):
    assert verdict_words(*said) == words


# ------------------------------------------------------------------------------------------------------ rubric, export
def test_a_rubrics_versions_show_what_changed():
    texts = [("v1", "one\ntwo\n"), ("v2", "one\n2\n")]
    [second, first] = rubric_versions(texts, [])
    assert (first.version, first.changes) == ("v1", ())
    assert list(second.changes) == ["@@ -1,2 +1,2 @@", " one", "-two", "+2"]


def test_the_command_repeats_what_was_chosen_and_nothing_else():
    campaign = Campaign(1, "it's round 2", "open", CampaignSettings(), "", DEFAULT_RUBRIC, "", NOON)
    plain = """kleash collect export 'it'"'"'s round 2' --into preferences"""
    assert export_command(campaign, AggregationSettings()) == plain
    chosen = AggregationSettings(method="majority", min_seconds=2, leave_out_flagged=("unsafe",))
    assert export_command(campaign, chosen).endswith(
        """--set method=majority --set min_seconds=2.0 --set 'leave_out_flagged=["unsafe"]'"""
    )
