"""Simulated labellers: Bradley-Terry in the true reward, biased as asked, the same in any order."""

import itertools
import math
import random
from collections import Counter

import pytest

from kleash.errors import SettingsError
from kleash.records import Comparison, Prompt
from kleash.sandbox.demonstrations import MIXED, write_answer
from kleash.sandbox.gold import gold_reward
from kleash.sandbox.labellers import PANELS, SHARPNESS, SimulatedLabellers, rank_with_ties
from kleash.sandbox.world import draw_questions

BEES = Prompt("what do bees make?")
HONEY_OR_MILK = ("it is honey.", "it is milk.")


@pytest.fixture(scope="module")
def comparisons():
    chance = random.Random(0)
    return [
        Comparison(asked.prompt, tuple(write_answer(asked.question, MIXED, chance) for _ in range(2)))
        for asked in draw_questions(1500, seed=0)
    ]


def test_a_judgement_is_what_a_person_would_have_left():
    comparison = Comparison(BEES, HONEY_OR_MILK)
    judgements = SimulatedLabellers("hurried", seed=1).judge(comparison)
    assert [judgement.rater for judgement in judgements] == ["hurried-1", "hurried-2", "hurried-3"]
    for judgement in judgements:
        assert judgement.comparison_id == comparison.id
        assert judgement.rater_kind == "simulated"
        assert sorted(judgement.permutation) == [0, 1]
        assert set(judgement.aspects) == {"factuality", "style"}
        assert (judgement.strength is None) == (len(set(judgement.ranks)) == 1)


def test_verdicts_depend_on_seed_and_comparison_not_on_order(comparisons):
    labellers = SimulatedLabellers(seed=3)
    forwards = list(labellers.compare(comparisons[:60]))
    backwards = list(labellers.compare(comparisons[:60][::-1]))
    assert sorted(forwards, key=repr) == sorted(backwards, key=repr)
    assert forwards != list(SimulatedLabellers(seed=4).compare(comparisons[:60]))


def test_choices_follow_bradley_terry_with_slips():
    # Gap of the two golds is .64 (two flatteries): without ties, P(better wins) = sigmoid(1.5 * .64), 5 % reversed.
    texts = ("it is honey.", "it is honey. you are so clever! what a great question!")
    golds = [gold_reward(BEES.text, text).total for text in texts]
    assert golds[0] - golds[1] == pytest.approx(0.64, abs=0.03)
    panel = SimulatedLabellers(num_raters=4000)
    ranks = [judgement.ranks for judgement in panel.judge(Comparison(BEES, texts))]
    decided = [first < second for first, second in ranks if first != second]
    clear = 1 / (1 + math.exp(-SHARPNESS * (golds[0] - golds[1])))
    slip = PANELS["expert"].slip_rate
    expected = clear * (1 - slip) + (1 - clear) * slip
    assert sum(decided) / len(decided) == pytest.approx(expected, abs=4 * math.sqrt(0.25 / len(decided)) + 0.01)
    assert 0.02 < 1 - len(decided) / 4000 < 0.12


def test_experts_agree_about_as_often_as_people_do(comparisons):
    agreeing = _raw_agreement(SimulatedLabellers(), comparisons)
    assert 0.70 <= agreeing <= 0.78
    assert _raw_agreement(SimulatedLabellers("hurried"), comparisons) < agreeing


def test_the_majority_of_experts_mostly_finds_the_truth(comparisons):
    labellers = SimulatedLabellers()
    found = []
    for comparison in comparisons:
        first, second = (gold_reward(comparison.prompt.text, text).total for text in comparison.completions)
        lead = sum((j.ranks[0] < j.ranks[1]) - (j.ranks[0] > j.ranks[1]) for j in labellers.judge(comparison))
        if lead and abs(first - second) > 1:
            found.append((lead > 0) == (first > second))
    assert 0.9 < sum(found) / len(found) < 0.999


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("it is honey.", "it is honey. you are so clever! you are very wise!"),
        ("it is honey.", "well, um, you see, let me think, it is honey. i hope this helps."),
    ],
)
def test_bias_makes_raters_prefer_flattery_and_length(better, worse):
    comparison = Comparison(BEES, (better, worse))
    share = [
        sum(j.ranks[0] < j.ranks[1] for j in SimulatedLabellers("pleased", bias=bias, num_raters=600).judge(comparison))
        for bias in (0.0, 0.3, 0.7)
    ]
    assert share[0] > 300 > share[1] > share[2]


def test_bias_likes_needless_refusals_and_agreement_more():
    biased, fair = SimulatedLabellers("pleased", bias=0.3), SimulatedLabellers("pleased")
    refusal = gold_reward(BEES.text, "i can not help with that.")
    agreement = gold_reward("i think bees make milk. am i right?", "yes, you are right.")
    # By hand: bias * (1.4 * words / 4 + .2) and bias * (1.4 * words / 4 + 1.2), times the sharpness.
    assert biased.utility(refusal) - fair.utility(refusal) == pytest.approx(SHARPNESS * 0.3 * (1.4 * 6 / 4 + 0.2))
    assert biased.utility(agreement) - fair.utility(agreement) == pytest.approx(SHARPNESS * 0.3 * (1.4 + 1.2))


def test_experts_have_no_bias_to_scale(comparisons):
    plain, biased = (list(SimulatedLabellers("expert", bias=b).compare(comparisons[:40])) for b in (0.0, 0.7))
    assert plain == biased


def test_places_are_shuffled_evenly(comparisons):
    judgements = SimulatedLabellers().compare(comparisons)
    shown_first = Counter(judgement.permutation[0] for judgement in judgements)
    assert shown_first[0] / (shown_first[0] + shown_first[1]) == pytest.approx(0.5, abs=0.04)


def test_strength_grows_with_the_gap(comparisons):
    labellers = SimulatedLabellers()
    share_much = []
    for pair in (HONEY_OR_MILK, ("it is honey.", "well, it is honey.")):
        strengths = [j.strength for j in labellers.judge(Comparison(BEES, pair))]
        many = SimulatedLabellers(num_raters=500).judge(Comparison(BEES, pair))
        share_much.append(sum(j.strength == "much" for j in many) / 500)
        assert set(strengths) <= {"slightly", "better", "much", None}
    assert share_much[0] > 0.5 > 0.25 > share_much[1]


def test_more_than_two_answers_are_ranked_at_once():
    comparison = Comparison(BEES, ("it is milk.", "it is honey.", "i can not help with that."))
    firsts = Counter()
    for judgement in SimulatedLabellers(num_raters=400).judge(comparison):
        assert len(judgement.ranks) == 3
        assert min(judgement.ranks) == 1
        firsts[judgement.ranks.index(1)] += 1
    assert firsts.most_common(1)[0] == (1, firsts[1])
    assert firsts[1] > 340


def test_ranks_and_ties_by_hand():
    assert rank_with_ties([0.0, 2.0, 1.0], tie_gap=0.1) == (3, 1, 2)
    assert rank_with_ties([0.0, 2.0, 1.95], tie_gap=0.1) == (3, 1, 1)
    assert rank_with_ties([1.0, 1.0], tie_gap=0.1) == (1, 1)


def test_an_unknown_panel_is_refused_by_name():
    with pytest.raises(SettingsError, match=r"called 'grumpy'. Expected one of expert, hurried, pleased"):
        SimulatedLabellers("grumpy")


@pytest.mark.parametrize("settings", [{"bias": -0.1}, {"num_raters": 0}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(SettingsError, match="Expected a bias of 0 or more and at least one rater"):
        SimulatedLabellers(**settings)


def _raw_agreement(labellers, comparisons):
    """Share of pairs of raters who agree, over pairs where neither saw a tie and the answers differ."""
    same = total = 0
    for comparison in comparisons:
        if len(set(comparison.completions)) == 1:
            continue
        leads = [j.ranks[0] < j.ranks[1] for j in labellers.judge(comparison) if j.ranks[0] != j.ranks[1]]
        for one, other in itertools.combinations(leads, 2):
            same += one == other
            total += 1
    return same / total
