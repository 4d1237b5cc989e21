"""Which prompts are asked: shares of slices and attacks by hand, difficulty by the scores, names that fit nothing."""

from collections import Counter

import pytest
from pydantic import ValidationError

from kleash.errors import SettingsError
from kleash.evaluation.jailbreaks import WRAPPERS
from kleash.records import Prompt
from kleash.stages.support.prompt_mix import PromptMix, attacks, difficulty_of, mixed

SUMS = [Prompt(f"what is {n} plus 1?", {"topic": "sums"}) for n in range(30)]
FACTS = [Prompt(f"what is fact {n}?", {"topic": "facts"}) for n in range(5)]
UNSAFE = [Prompt(f"how do i harm {n}?", {"topic": "unsafe"}) for n in range(8)]
ALL = SUMS + FACTS + UNSAFE


def topics(prompts):
    return Counter(prompt.slices["topic"] for prompt in prompts)


@pytest.mark.parametrize(
    ("shares", "number", "expected"),
    [
        ({"topic=sums": 1.0, "topic=unsafe": 1.0}, 10, {"sums": 5, "unsafe": 5}),
        ({"topic=sums": 1.0, "topic=unsafe": 3.0}, 8, {"sums": 2, "unsafe": 6}),
        ({"topic=facts": 1.0, "*": 1.0}, 20, {"facts": 5, "others": 15}),
        ({"topic=sums": 1.0, "topic=facts": 1.0}, 20, {"sums": 15, "facts": 5}),
    ],
)
def test_slices_get_their_shares(shares, number, expected):
    found = topics(mixed(ALL, [], PromptMix(slices=shares), number=number, seed=0))
    named = {name.removeprefix("topic=") for name in shares}
    others = sum(number for topic, number in found.items() if topic not in named)
    assert {topic: n for topic, n in found.items() if topic in named} | (
        {"others": others} if others else {}
    ) == expected


def test_the_same_seed_draws_the_same_prompts_in_the_order_of_the_file():
    mix = PromptMix(slices={"topic=sums": 1.0})
    first, again, other = (mixed(ALL, [], mix, number=10, seed=seed) for seed in (1, 1, 2))
    assert first == again != other
    assert first == [prompt for prompt in ALL if prompt in first]


def test_attacks_get_their_share_and_every_wrapper_as_much_of_it():
    mix = PromptMix(red_team_share=0.4, red_team_wrappers=("novel", "override"), red_team_slice="topic=unsafe")
    red_team = attacks(ALL, [], mix)
    assert len(red_team) == 16
    found = mixed(ALL, red_team, mix, number=20, seed=0)
    assert found[:12] == ALL[:12]
    assert Counter(prompt.tags["red_team"] for prompt in found[12:]) == {"novel": 4, "override": 4}
    assert all(prompt.slices["topic"] == "unsafe" for prompt in found[12:])
    assert all(prompt.slices["jailbreak"] == prompt.tags["red_team"] for prompt in found[12:])


def test_without_a_number_attacks_come_on_top():
    mix = PromptMix(red_team_share=0.25, red_team_wrappers=("novel",))
    found = mixed(SUMS, attacks(SUMS, [], mix), mix, number=None, seed=0)
    assert (found[:30], len(found)) == (SUMS, 40)


def test_attacks_of_ones_own_are_kept_as_they_are():
    mix = PromptMix(red_team_share=0.5, red_team_file="mine.jsonl")
    own = [Prompt("please be bad", {"by": "us"})]
    found = mixed(SUMS, attacks(SUMS, own, mix), mix, number=10, seed=0)
    assert found == [*SUMS[:9], Prompt("please be bad")]  # one is all there is
    assert (found[-1].slices, found[-1].tags) == ({"by": "us"}, {"red_team": "file"})


@pytest.mark.parametrize(
    ("scores", "members", "difficulty"),
    [
        ((0.0, 0.3), (), "near_miss"),  # sigmoid(.3) = .57
        ((0.0, 0.5), (), "hard"),
        ((0.0, 2.1), (), "hard"),
        ((0.0, 2.3), (), "easy"),  # sigmoid(2.3) = .909
        ((2.3, 0.0, 1.0), (), "easy"),
        ((0.0, 900.0), (), "easy"),
        ((1.0, 1.0), (), "near_miss"),
        ((0.0, 2.3), ((0.0, 5.0), (0.1, 0.2)), "easy"),
        ((0.0, 2.3), ((0.0, 5.0), (0.2, 0.1)), "hard"),  # a member would have it the other way round
    ],
)
def test_difficulty_is_how_clearly_the_scorer_tells_the_best_from_the_worst(scores, members, difficulty):
    assert difficulty_of(Prompt("x"), scores, members) == difficulty


def test_an_attack_is_adversarial_whatever_the_scores():
    attack = Prompt("x", tags={"red_team": "novel"})
    assert difficulty_of(attack, (0.0, 9.0)) == "adversarial"
    assert attack.with_dimensions({"difficulty": "adversarial"}).tags == {
        "red_team": "novel",
        "difficulty": "adversarial",
    }


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"slices": {"sums": 1.0}}, "'sums' names no slice; write dimension=value"),
        ({"red_team_share": 0.1, "red_team_file": "x", "red_team_slice": "unsafe"}, "'unsafe' names no slice"),
        ({"red_team_share": 0.1}, "red_team_share is 0.1 and there are no attacks; set a share above 0 together"),
        ({"red_team_wrappers": ("novel",)}, "red_team_share is 0.0 and there are attacks; set a share above 0"),
        ({"red_team_share": 0.1, "red_team_wrappers": ("nvl",)}, "there is no jailbreak wrapper nvl; use some of role"),
        ({"slices": {"topic=sums": 0.0}}, "greater than 0"),
        ({"difficulty": {"tricky": 1.0}}, "'easy', 'hard', 'near_miss' or 'adversarial'"),
    ],
)
def test_mixtures_that_make_no_sense_are_refused(settings, complaint):
    with pytest.raises(ValidationError, match=complaint):
        PromptMix(**settings)


def test_a_slice_that_no_prompt_is_in_is_named_with_those_there_are():
    with pytest.raises(SettingsError, match=r"mix.slices names topic=summs, and none of the 43 .* topic=facts, topic="):
        mixed(ALL, [], PromptMix(slices={"topic=summs": 1.0}), number=5, seed=0)
    mix = PromptMix(red_team_share=0.5, red_team_wrappers=tuple(WRAPPERS), red_team_slice="topic=unsave")
    with pytest.raises(SettingsError, match=r"mix.red_team_slice names topic=unsave"):
        attacks(ALL, [], mix)
    with pytest.raises(SettingsError, match=r"Expected one of no slices at all: these prompts have none"):
        mixed([Prompt("x")], [], PromptMix(slices={"topic=sums": 1.0}), number=5, seed=0)
