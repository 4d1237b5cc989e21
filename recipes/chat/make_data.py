"""Make prompts whose answers can be checked: ordinary instructions, each with one or two constraints on the answer.

    python recipes/chat/make_data.py INSTRUCTIONS.json FOLDER

INSTRUCTIONS.json is a list of rows with an "instruction", and an "input" where there is one, as Dolly and Alpaca have
it; rows with an input, long ones and doubles are passed over, and how many is said. Each prompt carries its check as a
suite's row does: {"prompt": ..., "check": {"kind": "constraints", "instructions": [...], "kwargs": [...]}}. Ten kinds
of constraint are used, in wordings of our own; the other kinds that `kleash.checks.constraints` knows are left for
evaluation. Writes FOLDER/prompts.jsonl (to train on), FOLDER/evaluation_prompts.jsonl (never trained on) and
FOLDER/plain_prompts.jsonl: 200 instructions without a constraint, to read before and after.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

NUM_PLAIN = 200
NUM_EVALUATION = 300
LONGEST_INSTRUCTION = 140

_KEYWORDS = ("water", "history", "simple", "people", "light", "reason", "important", "world", "energy", "community")
_END_PHRASES = ("That is all.", "I hope this helps.", "Ask me for more.", "The end of the answer.", "Is this clear?")

Kwargs = Mapping[str, Any]
Drawn = tuple[tuple[str, ...], Kwargs]


def _no_comma(chance: random.Random) -> Drawn:
    return ("Use no commas at all.", "Your answer must not contain any comma.", "Avoid commas entirely."), {}


def _quotation(chance: random.Random) -> Drawn:
    return ("Put the whole answer between double quotation marks.", 'Begin and end your answer with a " mark.'), {}


def _lowercase(chance: random.Random) -> Drawn:
    return ("Write in small letters only.", "Do not use a single capital letter.", "Everything in lower case."), {}


def _capitals(chance: random.Random) -> Drawn:
    return (
        "Write in capital letters only.",
        "ANSWER IN CAPITALS, every letter of it.",
        "Use upper case throughout.",
    ), {}


def _title(chance: random.Random) -> Drawn:
    return (
        "Give the answer a title in double angle brackets, such as <<My title>>.",
        "Add a title and write it like this: <<title>>.",
    ), {}


def _bullets(chance: random.Random) -> Drawn:
    number = chance.randint(2, 5)
    return (
        f"Answer in exactly {number} bullet points that begin with * or -.",
        f"Use a list of {number} points, each on a line that starts with a * mark.",
    ), {"num_bullets": number}


def _words(chance: random.Random) -> Drawn:
    return _number_of("words", chance.choice((20, 30, 40, 50)), chance)


def _sentences(chance: random.Random) -> Drawn:
    return _number_of("sentences", chance.randint(2, 5), chance)


def _number_of(what: str, number: int, chance: random.Random) -> Drawn:
    if chance.random() < 0.7:
        wordings, relation = (f"Use fewer than {number} {what}.", f"Stay below {number} {what}."), "less than"
    else:
        wordings, relation = (f"Write {number} {what} or more.", f"Use at least {number} {what}."), "at least"
    return wordings, {"relation": relation, f"num_{what}": number}


def _keywords(chance: random.Random) -> Drawn:
    words = chance.sample(_KEYWORDS, chance.randint(1, 2))
    named = " and ".join(f'"{word}"' for word in words)
    return (f"Make use of {named}.", f"Somewhere in the answer, say {named}."), {"keywords": words}


def _ending(chance: random.Random) -> Drawn:
    phrase = chance.choice(_END_PHRASES)
    return (f'End with the words "{phrase}" and nothing after them.', f"Your last words must be: {phrase}"), {
        "end_phrase": phrase
    }


KINDS: Mapping[str, Callable[[random.Random], Drawn]] = {
    "punctuation:no_comma": _no_comma,
    "startend:quotation": _quotation,
    "change_case:english_lowercase": _lowercase,
    "change_case:english_capital": _capitals,
    "detectable_format:title": _title,
    "detectable_format:number_bullet_lists": _bullets,
    "length_constraints:number_words": _words,
    "length_constraints:number_sentences": _sentences,
    "keywords:existence": _keywords,
    "startend:end_checker": _ending,
}
"""The ten kinds that are trained, by IFEval's names."""

_AT_ODDS = (
    {"change_case:english_lowercase", "change_case:english_capital"},
    {"startend:quotation", "startend:end_checker"},
    {"startend:quotation", "detectable_format:title"},
    {"detectable_format:number_bullet_lists", "length_constraints:number_sentences"},
    {"length_constraints:number_words", "length_constraints:number_sentences"},
)


def constrained(instruction: str, chance: random.Random) -> dict[str, Any]:
    """Return a prompt row: the instruction with one constraint, or two that go together, and how to check them."""
    names = chance.sample(list(KINDS), chance.choice((1, 1, 2)))
    if set(names) in _AT_ODDS:
        names = names[:1]
    asked, kwargs = [], []
    for name in names:
        wordings, own = KINDS[name](chance)
        asked.append(chance.choice(wordings))
        kwargs.append(dict(own))
    return {
        "prompt": " ".join([instruction, *asked]),
        "slices": {"constraint": names[0].split(":")[1]},
        "check": {"kind": "constraints", "instructions": names, "kwargs": kwargs},
    }


def read_instructions(path: Path) -> list[str]:
    """Return the instructions that stand alone and are short, each once, and say how many were passed over."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    alone = [row["instruction"].strip() for row in rows if not (row.get("input") or "").strip()]
    short = [text for text in alone if len(text) <= LONGEST_INSTRUCTION and "\n" not in text]
    once = list(dict.fromkeys(short))
    print(f"{path}: {len(once)} of {len(rows)} instructions taken (not: with an input, long, or twice)")
    return [text if text[-1] in ".?!" else f"{text}." for text in once]


def main(instructions_file: str, folder: str) -> None:
    chance = random.Random(0)
    instructions = read_instructions(Path(instructions_file))
    chance.shuffle(instructions)
    rows = [constrained(text, chance) for text in instructions[NUM_PLAIN:]]
    if len(rows) <= NUM_EVALUATION:
        sys.exit(
            f"{instructions_file} gives {len(rows)} prompts; more than {NUM_EVALUATION} are needed. Name a larger file."
        )
    files = {
        "plain_prompts": [{"prompt": text} for text in instructions[:NUM_PLAIN]],
        "evaluation_prompts": rows[:NUM_EVALUATION],
        "prompts": rows[NUM_EVALUATION:],
    }
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, written in files.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in written)
        (Path(folder) / f"{name}.jsonl").write_text(text, encoding="utf-8")
        print(f"{folder}/{name}.jsonl: {len(written)} prompts")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
