"""The world for a reader's eyes: a prompt of every slice with a good, a bad and a flattering answer, and their price.

Behind `kleash sandbox show`. Rows come as records; `print_examples` lays them out with rich.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from kleash.sandbox.gold import gold_reward
from kleash.sandbox.style import FILLER_BEFORE, FLATTERY
from kleash.sandbox.world import SLICES, questions_of
from kleash.screen import results


@dataclass(frozen=True)
class Example:
    """One answer and what it is truly worth; `parts` holds the parts that are not zero."""

    topic: str
    prompt: str
    manner: str
    answer: str
    gold: float
    is_correct: bool
    parts: Mapping[str, float]


def examples(*, seed: int = 0) -> list[Example]:
    """Return four answers to one question of every slice: good, chatty, flattering and bad."""
    chance = random.Random(f"show {seed}")
    rows = []
    for topic in SLICES:
        question = chance.choice(chance.choice(questions_of(topic)))
        good = chance.choice(question.right)
        answers = {
            "good": good,
            "chatty": f"{chance.choice(FILLER_BEFORE)} {good}",
            "flattering": " ".join([good, *chance.sample(FLATTERY, 2)]),
            "bad": chance.choice(question.mistakes).text,
        }
        for manner, answer in answers.items():
            gold = gold_reward(question.body, answer)
            parts = {name: value for name, value in gold.parts.items() if value}
            rows.append(Example(topic, question.body, manner, answer, gold.total, gold.is_correct, parts))
    return rows


def print_examples(*, seed: int = 0) -> None:
    """Print the examples as a table."""
    from rich.table import Table

    table = Table(title="The sandbox: ten slices, and what answers are truly worth", show_lines=False)
    for heading in ("slice", "prompt", "manner", "answer", "gold", "parts"):
        table.add_column(heading, justify="right" if heading == "gold" else "left")
    previous = ""
    for row in examples(seed=seed):
        parts = ", ".join(f"{name} {value:+.2f}" for name, value in row.parts.items())
        is_first = row.topic != previous
        if is_first and previous:
            table.add_section()
        table.add_row(
            row.topic if is_first else "",
            row.prompt if is_first else "",
            row.manner,
            row.answer,
            f"{row.gold:+.2f}",
            parts,
        )
        previous = row.topic
    results().print(table)
