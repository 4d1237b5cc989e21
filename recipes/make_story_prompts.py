"""Make story openings from a file of stories: prompts to train on, and others kept apart for evaluation.

    python recipes/make_story_prompts.py STORIES.txt FOLDER

STORIES.txt holds stories one after the other: a blank line between paragraphs, a plain line break between stories, as
in TinyStories. A prompt is a story's first sentence; it carries its hero (girl, boy, other) as a slice, and
a check for `recipes/stories_checked.toml`: half of the stories are to do without a comma, half are to have a friend. Writes
FOLDER/prompts.jsonl and FOLDER/evaluation_prompts.jsonl; an opening is only ever in one of them.
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path
from typing import Any

from kleash.formats import write_jsonl
from kleash.records import Prompt

# A line break that is no blank line, then a sentence's end that is followed by space.
_BETWEEN_STORIES = re.compile(r"(?<!\n)\n(?!\n)")
_BETWEEN_SENTENCES = re.compile(r"(?<=[.!?])\s+")
NUM_WORDS = range(4, 21)
"""Openings of fewer words say too little; the few longer ones leave little room for a story."""

EVALUATION_SHARE = 0.25

CHECKS = (
    {"kind": "constraints", "instructions": ["punctuation:no_comma"], "kwargs": [{}]},
    {"kind": "constraints", "instructions": ["keywords:existence"], "kwargs": [{"keywords": ["friend"]}]},
)


def openings(stories: str) -> list[str]:
    """Return each story's first sentence once, in order of appearance; cut-off and quoted ones are left out."""
    first = [_BETWEEN_SENTENCES.split(story.strip())[0] for story in _BETWEEN_STORIES.split(stories)]
    whole = [text for text in first if text.endswith(".") and '"' not in text and "\n" not in text]
    return list(dict.fromkeys(text for text in whole if len(text.split()) in NUM_WORDS))


def hero_of(opening: str) -> str:
    """Name who the story is about, by the first word that tells."""
    named = re.search(r"\b(girl|boy)\b", opening)
    return named.group(1) if named else "other"


def is_for_evaluation(opening: str) -> bool:
    """Say where an opening belongs; its own text decides, so that more stories move no opening."""
    first_byte = hashlib.sha256(opening.encode()).digest()[0]
    return first_byte < EVALUATION_SHARE * 256


def check_of(opening: str) -> dict[str, Any]:
    """Say what the story is to be checked for, as a suite's row does; its opening's own text decides."""
    return CHECKS[hashlib.sha256(opening.encode()).digest()[1] % len(CHECKS)]


def main(stories_file: str, folder: str) -> None:
    prompts = [
        Prompt(text, {"hero": hero_of(text)}, check=check_of(text))
        for text in openings(Path(stories_file).read_text(encoding="utf-8"))
    ]
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, wanted in (("prompts", False), ("evaluation_prompts", True)):
        chosen = [prompt for prompt in prompts if is_for_evaluation(prompt.text) == wanted]
        write_jsonl(Path(folder) / f"{name}.jsonl", chosen)
        print(f"{folder}/{name}.jsonl: {len(chosen)} openings")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("Usage: python recipes/make_story_prompts.py STORIES.txt FOLDER")
    main(sys.argv[1], sys.argv[2])
