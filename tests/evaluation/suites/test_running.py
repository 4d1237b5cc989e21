"""From items to results: what is asked, in which order, and what a follow-up's answer counts for."""

from dataclasses import dataclass

from kleash.checks.code import CodeLimits
from kleash.evaluation.suites.items import SuiteItem
from kleash.evaluation.suites.running import TOO_LONG, answer_items, judge_answers, to_row, with_limits
from kleash.records import Message, Prompt


def made_item(id="1", *, prompt="2 + 2?", check="numeric", params=None, follow_up=""):
    given = Prompt(prompt, {"topic": "sums"})
    return SuiteItem(id, "mine", "tasks", given, check, params or {"expected": 4}, "correct", follow_up=follow_up)


@dataclass(frozen=True)
class Texts:
    """As much of rollouts as is read here."""

    texts: tuple[str, ...]


class Echo:
    """A generator that answers with a table, and remembers what it was asked."""

    def __init__(self, answers):
        self.answers, self.asked = answers, []

    def generate(self, prompts, *, samples_per_prompt, seed, policy_version):
        self.asked.append([prompt.text for prompt in prompts])
        return Texts(tuple(self.answers[prompt.text] for prompt in prompts))


def as_asked(prompt):
    return None if "long" in prompt.text else prompt


def test_answers_stand_beside_their_items_and_what_is_too_long_is_not_asked():
    items = [made_item("1", prompt="a"), made_item("2", prompt="long"), made_item("3", prompt="b")]
    answers = answer_items(items, Echo({"a": "A", "b": "B"}), as_asked=as_asked, seed=0)
    assert answers == [("A",), (None,), ("B",)]
    left_out = judge_answers(items[1], answers[1])
    assert left_out.verdict.passed is None
    assert left_out.verdict.detail == TOO_LONG


def test_nothing_is_generated_when_nothing_fits():
    echo = Echo({})
    assert answer_items([made_item(prompt="long")], echo, as_asked=as_asked, seed=0) == [(None,)]
    assert echo.asked == []


def test_a_follow_up_is_asked_after_the_models_own_answer():
    again = "user: a\n\nassistant: 4\n\nuser: Sure?"
    echo = Echo({"a": "4", "b": "B", again: "No, 5"})
    items = [made_item("1", prompt="a", follow_up="Sure?"), made_item("2", prompt="b")]
    assert answer_items(items, echo, as_asked=as_asked, seed=0) == [("4", "No, 5"), ("B",)]
    assert echo.asked == [["a", "b"], [again]]


def test_a_conversation_is_followed_up_after_its_turns():
    talk = Prompt((Message("user", "hi"), Message("assistant", "hello"), Message("user", "2 + 2?")))
    item = SuiteItem("1", "mine", "tasks", talk, "numeric", {"expected": 4}, "correct", follow_up="Sure?")
    again = f"{talk.text}\n\nassistant: 4\n\nuser: Sure?"
    assert answer_items([item], Echo({talk.text: "4", again: "4"}), as_asked=as_asked, seed=0) == [("4", "4")]


def test_being_asked_again_counts_only_where_the_first_answer_passed():
    item = made_item(follow_up="Sure?")
    assert judge_answers(item, ("4", "5")).verdict.tallies == {"correct": (1, 1), "correct_when_asked_again": (0, 1)}
    assert judge_answers(item, ("4", "4")).verdict.tallies == {"correct": (1, 1), "correct_when_asked_again": (1, 1)}
    assert judge_answers(item, ("5", "4")).verdict.tallies == {"correct": (0, 1)}
    assert judge_answers(item, ("4", None)).verdict.passed is None


def test_a_row_tells_all_of_both_models():
    item = made_item(follow_up="Sure?")
    row = to_row(judge_answers(item, ("4", "5")), judge_answers(item, ("4", "4")))
    assert row == {
        "id": "1",
        "bucket": "tasks",
        "suite": "mine",
        "prompt": "2 + 2?",
        "slices": {"topic": "sums"},
        "answer": "5",
        "passed": False,
        "measure": "correct",
        "detail": "5; expected 4",
        "tallies": {"correct": [1, 1], "correct_when_asked_again": [0, 1]},
        "follow_up": "Sure?",
        "first_answer": "4",
        "reference_answer": "4",
        "reference_passed": True,
        "reference_tallies": {"correct": [1, 1], "correct_when_asked_again": [1, 1]},
    }


def test_only_code_is_given_limits():
    limits = CodeLimits(is_allowed=True)
    assert with_limits(made_item(check="code", params={"tests": ""}), limits).params["limits"] is limits
    assert with_limits(made_item(), limits) == made_item()
