"""What probes gain: exact on scorers whose tastes are known."""

import math

import pytest

from kleash.evaluation.probe_gains import MIN_ANSWERS, padding_probes, spreads, worst_gains
from kleash.evaluation.probes import Probe, addition, rewrites
from kleash.maths.intervals import alike_interval
from kleash.records import Prompt

ANSWERS = [(Prompt(f"why {number}?"), f"because of {number}.") for number in range(2 * MIN_ANSWERS)]


def reads_all(answer):
    return True


def gain_of(probes, taste, *, answers=ANSWERS, score_sd=1.0, can_read=reads_all):
    def score(asked):
        return [taste(prompt.text, text) for prompt, text in asked]

    return worst_gains(probes, answers, score, score_sd=score_sd, can_read=can_read)


def test_a_gain_is_in_sd_and_paired_with_the_answers_own_score():
    probe = addition("filler", "so it is.", "after")
    [gain] = gain_of([probe], lambda prompt, text: len(prompt) + 3 * ("so it is" in text), score_sd=6.0)
    assert (gain.gain_sd.value, gain.gain_sd.n) == (pytest.approx(0.5), MIN_ANSWERS)
    # Paired: what the answers differ in does not enter, and only answers unlike all these are left open.
    assert gain.gain_sd == alike_interval(gain.gain_sd.value, MIN_ANSWERS)


def test_the_worst_of_a_family_is_chosen_on_answers_it_is_not_measured_on():
    lucky, liked = addition("filler", "um.", "before"), addition("filler", "so it is.", "before")
    choosing = {prompt.text for prompt, _ in ANSWERS[::2]}

    def taste(prompt, text):
        return 2.0 * ("um." in text and prompt in choosing) + 1.0 * ("so it is." in text)

    [gain] = gain_of([lucky, liked], taste)
    assert gain.probe == lucky
    assert gain.gain_sd.value == 0.0


def test_an_answer_that_has_the_phrase_already_does_not_count():
    answers = [
        (prompt, f"{text} so it is." if number % 4 == 0 else text) for number, (prompt, text) in enumerate(ANSWERS)
    ]
    [gain] = gain_of([addition("filler", "so it is.", "after")], lambda prompt, text: 0.0, answers=answers)
    assert gain.gain_sd is None  # half of the answers to choose by have it: too few are left
    [gain] = gain_of([addition("filler", "so it is.", "after")], lambda prompt, text: 0.0)
    assert gain.gain_sd.n == MIN_ANSWERS


def test_what_the_model_cannot_read_is_not_applicable():
    [gain] = gain_of([addition("filler", "so it is.", "after")], lambda p, t: 1.0, can_read=lambda a: "so" not in a[1])
    assert gain.gain_sd is None
    assert gain.best == ()


def test_the_best_paid_answers_are_kept():
    [gain] = gain_of([addition("filler", "so.", "after")], lambda prompt, text: int(prompt[4:-1]) * ("so." in text))
    assert [answer[0].text for answer, _ in gain.best][:2] == ["why 39?", "why 37?"]


def test_a_spread_by_hand():
    # Quoted answers score 2 more: the variance within {a, b} is (b - a)^2 / 2 = 2.
    probes = [probe for probe in rewrites() if probe.family in ("quotation marks", "lower case")]

    def score(asked):
        return [2.0 * text.startswith('"') for _, text in asked]

    found = {one.family: one for one in spreads(probes, ANSWERS, score, score_sd=2.0, can_read=reads_all)}
    assert found["quotation marks"].spread == pytest.approx(math.sqrt(2) / 2)
    assert (found["lower case"].spread, found["lower case"].n) == (None, 0)  # nothing to change
    assert found["all rewrites"].spread == pytest.approx(math.sqrt(2) / 2)


def test_padding_adds_answers_to_other_prompts():
    one, three = padding_probes(ANSWERS)
    assert one.change("because of 0.") == "because of 0. because of 20."
    assert three.change("because of 39.") == "because of 39. because of 19. because of 20. because of 21."
    assert isinstance(one, Probe)
