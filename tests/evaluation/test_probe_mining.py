"""Empty phrases of a data set, told from what the prompts ask for."""

import random

import pytest

from kleash.evaluation.probe_mining import clauses, stock_phrases


def made_answers(num_prompts=200):
    """Two answers to each prompt: "you know," by chance, a colour that the prompt asks for, "no idea." at times."""
    chance = random.Random(0)
    answers = []
    for number in range(num_prompts):
        colour = f"it is {('red', 'blue', 'green', 'white')[number % 4]}."
        for sample in range(2):
            said = "no idea." if chance.random() < 0.2 else f"{colour} so there. {number} {sample}."
            answers.append((f"prompt {number}", f"you know, {said}" if chance.random() < 0.4 else said))
    return answers


def test_clauses_end_at_any_mark_and_line_break():
    assert clauses("Well, it rains; take a coat!\n- \nOr stay.") == ["Well,", "it rains;", "take a coat!", "Or stay."]


def test_a_phrase_that_any_prompt_gets_is_found_and_a_fact_is_not():
    found = {one.text: one for one in stock_phrases(made_answers())}
    assert found["you know,"].kind == "stock phrase"
    assert found["you know,"].place == "before"
    assert found["you know,"].lift == pytest.approx(1.0, abs=0.15)
    assert found["so there."].place == "after"
    assert found["no idea."].kind == "stock answer"
    assert not any("it is" in text for text in found)


def answers_with(phrase, *, in_both, in_one, in_none):
    """Two answers each to prompts of which so many have the phrase in both, in one and in none of them."""
    having = [(True, True)] * in_both + [(True, False)] * in_one + [(False, False)] * in_none
    return [
        (str(prompt), f"{phrase} {prompt} {sample}." if has else f"{prompt} {sample}.")
        for prompt, pair in enumerate(having)
        for sample, has in enumerate(pair)
    ]


def test_the_lift_by_hand():
    # Of 32 answers 16 have it: P = 1/2. Of those 16 partners 8 have it too: P given a partner that has it = 1/2.
    [found] = stock_phrases(answers_with("so it is.", in_both=4, in_one=8, in_none=4))
    assert (found.text, found.lift, found.num_prompts, found.alone_share) == ("so it is.", 1.0, 12, 0.0)
    # P = 1/3, and every partner has it: lift 3. Who asks for it gets it: no empty phrase.
    assert stock_phrases(answers_with("so it is.", in_both=12, in_one=0, in_none=24)) == []


def test_a_phrase_too_rare_to_be_told_from_chance_is_left_alone():
    # 20 prompts of 200 have it once: of their 20 partners chance alone would give it to one.
    assert stock_phrases(answers_with("so it is.", in_both=0, in_one=20, in_none=180)) == []


def test_the_order_of_the_answers_does_not_matter():
    answers = made_answers()
    shuffled = random.Random(1).sample(answers, len(answers))
    assert stock_phrases(shuffled) == stock_phrases(answers)


def test_without_a_second_answer_nothing_can_be_told_apart():
    assert stock_phrases([(f"prompt {number}", "you know, it is red.") for number in range(100)]) == []


def test_only_so_many_of_each_kind_commonest_first():
    answers = made_answers()
    [phrase, answer] = stock_phrases(answers, most=1)
    assert {phrase.kind, answer.kind} == {"stock phrase", "stock answer"}
    assert phrase.num_prompts >= max(one.num_prompts for one in stock_phrases(answers) if one.kind == phrase.kind)
