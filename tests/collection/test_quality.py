import dataclasses
import itertools
import math
import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from collection.made_judgements import NOON, entry, item, items_of, pandalm
from kleash.collection.quality import (
    agreement,
    agreement_by_aspect,
    agreement_by_slice,
    agreement_over_time,
    first_position_share,
    gold_accuracy,
    longer_share,
    low_agreement_items,
    median_seconds,
    pair_verdicts,
    rater_table,
    self_consistency,
    too_fast_share,
)

FIRST, SECOND, TIE = (1, 2), (2, 1), (1, 1)
RATERS = ("ann", "bob", "cyd")


def campaign(seed, *, num_items=40, num_completions=2):
    """Three raters who mostly agree on every item, shown in drawn places."""
    chance = random.Random(seed)
    items, recorded = {}, []
    answers = tuple("x" * (3 + 2 * index) for index in range(num_completions))
    for number in range(num_items):
        one = item(f"i{number}", completions=answers, sources=(), slices={"topic": "sums" if number % 2 else "facts"})
        items[one.id] = one
        truth = [chance.randint(1, num_completions) for _ in range(num_completions)]
        for rater in RATERS:
            ranks = truth if chance.random() < 0.7 else [chance.randint(1, num_completions) for _ in truth]
            outcome = "ranked" if chance.random() < 0.9 else "both_bad"
            permutation = chance.sample(range(num_completions), num_completions)
            recorded.append(
                entry(one.id, rater, ranks if outcome == "ranked" else (), outcome=outcome, permutation=permutation)
            )
    return items, recorded


# ---------------------------------------------------------------------------------------------------------- agreement
def test_pandalm_as_published_and_computed():
    items, recorded = pandalm()
    found = agreement(items, recorded, num_resamples=50)
    assert round(found.percent.value, 5) == 0.91992
    assert round(found.fleiss_kappa.value, 6) == 0.864175
    assert round(found.alpha_nominal.value, 6) == 0.864221
    assert round(found.ac1.value, 6) == 0.886445
    assert found.percent.n == found.ac2.n == 999
    for without, kappa in (("annotator3", 0.852), ("annotator2", 0.879), ("annotator1", 0.862)):
        two = [entry for entry in recorded if entry.judgement.rater != without]
        assert round(agreement(items, two, num_resamples=1).cohen_kappa.value, 3) == kappa
    assert round(longer_share(items, recorded).value, 4) == 0.6678
    assert round(first_position_share(items, recorded).value, 4) == 0.4699
    assert len(low_agreement_items(items, recorded)) == 120


def test_agreement_by_hand():
    items = items_of(*(item(name) for name in ("i1", "i2", "i3", "i4")))
    recorded = [
        entry("i1", "ann", FIRST),
        entry("i1", "bob", FIRST),
        entry("i2", "ann", SECOND),
        entry("i2", "bob", TIE),
        entry("i3", "ann", TIE),
        entry("i3", "bob", outcome="both_bad"),
        entry("i4", "ann", FIRST),
    ]
    found = agreement(items, recorded, num_resamples=20)
    assert (found.percent.value, found.percent.n) == (pytest.approx(1 / 3), 3)
    assert (found.percent_without_ties.value, found.percent_without_ties.n) == (1.0, 1)
    # Shares of first, second, tie and both bad: 4/8, 1/8, 2/8, 1/8.
    chance = (1 - (16 + 1 + 4 + 1) / 64) / 3
    assert found.ac1.value == pytest.approx((1 / 3 - chance) / (1 - chance))
    # Where order matters both bad is a tie: i3 agrees, i2 is a near miss worth 2/3.
    chance = (3 + 4 * 2 / 3) / 6 * (1 - (16 + 1 + 9) / 64)
    assert found.ac2.value == pytest.approx(((1 + 2 / 3 + 1) / 3 - chance) / (1 - chance))
    assert found.cohen_kappa.value == pytest.approx((1 / 3 - 2 / 9) / (1 - 2 / 9))


@pytest.mark.parametrize("num_completions", [2, 3, 4])
def test_percentages_match_a_loop_over_pairs_of_raters(num_completions):
    items, recorded = campaign(1, num_completions=num_completions)
    same, decided_same = [], []
    for item_id in items:
        on_item = [pair_verdicts(b.judgement) for b in recorded if b.item_id == item_id]
        for one, other in itertools.combinations(on_item, 2):
            for pair in one:
                same.append(one[pair] == other[pair])
                if {one[pair], other[pair]} <= {"first", "second"}:
                    decided_same.append(one[pair] == other[pair])
    found = agreement(items, recorded, num_resamples=20)
    assert found.percent.value == pytest.approx(sum(same) / len(same))
    assert found.percent_without_ties.value == pytest.approx(sum(decided_same) / len(decided_same))
    assert found.percent.n == len(items)


def test_only_independent_votes_on_ordinary_items_count():
    items, recorded = campaign(2)
    expected = agreement(items, recorded, num_resamples=20)
    items["gold"] = item("gold", gold_ranks=FIRST)
    noise = [
        entry("i0", "ann", TIE, is_repeat=True),
        entry("i0", "dot", TIE, is_surplus=True),
        entry("i0", "eve", TIE, is_adjudication=True),
        entry("i0", "fay", outcome="skipped"),
        entry("gold", "ann", FIRST),
        entry("gold", "bob", SECOND),
    ]
    assert agreement(items, [*recorded, *noise], num_resamples=20) == expected


def test_what_was_shown_where_and_who_is_called_what_change_no_agreement():
    items, recorded = campaign(3, num_completions=3)
    renamed = {"ann": "zoe", "bob": "ann", "cyd": "bob"}
    moved = [
        dataclasses.replace(
            b,
            judgement=dataclasses.replace(
                b.judgement, rater=renamed[b.judgement.rater], permutation=b.judgement.permutation[::-1]
            ),
        )
        for b in recorded
    ]
    assert agreement(items, moved, num_resamples=20) == agreement(items, recorded, num_resamples=20)


def test_swapping_all_answers_with_their_ranks_changes_no_agreement():
    items, recorded = campaign(4)
    swapped = [
        dataclasses.replace(b, judgement=dataclasses.replace(b.judgement, ranks=b.judgement.ranks[::-1]))
        for b in recorded
    ]
    one, other = agreement(items, recorded, num_resamples=20), agreement(items, swapped, num_resamples=20)
    for figure in dataclasses.fields(one):
        ours, theirs = getattr(one, figure.name), getattr(other, figure.name)
        assert dataclasses.astuple(theirs) == pytest.approx(dataclasses.astuple(ours))


def test_the_pairs_of_a_ranking_are_drawn_together():
    items, recorded = campaign(5, num_completions=4)
    found = agreement(items, recorded, num_resamples=200)
    assert found.percent.n == 40
    # 240 pairs that are copies of 40 items know no more than the items do.
    assert found.percent.high - found.percent.low > 0.1


def test_nothing_judged_twice_is_nothing_known():
    found = agreement(items_of(item("i1")), [entry("i1", "ann", FIRST)])
    assert found.ac1.n == agreement({}, []).ac1.n == 0
    assert math.isnan(found.percent.value)


def test_each_slice_is_measured_on_its_own_items():
    items, recorded = campaign(6)
    found = agreement_by_slice(items, recorded, num_resamples=20)
    assert list(found) == ["topic"]
    assert list(found["topic"]) == ["facts", "sums"]
    sums = {name: one for name, one in items.items() if one.dimensions["topic"] == "sums"}
    assert found["topic"]["sums"] == agreement(sums, [b for b in recorded if b.item_id in sums], num_resamples=20)


def test_an_item_counts_in_the_period_of_its_last_vote():
    items = items_of(item("i1"), item("i2"))
    sunday = datetime(2027, 1, 3, 23, tzinfo=UTC)
    recorded = [
        entry("i1", "ann", FIRST, given_at=sunday - timedelta(days=9)),
        entry("i1", "bob", FIRST, given_at=sunday),
        entry("i2", "ann", FIRST, given_at=sunday),
        entry("i2", "bob", SECOND, given_at=sunday + timedelta(hours=2)),
    ]
    weeks = agreement_over_time(items, recorded, num_resamples=5)
    assert {name: found.percent.value for name, found in weeks.items()} == {"2026-W53": 1.0, "2027-W01": 0.0}
    days = agreement_over_time(items, recorded, period="day", num_resamples=5)
    assert {name: found.percent.value for name, found in days.items()} == {"2027-01-03": 1.0, "2027-01-04": 0.0}


def test_aspects_are_measured_apart():
    items = items_of(item("i1"))
    recorded = [
        entry("i1", "ann", FIRST, aspects={"factuality": FIRST, "style": SECOND}),
        entry("i1", "bob", SECOND, aspects={"factuality": FIRST, "style": TIE}),
        entry("i1", "cyd", FIRST),
    ]
    found = agreement_by_aspect(items, recorded, num_resamples=5)
    assert {name: one.percent.value for name, one in found.items()} == {"factuality": 1.0, "style": 0.0}


def test_the_review_queue_is_worst_first_and_without_what_was_ruled():
    items = items_of(*(item(name) for name in ("agreed", "split", "mild", "ruled")))
    votes = {
        "agreed": [FIRST, FIRST, FIRST],
        "mild": [FIRST, FIRST, FIRST, SECOND],
        "split": [FIRST, SECOND, TIE],
        "ruled": [FIRST, SECOND],
    }
    recorded = [entry(name, f"r{n}", ranks) for name, given in votes.items() for n, ranks in enumerate(given)]
    recorded.append(entry("ruled", "judge", FIRST, is_adjudication=True))
    split, mild = low_agreement_items(items, recorded)
    assert (split.item_id, split.entropy_bits, split.num_votes) == ("split", pytest.approx(math.log2(3)), 3)
    assert (mild.item_id, mild.verdicts) == ("mild", {"first": 3, "second": 1})


# ------------------------------------------------------------------------------------------------------------- raters
def test_gold_accuracy_by_hand():
    items = items_of(
        item("easy", gold_ranks=FIRST),
        item("hard", gold_ranks=SECOND, slices={"difficulty": "hard"}),
        item("three", completions=("a", "b", "c"), gold_ranks=(1, 2, 2)),
        item("equal", gold_ranks=TIE),
        item("ordinary"),
    )
    recorded = [
        entry("easy", "ann", FIRST),
        entry("easy", "bob", outcome="both_bad"),
        entry("hard", "ann", FIRST),
        entry("three", "ann", (1, 3, 1)),
        entry("equal", "ann", TIE),
        entry("ordinary", "ann", FIRST),
        entry("easy", "cyd", outcome="skipped"),
        entry("easy", "ann", SECOND, is_repeat=True),
    ]
    everything, easy = gold_accuracy(items, recorded), gold_accuracy(items, recorded, easy_only=True)
    assert (everything.value, everything.n) == (pytest.approx((1 + 0 + 0 + 0.5) / 4), 4)
    assert (easy.value, easy.n) == (pytest.approx(1.5 / 3), 3)


def test_a_repeat_is_held_against_the_same_raters_first_look():
    recorded = [
        entry("i1", "ann", FIRST),
        entry("i1", "bob", SECOND),
        entry("i1", "ann", FIRST, permutation=(1, 0), is_repeat=True),
        entry("i2", "ann", (1, 2, 3)),
        entry("i2", "ann", (2, 1, 3), is_repeat=True),
        entry("i3", "ann", outcome="both_bad"),
        entry("i3", "ann", outcome="both_bad", is_repeat=True),
        entry("i4", "ann", outcome="skipped"),
        entry("i4", "ann", FIRST, is_repeat=True),
    ]
    found = self_consistency(recorded)
    assert (found.value, found.n) == (pytest.approx((1 + 2 / 3 + 1) / 3), 3)


def test_the_first_position_is_the_place_shown_not_the_index():
    items = items_of(item("i1"), item("i2"), item("i3", completions=("a", "b", "c")))
    recorded = [
        entry("i1", "ann", FIRST, permutation=(0, 1)),
        entry("i2", "ann", FIRST, permutation=(1, 0)),
        entry("i1", "bob", TIE),
        # Shown c, a, b; c is best, then b, then a: of the pairs c > a and c > b went to the earlier, b > a did not.
        entry("i3", "ann", (3, 2, 1), permutation=(2, 0, 1)),
    ]
    found = first_position_share(items, recorded)
    assert (found.value, found.n) == (pytest.approx(3 / 5), 5)


def test_showing_everything_the_other_way_round_mirrors_the_first_position():
    items, recorded = campaign(7, num_completions=3)
    turned = [
        dataclasses.replace(b, judgement=dataclasses.replace(b.judgement, permutation=b.judgement.permutation[::-1]))
        for b in recorded
    ]
    one, other = first_position_share(items, recorded), first_position_share(items, turned)
    assert one.value + other.value == pytest.approx(1)
    assert longer_share(items, turned) == longer_share(items, recorded)


def test_longer_counts_decided_pairs_of_unequal_length():
    items = items_of(item("short-long"), item("same", completions=("yes", "non")))
    recorded = [
        entry("short-long", "ann", SECOND, permutation=(1, 0)),
        entry("short-long", "bob", FIRST),
        entry("short-long", "cyd", SECOND),
        entry("short-long", "dot", TIE),
        entry("same", "ann", FIRST),
    ]
    found = longer_share(items, recorded)
    assert (found.value, found.n) == (pytest.approx(2 / 3), 3)


def test_times_are_those_of_looks_with_a_verdict():
    seconds = {"i1": 1.0, "i2": 4.0, "i3": 10.0}
    recorded = [entry(name, "ann", FIRST, seconds=time) for name, time in seconds.items()]
    recorded += [entry("i4", "ann", outcome="skipped", seconds=0.5), entry("i5", "ann", FIRST)]
    middle = median_seconds(recorded)
    assert (middle.value, middle.n) == (4.0, 3)
    assert 1.0 <= middle.low <= middle.value <= middle.high <= 10.0
    assert too_fast_share(recorded, min_seconds=4.0).value == pytest.approx(1 / 3)
    assert math.isnan(median_seconds([]).value)


def test_a_row_per_rater():
    items = items_of(item("i1"), item("i2"), item("gold", gold_ranks=FIRST))
    recorded = [
        entry("i1", "bob", FIRST, seconds=2.0, flags=("unsafe",)),
        entry("i1", "ann", FIRST, seconds=9.0),
        entry("i1", "gpt", SECOND, kind="ai", flags=("position_flip",)),
        entry("i2", "bob", outcome="skipped", flags=("unsafe",)),
        entry("i2", "ann", TIE, seconds=30.0, given_at=NOON + timedelta(minutes=1)),
        entry("gold", "bob", SECOND, seconds=1.0),
    ]
    ann, bob, gpt = rater_table(items, recorded, min_seconds=2.5)
    assert (ann.rater, ann.kind, ann.num_items, gpt.kind) == ("ann", "person", 2, "ai")
    assert (ann.with_others.value, ann.with_others.n) == (0.5, 1)
    assert (bob.num_items, bob.num_skipped, bob.flags) == (2, 1, {"unsafe": 2})
    assert (bob.too_fast.value, bob.gold_accuracy.value, bob.easy_gold_accuracy.n) == (1.0, 0.0, 1)
    assert (gpt.with_others.value, gpt.median_seconds.n, gpt.flags) == (0.0, 0, Counter(position_flip=1))
    assert (ann.first_position.n, ann.longer.value, gpt.longer.value) == (1, 0.0, 1.0)


def test_agreement_with_the_others_matches_a_loop():
    items, recorded = campaign(8)
    ann = next(row for row in rater_table(items, recorded) if row.rater == "ann")
    verdict = {(b.item_id, b.judgement.rater): pair_verdicts(b.judgement)[0, 1] for b in recorded}
    same = [verdict[name, "ann"] == verdict[name, other] for name in items for other in ("bob", "cyd")]
    assert ann.with_others.value == pytest.approx(sum(same) / len(same))
    assert ann.with_others.n == len(items)
