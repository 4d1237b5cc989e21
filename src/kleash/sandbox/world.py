"""The world as a whole: ten slices, prompts drawn from them, and the line between training and evaluation.

A prompt is an opener and a question ("quick question, what do bees make?"). Training and evaluation never share an
instance: sums and sets to sort are held out as such (whatever the wording, also inside claims about them), everything
else as a whole wording, because a fact that never occurs in training cannot be known. The gold reward is not here but
in `gold.py`, which training must not import.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from kleash.errors import DataError
from kleash.records import Prompt
from kleash.sandbox.slices import Question, questions
from kleash.sandbox.style import OPENERS

# What an answer to a slice's prompts is to be above all; where a refusal or a "no" is right, that is not helpfulness.
AIMS = {
    **dict.fromkeys(("facts", "sums", "sorting", "yes_no", "format"), "helpful"),
    "unsafe": "harmless",
    "benign_lookalike": "helpful",
    **dict.fromkeys(("false_premise", "unknowable"), "honest"),
    "ambiguous": "helpful",
}
SLICES = tuple(AIMS)
# One wording in four and one sum in eight are held out: enough to draw 200 evaluation prompts from every slice, and
# few enough that sums can be learned from the others.
_HELD_OUT_WORDINGS = 4
_HELD_OUT_INSTANCES = 8
_PLAIN_SHARE = 0.3


@dataclass(frozen=True)
class OpenedQuestion:
    """A question behind its opener."""

    opener: str
    question: Question

    @property
    def text(self) -> str:
        return f"{self.opener} {self.question.body}".strip()

    @property
    def is_held_out(self) -> bool:
        if self.question.instance:
            return _bucket(self.question.instance, _HELD_OUT_INSTANCES) == 0
        return _bucket(self.text, _HELD_OUT_WORDINGS) == 0

    @property
    def prompt(self) -> Prompt:
        return Prompt(self.text, {"topic": self.question.topic, "aim": AIMS[self.question.topic]})


def train_prompts(num_prompts: int, *, seed: int) -> list[Prompt]:
    """Draw training prompts, even over slices; they may repeat, as facts are few."""
    return [opened.prompt for opened in draw_questions(num_prompts, seed=seed)]


def evaluation_prompts(num_per_slice: int, *, seed: int = 0) -> list[Prompt]:
    """Draw distinct held-out prompts, the same number from every slice.

    Raises DataError when a slice has no `num_per_slice` distinct held-out prompts.
    """
    chance = random.Random(f"evaluation {seed}")
    prompts: list[Prompt] = []
    for topic in SLICES:
        chosen: dict[str, Prompt] = {}
        for _ in range(40 * num_per_slice):
            if len(chosen) == num_per_slice:
                break
            opened = _draw(chance, topic)
            if opened.is_held_out:
                chosen.setdefault(opened.text, opened.prompt)
        if len(chosen) < num_per_slice:
            raise DataError(
                f"The sandbox has only about {len(chosen)} held-out prompts of {topic!r}, not {num_per_slice}. "
                "Expected a number that every slice can give. Ask for 200 or fewer."
            )
        prompts += chosen.values()
    return prompts


def draw_questions(
    num_questions: int, *, seed: int, purpose: str = "training", topics: Sequence[str] = SLICES
) -> list[OpenedQuestion]:
    """Draw questions that are not held out, topic after topic in turn, in shuffled order."""
    chance = random.Random(f"{purpose} {seed}")
    drawn: list[OpenedQuestion] = []
    while len(drawn) < num_questions:
        opened = _draw(chance, topics[len(drawn) % len(topics)])
        if not opened.is_held_out:
            drawn.append(opened)
    chance.shuffle(drawn)
    return drawn


def find_question(prompt_text: str) -> OpenedQuestion:
    """Return the question behind a prompt's text.

    Raises DataError for a text that is not a sandbox prompt.
    """
    text = " ".join(prompt_text.split())
    by_body = _questions_by_body()
    for opener in sorted(OPENERS, key=len, reverse=True):
        body = text.removeprefix(opener).strip() if text.startswith(opener) else None
        if body in by_body:
            return OpenedQuestion(opener, by_body[body])
    raise DataError(
        f"{prompt_text[:80]!r} is not a prompt of the sandbox. Expected one that `kleash.sandbox` wrote, such as "
        "'what do bees make?'. Use prompts.jsonl or evaluation.jsonl of the sandbox, or another source of truth."
    )


@cache
def questions_of(topic: str) -> tuple[tuple[Question, ...], ...]:
    """Return the questions of a slice, grouped by kind."""
    kinds: dict[str, list[Question]] = {}
    for question in _questions_by_body().values():
        if question.topic == topic:
            kinds.setdefault(question.kind, []).append(question)
    return tuple(tuple(group) for group in kinds.values())


@cache
def _questions_by_body() -> dict[str, Question]:
    return {question.body: question for question in questions()}


def _draw(chance: random.Random, topic: str) -> OpenedQuestion:
    opener = "" if chance.random() < _PLAIN_SHARE else chance.choice(OPENERS)
    return OpenedQuestion(opener, chance.choice(chance.choice(questions_of(topic))))


def _bucket(text: str, num_buckets: int) -> int:
    """Sort a text into a bucket that is the same on every machine and in every run."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % num_buckets
