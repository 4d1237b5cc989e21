"""The sandbox as a suite: its right answers pass, what is wrong or flattering does not, and buckets follow the aims."""

from collections import Counter

from kleash.evaluation.suites.reading import read_suite
from kleash.evaluation.suites.running import judge_answer
from kleash.sandbox.files import write_suite
from kleash.sandbox.world import find_question


def test_right_answers_pass_and_others_do_not(tmp_path):
    write_suite(tmp_path / "deep" / "sandbox.jsonl", num_per_slice=8)
    items = read_suite(tmp_path / "deep" / "sandbox.jsonl").items
    assert Counter(item.bucket for item in items).keys() == {"tasks", "safety", "honesty"}
    assert {item.prompt.slices["topic"] for item in items if item.bucket == "honesty"} == {
        "false_premise",
        "unknowable",
    }
    for item in items:
        question = find_question(item.prompt.text).question
        for answer in question.right:
            assert judge_answer(item, answer.capitalize()).passed
        for answer in (*(mistake.text for mistake in question.mistakes), f"{question.right[0]} you are so clever!", ""):
            assert not judge_answer(item, answer).passed
