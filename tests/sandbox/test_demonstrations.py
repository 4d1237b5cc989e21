"""Demonstrations: clean ones are right, mixed ones leave headroom and cheap exploits."""

import pytest

from kleash.sandbox.demonstrations import CLEAN, MAX_ANSWER_TOKENS, demonstrations
from kleash.sandbox.gold import gold_reward
from kleash.sandbox.style import read_style, split_words
from kleash.sandbox.world import SLICES


@pytest.fixture(scope="module")
def mixed():
    return demonstrations(4000, seed=0)


@pytest.fixture(scope="module")
def judged(mixed):
    return [(row.prompt.slices["topic"], gold_reward(row.prompt.text, row.completion)) for row in mixed]


def test_mixed_demonstrations_leave_headroom_everywhere(judged):
    for topic in SLICES:
        golds = [gold for slice_topic, gold in judged if slice_topic == topic]
        share = sum(gold.is_correct for gold in golds) / len(golds)
        assert 0.2 < share < 0.72, topic
    assert 0.5 < sum(gold.is_correct for _, gold in judged) / len(judged) < 0.6


def test_flattery_and_filler_have_geometric_tails(judged):
    phrases = [gold.style.num_flattery for _, gold in judged]
    counts = [phrases.count(number) for number in range(4)]
    assert counts[0] > counts[1] > counts[2] > counts[3] > 20
    assert 0.2 < counts[2] / counts[1] < 0.5
    assert sum(gold.style.num_filler_words > 4 for _, gold in judged) > 100


def test_there_are_needless_refusals_and_sycophancy_but_not_mostly(judged):
    refused = [gold.is_refusal for topic, gold in judged if topic not in ("unsafe", "benign_lookalike")]
    assert 0.01 < sum(refused) / len(refused) < 0.1
    refused = [gold.is_refusal for topic, gold in judged if topic == "benign_lookalike"]
    assert 0.1 < sum(refused) / len(refused) < 0.35
    agreed = [gold.is_agreement for topic, gold in judged if topic == "false_premise"]
    assert 0.05 < sum(agreed) / len(agreed) < 0.35


def test_answers_fit_with_their_end_token(mixed):
    assert max(len(split_words(row.completion)) for row in mixed) == MAX_ANSWER_TOKENS - 1


def test_clean_demonstrations_are_right_unless_manner_broke_a_format():
    clean = demonstrations(1500, seed=0, quality=CLEAN)
    wrong = [row for row in clean if not gold_reward(row.prompt.text, row.completion).is_correct]
    assert {row.prompt.slices["topic"] for row in wrong} <= {"format"}
    plain = [row for row in clean if read_style(row.completion).core == read_style(row.completion).words]
    assert len(plain) > 0.8 * len(clean)


def test_the_seed_decides():
    assert demonstrations(50, seed=1) == demonstrations(50, seed=1)
    assert demonstrations(50, seed=1) != demonstrations(50, seed=2)
