"""Two policies side by side: every figure of four prompts worked by hand."""

import pytest

from kleash.evaluation.side_by_side import Answered, compare, outcome, sample_rows
from kleash.protocols import Scores
from kleash.records import Prompt

PROMPTS = [Prompt("a", {"topic": "x"}), Prompt("b", {"topic": "x"}), Prompt("c", {"topic": "y"}), Prompt("d")]
BEFORE = Answered(
    texts=("a0", "b0", "c0", "d0"),
    num_tokens=(2, 4, 6, 8),
    proxy=Scores((0.0, 1.0, 0.0, 1.0)),
    judge=Scores((1.0, 2.0, 3.0, 4.0), {"is_correct": (0.0, 1.0, 1.0, 0.0), "is_refusal": (0.0, 0.0, 0.0, 1.0)}),
    kl_nats=(0.0,) * 4,
)
AFTER = Answered(
    texts=("a1", "b1", "c1", "d1"),
    num_tokens=(3, 3, 3, 3),
    proxy=Scores((2.0, 2.0, 2.0, 2.0)),
    judge=Scores((2.0, 2.0, 1.0, 8.0), {"is_correct": (1.0, 1.0, 1.0, 0.0), "is_refusal": (0.0, 0.0, 0.0, 0.0)}),
    kl_nats=(1.0, 2.0, 3.0, 6.0),
)


def test_outcomes_by_hand():
    assert [outcome(1.0, 2.0), outcome(2.0, 1.0), outcome(1.0, 1.0)] == ["win", "loss", "tie"]


def test_figures_over_all_prompts():
    figures = compare(PROMPTS, BEFORE, AFTER)
    assert (figures["n"], figures["win_rate"]["n"]) == (4, 4)
    assert figures["win_rate"]["value"] == (2 + 0.5) / 4
    assert figures["judge_before"]["value"] == 2.5
    assert figures["judge_after"]["value"] == 3.25
    assert figures["judge_difference"]["value"] == 0.75
    assert (figures["length_before"], figures["length_after"]) == (5.0, 3.0)
    assert figures["kl_nats_per_sequence"]["value"] == 3.0
    assert (figures["proxy_before"]["value"], figures["proxy_after"]["value"]) == (0.5, 2.0)
    assert (figures["correct_before"], figures["correct_after"]) == (0.5, 0.75)
    assert figures["correct_difference"]["value"] == 0.25
    assert figures["refusal_difference"]["value"] == -0.25


def test_slices_hold_the_same_figures_over_their_own_prompts():
    slices = compare(PROMPTS, BEFORE, AFTER)["slices"]
    assert list(slices) == ["topic=x", "topic=y"]
    assert slices["topic=x"]["n"] == 2
    assert slices["topic=x"]["win_rate"]["value"] == 0.75
    assert slices["topic=y"]["judge_difference"]["value"] == -2.0
    assert slices["topic=x"]["kl_nats_per_sequence"]["value"] == 1.5


def test_without_a_proxy_there_are_no_proxy_figures():
    bare = [Answered(a.texts, a.num_tokens, None, Scores(a.judge.total), a.kl_nats) for a in (BEFORE, AFTER)]
    figures = compare(PROMPTS, *bare)
    assert not [name for name in figures if "proxy" in name or "correct" in name or "refusal" in name]


def test_every_sample_is_written_down():
    rows = sample_rows(PROMPTS, BEFORE, AFTER)
    assert [row["outcome"] for row in rows] == ["win", "tie", "loss", "win"]
    assert rows[0] == {
        "prompt": "a",
        "slices": {"topic": "x"},
        "before": {
            "text": "a0",
            "length_tokens": 2,
            "score": 0.0,
            "judge": 1.0,
            "judge_parts": {"is_correct": 0.0, "is_refusal": 0.0},
            "kl_nats": 0.0,
        },
        "after": {
            "text": "a1",
            "length_tokens": 3,
            "score": 2.0,
            "judge": 2.0,
            "judge_parts": {"is_correct": 1.0, "is_refusal": 0.0},
            "kl_nats": 1.0,
        },
        "outcome": "win",
    }


def test_differences_are_paired():
    """Answers that are each better by much the same leave little doubt, however much prompts differ."""
    steady = Answered(AFTER.texts, AFTER.num_tokens, None, Scores((1.5, 2.51, 3.5, 4.49)), AFTER.kl_nats)
    before = Answered(BEFORE.texts, BEFORE.num_tokens, None, Scores(BEFORE.judge.total), BEFORE.kl_nats)
    found = compare(PROMPTS, before, steady)["judge_difference"]
    assert (found["low"], found["high"]) == (pytest.approx(0.5, abs=0.02), pytest.approx(0.5, abs=0.02))
    assert found["low"] < 0.5 < found["high"]
