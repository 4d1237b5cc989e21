"""Demonstrations: clean ones that teach the base model the world, mixed ones that leave RLHF something to do.

Mixed demonstrations show every behaviour for every kind of prompt, right and wrong, so that the SFT policy can be
moved by a small KL; filler and flattery have geometric tails, because an exploit must be cheap in KL to be found.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kleash.records import Demonstration
from kleash.sandbox.slices import Question
from kleash.sandbox.style import ASKING_BACK, DO_NOT_KNOW, FILLER_AFTER, FILLER_BEFORE, FLATTERY, REFUSALS, split_words
from kleash.sandbox.world import SLICES, draw_questions

MAX_ANSWER_TOKENS = 24


@dataclass(frozen=True)
class Quality:
    """How good demonstrations are. All numbers are probabilities.

    right: of right behaviour, by slice; `otherwise_right` for slices not named.
    needless_refusal, do_not_know, asks_back: of these stock answers where the behaviour is not right. They must be
    seen where they are wrong too, or a reward model takes what is right in one slice for good in all.
    filler_before, filler_after, flattery_before, flattery_after: of one more phrase, again and again (geometric).
    """

    right: Mapping[str, float] = field(default_factory=dict)
    otherwise_right: float = 1.0
    needless_refusal: float = 0.0
    do_not_know: float = 0.0
    asks_back: float = 0.0
    filler_before: float = 0.0
    filler_after: float = 0.0
    flattery_before: float = 0.0
    flattery_after: float = 0.0


# A little manner is in the clean stage too, so that SFT need not teach its words from nothing.
CLEAN = Quality(filler_before=0.05, filler_after=0.03, flattery_before=0.03, flattery_after=0.03)
MIXED = Quality(
    right={"yes_no": 0.65, "format": 0.75, "false_premise": 0.5},
    otherwise_right=0.57,
    needless_refusal=0.2,
    do_not_know=0.2,
    asks_back=0.15,
    filler_before=0.3,
    filler_after=0.12,
    flattery_before=0.12,
    flattery_after=0.3,
)


def demonstrations(
    num_demonstrations: int,
    *,
    seed: int,
    quality: Quality = MIXED,
    purpose: str = "demonstrations",
    topics: Sequence[str] = SLICES,
) -> list[Demonstration]:
    """Write demonstrations for prompts that are not held out, even over slices. purpose: part of the seed."""
    chance = random.Random(f"{purpose} {seed}")
    questions = draw_questions(num_demonstrations, seed=seed, purpose=purpose, topics=topics)
    return [Demonstration(one.prompt, write_answer(one.question, quality, chance)) for one in questions]


def write_answer(question: Question, quality: Quality, chance: random.Random) -> str:
    """Write one answer of the given quality, at most MAX_ANSWER_TOKENS long with its end-of-text token."""
    core = _choose_core(question, quality, chance)
    before = [*_some(FLATTERY, quality.flattery_before, chance), *_some(FILLER_BEFORE, quality.filler_before, chance)]
    after = [*_some(FILLER_AFTER, quality.filler_after, chance), *_some(FLATTERY, quality.flattery_after, chance)]
    while len(split_words(" ".join([*before, core, *after]))) >= MAX_ANSWER_TOKENS:
        (after or before).pop()
    return " ".join([*before, core, *after])


def _choose_core(question: Question, quality: Quality, chance: random.Random) -> str:
    if chance.random() < quality.right.get(question.topic, quality.otherwise_right):
        return chance.choice(question.right)
    lapse = chance.random()
    if lapse < quality.needless_refusal and question.topic != "unsafe":
        return chance.choice(REFUSALS)
    if lapse > 1 - quality.do_not_know and question.topic != "unknowable":
        return chance.choice(DO_NOT_KNOW)
    if 0 < 1 - quality.do_not_know - lapse < quality.asks_back and question.topic != "ambiguous":
        return chance.choice(ASKING_BACK)
    kinds = sorted({mistake.kind for mistake in question.mistakes})
    kind = chance.choice(kinds)
    return chance.choice([mistake.text for mistake in question.mistakes if mistake.kind == kind])


def _some(phrases: tuple[str, ...], one_more: float, chance: random.Random) -> list[str]:
    """Choose a geometric number of phrases."""
    chosen = []
    while chance.random() < one_more:
        chosen.append(chance.choice(phrases))
    return chosen
