"""Splitting, repeats and leaks, all decided by the prompt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kleash.data.prompts import answers_of, deduplicate, drawn, leaking_prompts, split_by_prompt
from kleash.errors import DataError
from kleash.formats.conversations import as_transcript
from kleash.records import Demonstration, Message, Pair, Preference, Prompt


def demonstrations(*prompts):
    return [Demonstration(Prompt(prompt), f"answer {index}") for index, prompt in enumerate(prompts)]


@given(st.lists(st.sampled_from("abcdefgh"), max_size=20), st.floats(0, 0.99), st.integers(0, 5))
def test_split_loses_nothing_and_shares_no_prompt(prompts, holdout_share, seed):
    rows = demonstrations(*prompts)
    training, heldout = split_by_prompt(rows, holdout_share=holdout_share, seed=seed)
    assert sorted(row.completion for row in [*training, *heldout]) == sorted(row.completion for row in rows)
    assert not {row.prompt for row in training} & {row.prompt for row in heldout}
    if holdout_share > 0 and len(set(prompts)) > 1:
        assert training
        assert heldout


def test_split_keeps_order_and_share():
    rows = demonstrations(*[f"prompt {i}" for i in range(2000)])
    training, heldout = split_by_prompt(rows, holdout_share=0.25, seed=0)
    assert [row for row in rows if row in set(heldout)] == heldout
    assert len(heldout) == pytest.approx(500, abs=60)  # three standard deviations
    assert len(training) + len(heldout) == 2000


def test_split_depends_on_the_seed_and_not_on_other_rows():
    rows = demonstrations(*[f"prompt {i}" for i in range(200)])
    _, heldout = split_by_prompt(rows, holdout_share=0.2, seed=1)
    _, heldout_of_half = split_by_prompt(rows[:100], holdout_share=0.2, seed=1)
    assert heldout_of_half == [row for row in heldout if row in set(rows[:100])]
    _, heldout_by_another_seed = split_by_prompt(rows, holdout_share=0.2, seed=2)
    assert heldout != heldout_by_another_seed


def test_split_takes_prompts_that_differ_in_case_and_space_for_one():
    rows = demonstrations(*[f"Prompt {i}" for i in range(50)], *[f" prompt  {i}\n" for i in range(50)])
    training, heldout = split_by_prompt(rows, holdout_share=0.5, seed=0)
    for side in (training, heldout):
        numbers = [row.prompt.text.split()[1] for row in side]
        assert all(numbers.count(number) == 2 for number in numbers)


def test_documents_without_prompts_are_parted_one_by_one():
    training, heldout = split_by_prompt(demonstrations(*[""] * 100), holdout_share=0.3, seed=0)
    assert 15 < len(heldout) < 45
    assert len(training) + len(heldout) == 100


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_split_refuses_impossible_shares(share):
    with pytest.raises(DataError, match=rf"holdout_share is {share}. Expected at least 0 and less than 1"):
        split_by_prompt([], holdout_share=share, seed=0)


def test_repeats_are_counted_apart_by_how_exact_they_are():
    prompt = Prompt("What is it?", {"topic": "x"})
    rows = [
        Demonstration(prompt, "It is\na cat."),
        Demonstration(Prompt("What is it?"), "It is\na cat."),
        Demonstration(Prompt("what  is it?"), "It is a CAT."),
        Demonstration(prompt, "It is a dog."),
    ]
    found = deduplicate(rows)
    assert found.records == [rows[0], rows[3]]
    assert found.records[0].prompt.slices == {"topic": "x"}
    assert (found.num_exact, found.num_normalised) == (1, 1)


def test_equal_answers_with_other_labels_are_no_repeats():
    rows = [Preference(Prompt("p"), ("a", "b"), (Pair(0, 1, label),)) for label in (1.0, 0.0)]
    assert deduplicate(rows).records == rows


def test_leaking_prompts_are_found_in_any_kind_of_record():
    training = demonstrations("Is it raining?", "")
    test = [Prompt("is it  raining?"), Prompt("Is it raining?"), Prompt("Is it snowing?"), Prompt("")]
    assert leaking_prompts(test, training) == [test[0]]


def test_a_conversation_as_text():
    talk = Prompt((Message("system", "Be kind."), Message("user", "Hi"), Message("assistant", "Yes?"),
                   Message("user", "Bye")), {"a": "b"})  # fmt: skip
    plain = as_transcript(talk)
    assert plain.content == "\n\nSystem: Be kind.\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: Bye\n\nAssistant:"
    assert plain.slices == {"a": "b"}
    assert as_transcript(plain) is plain


def test_each_answer_of_a_conversation_can_be_a_demonstration():
    turns = (Message("user", "Hi"), Message("assistant", "Yes?"), Message("user", "Bye"))
    row = Demonstration(Prompt(turns), "Bye!")
    assert answers_of(row) == [Demonstration(Prompt(turns[:1]), "Yes?"), row]
    assert answers_of(Demonstration(Prompt("Hi"), "Yes?")) == [Demonstration(Prompt("Hi"), "Yes?")]


def test_prompts_are_drawn_by_their_text_and_the_seed_and_stay_in_order():
    prompts = [Prompt(f"{number}?") for number in range(100)]
    some = drawn(prompts, 10, seed=1)
    assert some == sorted(some, key=prompts.index)
    assert set(map(str, drawn(prompts[::-1], 10, seed=1))) == set(map(str, some))
    assert some not in (prompts[:10], drawn(prompts, 10, seed=2))
    assert drawn(prompts, 200, seed=1) == prompts
