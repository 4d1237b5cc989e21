import math
import random
from collections import defaultdict
from datetime import timedelta

import pytest

from collection.made_judgements import NOON, entry, item, items_of
from kleash.collection.aggregation import AggregationSettings, PairVote, aggregate, dawid_skene
from kleash.errors import DataError
from kleash.records import Pair

FIRST, SECOND, TIE = (1, 2), (2, 1), (1, 1)


def votes(item_id, *ranks, **settings):
    return [entry(item_id, f"r{number}", given, **settings) for number, given in enumerate(ranks)]


def simulated(skills, *, num_pairs=400, seed=0, num_voters=None):
    """Votes of raters who are right with the given probabilities, and which answer was better in truth."""
    chance = random.Random(seed)
    truth = {(f"i{number}", 0, 1): chance.random() < 0.5 for number in range(num_pairs)}
    cast = []
    for pair, is_first in truth.items():
        for rater in chance.sample(sorted(skills), num_voters or len(skills)):
            is_right = chance.random() < skills[rater]
            cast.append(PairVote(pair, rater, float(is_first == is_right)))
    return cast, truth


# --------------------------------------------------------------------------------------------------------------- rows
def test_the_plain_case_is_the_share_of_votes():
    items = items_of(
        item("i1"), item("i2", completions=("a", "b", "c"), sources=()), item("i3"), item("i4"), item("i5")
    )
    recorded = [
        *votes("i1", FIRST, FIRST, TIE, SECOND),
        entry("i1", "late", outcome="both_bad"),
        *votes("i2", (1, 2, 2), (3, 1, 2)),
        entry("i3", "ann", outcome="both_bad"),
        entry("i3", "bob", outcome="skipped"),
        entry("i4", "ann", outcome="skipped"),
    ]
    found = aggregate(items, recorded)
    first, ranking, bad, skipped, untouched = found.rows
    assert first.pairs == (Pair(0, 1, 2.5 / 4),)
    assert (first.num_judgements, first.left_out, first.sources) == (5, "", ("a", "b"))
    assert (first.prompt, first.completions) == (items["i1"].comparison.prompt, items["i1"].comparison.completions)
    assert ranking.pairs == (Pair(0, 1, 0.5), Pair(0, 2, 0.5), Pair(1, 2, 0.75))
    assert [row.left_out for row in (bad, skipped, untouched)] == ["both_bad and skipped", "skipped", "not judged"]
    assert bad.pairs == skipped.pairs == untouched.pairs == ()
    assert found.rows_left_out == {"both_bad and skipped": 1, "skipped": 1, "not judged": 1}
    assert found.judgements_left_out == found.skills == {}


def test_the_order_of_judgements_and_the_names_of_raters_change_nothing():
    items = items_of(item("i1"), item("i2"))
    recorded = [*votes("i1", FIRST, TIE, SECOND), *votes("i2", FIRST, FIRST, SECOND)]
    for method in ("vote_share", "majority", "dawid_skene"):
        settings = AggregationSettings(method=method)
        rows = aggregate(items, recorded, settings=settings).rows
        assert aggregate(items, recorded[::-1], settings=settings).rows == rows
        renamed = [entry(b.item_id, f"z{9 - int(b.judgement.rater[1])}", b.judgement.ranks) for b in recorded]
        labels = [row.pairs[0].label for row in aggregate(items, renamed, settings=settings).rows]
        assert labels == pytest.approx([row.pairs[0].label for row in rows])


@pytest.mark.parametrize(
    ("given", "label"), [([FIRST, FIRST, SECOND], 1.0), ([SECOND, SECOND, TIE], 0.0), ([FIRST, SECOND], 0.5)]
)
def test_the_majority_takes_all(given, label):
    [row] = aggregate(items_of(item("i1")), votes("i1", *given), settings=AggregationSettings(method="majority")).rows
    assert row.pairs[0].label == label


def test_strength_is_the_winners_median():
    items = items_of(item("i1"), item("i2"), item("i3"), item("i4", completions=("a", "b", "c")))
    recorded = [
        *votes("i1", FIRST, strength="much"),
        entry("i1", "bob", FIRST, strength="slightly"),
        entry("i1", "cyd", FIRST, strength="better"),
        entry("i1", "dot", SECOND, strength="much"),
        entry("i2", "ann", SECOND, strength="much"),
        entry("i2", "bob", SECOND, strength="slightly"),
        entry("i3", "ann", FIRST, strength="much"),
        entry("i3", "bob", SECOND, strength="much"),
        entry("i4", "ann", (1, 2, 3), strength="much"),
    ]
    rows = aggregate(items, recorded).rows
    assert [row.pairs[0].strength for row in rows] == ["better", "slightly", None, None]


def test_aspects_reach_the_row_as_they_were_given():
    items = items_of(item("i1"), item("i2"))
    recorded = [
        entry("i1", "ann", FIRST, aspects={"style": SECOND, "factuality": FIRST}),
        entry("i1", "bob", FIRST, aspects={"style": TIE}),
        entry("i1", "cyd", outcome="both_bad", aspects={"style": SECOND}),
        entry("i2", "ann", FIRST),
    ]
    with_aspects, without = aggregate(items, recorded).rows
    assert with_aspects.aspects == {
        "factuality": (Pair(0, 1, 1.0),),
        "style": (Pair(0, 1, pytest.approx(0.5 / 3)),),
    }
    assert without.aspects == {}


def test_the_last_ruling_takes_the_votes_place():
    items = items_of(item("i1"), item("i2"), item("i3"))
    recorded = [
        *votes("i1", FIRST, FIRST, SECOND, aspects={"style": FIRST}, flags=("unreadable",)),
        entry("i1", "judge", FIRST, is_adjudication=True, given_at=NOON),
        entry("i1", "chief", SECOND, strength="much", is_adjudication=True, given_at=NOON + timedelta(hours=1)),
        entry("i1", "judge", outcome="skipped", is_adjudication=True, given_at=NOON + timedelta(hours=2)),
        *votes("i2", FIRST, FIRST),
        entry("i2", "judge", outcome="both_bad", is_adjudication=True),
        *votes("i3", FIRST, SECOND),
        entry("i3", "judge", TIE, is_adjudication=True),
    ]
    for method in ("vote_share", "dawid_skene"):
        found = aggregate(items, recorded, settings=AggregationSettings(method=method, min_agreement=0.9))
        overruled, bad, tied = found.rows
        assert (overruled.pairs, overruled.left_out) == ((Pair(0, 1, 0.0, "much"),), "")
        assert overruled.aspects == {}
        assert (bad.pairs, bad.left_out) == ((), "both_bad")
        assert (tied.pairs[0].label, tied.left_out) == (0.5, "")


# ------------------------------------------------------------------------------------------------------------ filters
def test_what_never_counts_is_counted():
    items = items_of(item("i1"), item("gold", gold_ranks=FIRST), item("held", hold="names a model"), item("late"))
    recorded = [
        *votes("i1", FIRST),
        entry("i1", "r0", SECOND, is_repeat=True),
        entry("i1", "bob", SECOND, is_surplus=True),
        *votes("gold", FIRST),
        entry("late", "ann", FIRST, is_surplus=True),
    ]
    found = aggregate(items, recorded)
    assert found.rows[0].pairs == (Pair(0, 1, 1.0),)
    assert found.rows[0].num_judgements == 1
    assert found.judgements_left_out == {"repeat": 1, "surplus": 2}
    assert found.rows_left_out == {"gold": 1, "names a model": 1, "no judgement counts": 1}


def test_hasty_verdicts_are_left_out_if_asked():
    items = items_of(item("i1"))
    recorded = [
        entry("i1", "ann", FIRST, seconds=1.9),
        entry("i1", "bob", SECOND, seconds=2.0),
        entry("i1", "cyd", SECOND),
        entry("i1", "dot", outcome="skipped", seconds=0.1),
        entry("i1", "judge", SECOND, seconds=0.1, is_adjudication=True),
    ]
    assert aggregate(items, recorded).judgements_left_out == {}
    found = aggregate(items, recorded, settings=AggregationSettings(min_seconds=2))
    assert found.judgements_left_out == {"too fast": 1}
    assert found.rows[0].num_judgements == 4


def test_raters_who_fail_easy_gold_are_left_out_if_asked():
    hard = item("hard", gold_ranks=FIRST, slices={"difficulty": "hard"})
    items = items_of(item("i1"), item("easy", gold_ranks=FIRST), hard)
    recorded = [
        entry("easy", "bad", SECOND),
        entry("i1", "bad", SECOND),
        entry("easy", "good", FIRST),
        entry("hard", "good", SECOND),
        entry("i1", "good", FIRST),
        entry("hard", "untested", SECOND),
        entry("i1", "untested", FIRST),
    ]
    found = aggregate(items, recorded, settings=AggregationSettings(min_gold_accuracy=0.8))
    assert found.rows[0].pairs == (Pair(0, 1, 1.0),)
    assert found.judgements_left_out == {"rater's gold accuracy": 2}


def test_items_of_low_agreement_are_left_out_if_asked():
    items = items_of(item("split"), item("agreed"), item("lone"), item("bad"))
    recorded = [
        *votes("split", FIRST, FIRST, SECOND),
        *votes("agreed", FIRST, FIRST),
        *votes("lone", FIRST),
        *votes("bad", FIRST),
        entry("bad", "ann", outcome="both_bad"),
    ]
    found = aggregate(items, recorded, settings=AggregationSettings(min_agreement=0.5))
    assert [row.left_out for row in found.rows] == ["low agreement", "", "", "low agreement"]
    assert found.rows[0].pairs == (Pair(0, 1, pytest.approx(2 / 3)),)
    assert aggregate(items, recorded).rows_left_out == {}


def test_flagged_texts_are_left_out():
    items = items_of(item("i1"), item("i2"))
    recorded = [
        entry("i1", "ann", FIRST, flags=("unsafe", "position_flip")),
        entry("i1", "bob", outcome="skipped", flags=("unreadable",)),
        entry("i2", "gpt", FIRST, kind="ai", flags=("position_flip",)),
    ]
    assert [row.left_out for row in aggregate(items, recorded).rows] == ["flagged unreadable and unsafe", ""]
    assert aggregate(items, recorded, settings=AggregationSettings(leave_out_flagged=())).rows_left_out == {}


# -------------------------------------------------------------------------------------------------------- Dawid-Skene
def test_skills_are_recovered_and_beat_the_majority():
    skills = {"a": 0.95, "b": 0.9, "c": 0.65, "d": 0.6, "e": 0.55}
    cast, truth = simulated(skills, num_pairs=1500)
    found = dawid_skene(cast)
    for rater, skill in skills.items():
        assert found.skills[rater] == pytest.approx(skill, abs=0.035)
    per_pair = defaultdict(list)
    for vote in cast:
        per_pair[vote.pair].append(vote.for_first)
    by_skill = sum((found.first_better[pair] > 0.5) == is_first for pair, is_first in truth.items())
    by_majority = sum((sum(given) > 2.5) == truth[pair] for pair, given in per_pair.items())
    assert by_skill > by_majority + 0.05 * len(truth)


def test_a_rater_who_is_mostly_wrong_is_read_the_other_way():
    cast, truth = simulated({"a": 0.9, "b": 0.85, "c": 0.85, "liar": 0.15}, num_pairs=500)
    found = dawid_skene(cast)
    assert found.skills["liar"] == pytest.approx(0.15, abs=0.05)
    assert sum((found.first_better[pair] > 0.5) == is_first for pair, is_first in truth.items()) > 0.93 * len(truth)


def test_a_slow_twin_finds_the_same():
    cast, _ = simulated({"a": 0.9, "b": 0.7, "c": 0.6, "d": 0.8}, num_pairs=30, num_voters=3, seed=2)
    cast += [PairVote(("lone", 0, 1), "b", 1.0), PairVote(("i0", 0, 1), "e", 0.5), PairVote(("tied", 0, 1), "a", 0.5)]
    decided = defaultdict(dict)
    for vote in cast:
        if vote.for_first != 0.5:
            decided[vote.pair][vote.rater] = vote.for_first
    better = {pair: sum(given.values()) / len(given) for pair, given in decided.items()}
    for _ in range(500):
        skills = {}
        for rater in "abcde":
            right, total = 2.0, 3.0
            for pair, given in decided.items():
                if rater in given and len(given) > 1:
                    right += better[pair] if given[rater] else 1 - better[pair]
                    total += 1
            skills[rater] = right / total
        for pair, given in decided.items():
            first = math.prod(skills[r] if v else 1 - skills[r] for r, v in given.items())
            second = math.prod(1 - skills[r] if v else skills[r] for r, v in given.items())
            better[pair] = first / (first + second)
    found = dawid_skene(cast, tolerance=1e-12)
    assert found.skills == pytest.approx(skills)
    assert found.skills["e"] == pytest.approx(2 / 3)
    assert found.first_better == pytest.approx({**better, ("tied", 0, 1): 0.5})


def test_swapping_the_answers_swaps_the_outcome():
    cast, _ = simulated({"a": 0.9, "b": 0.7, "c": 0.6}, num_pairs=50, seed=3)
    swapped = [PairVote(vote.pair, vote.rater, 1 - vote.for_first) for vote in cast]
    one, other = dawid_skene(cast), dawid_skene(swapped)
    assert other.skills == pytest.approx(one.skills)
    assert other.first_better == pytest.approx({pair: 1 - share for pair, share in one.first_better.items()})


def test_a_lone_rater_is_not_believed_blindly():
    found = dawid_skene([PairVote((f"i{number}", 0, 1), "ann", 1.0) for number in range(100)])
    assert list(found.first_better.values()) == pytest.approx([2 / 3] * 100)
    assert dawid_skene([]).skills == {}


def test_what_does_not_settle_is_an_error():
    cast, _ = simulated({"a": 0.9, "b": 0.7, "c": 0.6}, num_pairs=50, seed=3)
    with pytest.raises(DataError, match=r"did not settle to -1 in 10000 rounds over 150 votes, expected .* Label by"):
        dawid_skene(cast, tolerance=-1)


def test_learned_labels_reach_the_rows():
    names = [f"i{number}" for number in range(60)]
    items = items_of(*(item(name, completions=("a", "b", "c")) for name in names))
    chance = random.Random(0)
    recorded = []
    for name in names:
        for rater in ("ann", "bob", "cyd", "dice"):
            ranks = [1, 2, 3]
            if rater == "dice":
                chance.shuffle(ranks)
            recorded.append(entry(name, rater, ranks))
    found = aggregate(items, recorded, settings=AggregationSettings(method="dawid_skene"))
    assert found.skills["dice"] < 0.6 < 0.95 < found.skills["ann"]
    labels = [pair.label for row in found.rows for pair in row.pairs]
    assert min(labels) > 0.99
    assert [(pair.first, pair.second) for pair in found.rows[0].pairs] == [(0, 1), (0, 2), (1, 2)]
