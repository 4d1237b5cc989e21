import dataclasses
import itertools
import math
import random

import choix
import numpy as np
import pytest
from scipy.optimize import minimize

from collection.made_judgements import entry, item, pandalm
from kleash.collection.leaderboard import leaderboard

FIRST, SECOND, TIE = (1, 2), (2, 1), (1, 1)


def sigmoid(logit):
    return 1 / (1 + math.exp(-logit))


def campaign(contests):
    """Make items and judgements of (source of first, of second, ranks per rater, answers)."""
    items, recorded = {}, []
    for number, (first, second, given, *answers) in enumerate(contests):
        one = item(f"i{number}", completions=answers[0] if answers else ("same", "size"), sources=(first, second))
        items[one.id] = one
        recorded += [entry(one.id, f"r{rater}", ranks) for rater, ranks in enumerate(given)]
    return items, recorded


def simulated(strengths, *, num_items, seed, length_effect=0.0, wordiness=None):
    """Pairs of policies drawn at random; a vote follows strength and log length. wordiness: mean characters."""
    chance = random.Random(seed)
    contests = []
    for _ in range(num_items):
        first, second = chance.sample(sorted(strengths), 2)
        lengths = [round(chance.uniform(0.5, 1.5) * (wordiness or {}).get(name, 20)) for name in (first, second)]
        gap = strengths[first] - strengths[second] + length_effect * math.log((1 + lengths[0]) / (1 + lengths[1]))
        wins = chance.random() < sigmoid(gap)
        contests.append((first, second, [FIRST if wins else SECOND], tuple("x" * length for length in lengths)))
    return campaign(contests)


def strengths_of(board):
    return {standing.source: standing.strength.value for standing in board.standings}


def test_two_policies_by_hand():
    # 12 wins, 4 losses, 4 ties: 14 of 20, so the gap is log(.7 / .3) and each lies half of it from the middle.
    items, recorded = campaign([("a", "b", [FIRST])] * 12 + [("a", "b", [SECOND])] * 4 + [("b", "a", [TIE])] * 4)
    board = leaderboard(items, recorded)
    half = math.log(0.7 / 0.3) / 2
    assert strengths_of(board) == pytest.approx({"a": half, "b": -half}, rel=2e-3)
    first = board.standings[0]
    assert (first.source, first.win_share.value, first.win_share.n, first.group) == ("a", pytest.approx(0.7), 20, 1)
    assert first.strength.low < first.strength.value < first.strength.high
    assert (board.num_votes, board.remark) == (20, "")


def test_choix_finds_the_same_strengths():
    items, recorded = simulated({"a": 0.0, "b": 0.7, "c": -0.4, "d": 1.5}, num_items=300, seed=1)
    recorded[::7] = [
        dataclasses.replace(b, judgement=dataclasses.replace(b.judgement, ranks=TIE)) for b in recorded[::7]
    ]
    outcomes = []
    for one in recorded:
        first, second = ("abcd".index(source) for source in items[one.item_id].comparison.sources)
        # Each vote twice, a tie once either way, so that choix, which knows no ties, counts them as half.
        outcomes += {
            FIRST: [(first, second)] * 2,
            SECOND: [(second, first)] * 2,
            TIE: [(first, second), (second, first)],
        }[one.judgement.ranks]
    expected = choix.opt_pairwise(4, outcomes, alpha=0.01, tol=1e-10)
    found = strengths_of(leaderboard(items, recorded, num_resamples=2))
    assert [found[source] for source in "abcd"] == pytest.approx(expected - expected.mean(), abs=1e-5)


def test_a_slow_twin_finds_the_same_with_length():
    items, recorded = simulated({"a": 0.0, "b": 0.7, "c": -0.4}, num_items=150, seed=2, length_effect=0.8)
    rows = []
    for one in recorded:
        comparison = items[one.item_id].comparison
        lengths = [math.log(1 + len(text)) for text in comparison.completions]
        places = ["abc".index(source) for source in comparison.sources]
        rows.append((*places, lengths[0] - lengths[1], float(one.judgement.ranks == FIRST)))
    unit = math.sqrt(sum(row[2] ** 2 for row in rows) / len(rows))

    def loss(parameters):
        total = 0.005 * float(np.sum(parameters**2))
        for first, second, length, score in rows:
            win = sigmoid(parameters[first] - parameters[second] + parameters[3] * length / unit)
            total -= score * math.log(win) + (1 - score) * math.log(1 - win)
        return total

    expected = minimize(loss, np.zeros(4), tol=1e-10).x
    board = leaderboard(items, recorded, num_resamples=2)
    found = {standing.source: standing.length_controlled.value for standing in board.standings}
    assert [found[source] for source in "abc"] == pytest.approx(expected[:3] - expected[:3].mean(), abs=1e-4)
    assert board.length_coefficient.value == pytest.approx(expected[3], abs=1e-4)


def test_known_strengths_are_recovered():
    truth = {"a": -1.0, "b": -0.2, "c": 0.3, "d": 0.9}
    board = leaderboard(*simulated(truth, num_items=4000, seed=3))
    assert [standing.source for standing in board.standings] == ["d", "c", "b", "a"]
    for standing in board.standings:
        assert standing.strength.value == pytest.approx(truth[standing.source], abs=0.12)
        assert standing.strength.low <= truth[standing.source] <= standing.strength.high


def test_length_control_takes_a_pure_length_effect_away():
    equal = {"short": 0.0, "middling": 0.0, "wordy": 0.0}
    wordiness = {"short": 20, "middling": 40, "wordy": 80}
    board = leaderboard(*simulated(equal, num_items=3000, seed=4, length_effect=1.0, wordiness=wordiness))
    by_name = {standing.source: standing for standing in board.standings}
    assert by_name["wordy"].strength.low > 0.4
    for standing in board.standings:
        assert standing.length_controlled.low < 0 < standing.length_controlled.high
    assert board.length_coefficient.low > 0.5


def test_no_length_effect_leaves_the_board_as_it_is():
    truth = {"a": -0.5, "b": 0.5}
    board = leaderboard(*simulated(truth, num_items=2000, seed=5, wordiness={"a": 20, "b": 30}))
    assert board.length_coefficient.low < 0 < board.length_coefficient.high
    for standing in board.standings:
        assert standing.length_controlled.value == pytest.approx(standing.strength.value, abs=0.15)


def test_equal_lengths_have_no_coefficient():
    board = leaderboard(*campaign([("a", "b", [FIRST, SECOND, FIRST])]))
    assert (board.length_coefficient.n, math.isnan(board.length_coefficient.value)) == (0, True)
    assert board.standings[0].length_controlled == board.standings[0].strength


def test_swapping_the_answers_with_their_ranks_changes_nothing():
    items, recorded = simulated({"a": 0.0, "b": 0.7, "c": -0.4}, num_items=60, seed=6, length_effect=1.0)
    turned = {
        name: dataclasses.replace(
            one,
            comparison=dataclasses.replace(
                one.comparison,
                completions=one.comparison.completions[::-1],
                sources=one.comparison.sources[::-1],
            ),
        )
        for name, one in items.items()
    }
    swapped = [
        dataclasses.replace(b, judgement=dataclasses.replace(b.judgement, ranks=b.judgement.ranks[::-1]))
        for b in recorded
    ]
    one, other = leaderboard(items, recorded), leaderboard(turned, swapped)
    assert other.length_coefficient.value == pytest.approx(one.length_coefficient.value)
    for ours, theirs in zip(one.standings, other.standings, strict=True):
        assert theirs.source == ours.source
        for figure in ("strength", "length_controlled", "win_share"):
            expected = dataclasses.astuple(getattr(ours, figure))
            assert dataclasses.astuple(getattr(theirs, figure)) == pytest.approx(expected)


def test_a_ranking_is_its_pairs_and_one_item():
    one = item("i", completions=("a", "b", "c"), sources=("p", "q", "r"))
    board = leaderboard(
        {"i": one}, [entry("i", "ann", (2, 1, 2)), entry("i", "bob", outcome="both_bad", num_completions=3)]
    )
    assert (board.standings[0].source, board.num_votes) == ("q", 6)
    assert {standing.source: standing.win_share.value for standing in board.standings} == {
        "q": 0.75,
        "p": 0.375,
        "r": 0.375,
    }
    assert [standing.strength.n for standing in board.standings] == [1, 1, 1]


def test_votes_of_more_raters_on_the_same_items_do_not_narrow_the_interval():
    contests = [("a", "b", [FIRST if number % 3 else SECOND]) for number in range(60)]
    once = leaderboard(*campaign(contests)).standings[0].strength
    often = leaderboard(*campaign([(a, b, given * 5) for a, b, given in contests])).standings[0].strength
    assert often.high - often.low == pytest.approx(once.high - once.low, rel=0.05)


def test_winning_everything_is_strong_but_finite():
    board = leaderboard(*campaign([("a", "b", [FIRST])] * 50))
    strengths = strengths_of(board)
    assert 2 < strengths["a"] < 10
    assert strengths["b"] == pytest.approx(-strengths["a"])


def test_policies_that_never_met_stand_in_groups():
    contests = [("a", "b", [FIRST]), ("b", "c", [FIRST]), ("x", "y", [FIRST])]
    board = leaderboard(*campaign(contests * 5))
    assert [(standing.source, standing.group) for standing in board.standings] == [
        ("a", 1),
        ("b", 1),
        ("c", 1),
        ("x", 2),
        ("y", 2),
    ]
    for _, group in itertools.groupby(board.standings, key=lambda standing: standing.group):
        assert sum(standing.strength.value for standing in group) == pytest.approx(0, abs=1e-9)
    assert board.remark == (
        "2 groups of policies never met: a, b, c; x, y. Strengths of different groups cannot be compared; label pairs "
        "across them."
    )


@pytest.mark.parametrize(
    ("sources", "ranks", "remark"),
    [
        ((), FIRST, "No answer names the policy it came from, so there is nothing to rank."),
        (("a", "a"), FIRST, "All answers are of one policy, a: there is nothing to rank it against."),
        (("a", "b"), (), "No vote yet is between answers of two different policies."),
    ],
)
def test_an_empty_board_says_why(sources, ranks, remark):
    given = [entry("i", "ann", ranks, outcome="ranked" if ranks else "skipped")]
    board = leaderboard({"i": item("i", sources=sources)}, given)
    assert (board.standings, board.num_votes, board.remark) == ((), 0, remark)


def test_gold_repeats_and_rulings_are_no_votes():
    items, recorded = campaign([("a", "b", [FIRST, SECOND, FIRST])])
    expected = leaderboard(items, recorded)
    items["gold"] = item("gold", sources=("b", "a"), gold_ranks=FIRST)
    noise = [
        entry("gold", "ann", FIRST),
        entry("i0", "ann", SECOND, is_repeat=True),
        entry("i0", "judge", SECOND, is_adjudication=True),
    ]
    assert leaderboard(items, [*recorded, *noise]).standings == expected.standings


def test_pandalm_ranks_its_five_models():
    board = leaderboard(*pandalm())
    assert [standing.source for standing in board.standings] == [
        "llama-7b",
        "pythia-6.9b",
        "bloom-7b",
        "opt-7b",
        "cerebras-gpt-6.7B",
    ]
    assert board.num_votes == 2997
    assert board.length_coefficient.low > 0.9
