"""Find answers that give away who wrote them ("I am ChatGPT"), before raters see them. Pure.

Such an item is held back for a person to look at, so a few false alarms cost little and a miss costs the blindness of
one comparison. Only a text that speaks of *itself* counts: "What is ChatGPT?" and an answer to it are fine. The clues
are in `identity.toml`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from kleash.checks.patterns import read_patterns
from kleash.records import Comparison
from kleash.web.visible import visible_text

_MAX_REASON_CHARACTERS = 200


@cache
def _clues() -> Mapping[str, re.Pattern[str]]:
    return read_patterns(Path(__file__).with_suffix(".toml"))


def named_model(text: str) -> str:
    """Return the words by which a text says which model wrote it or who made that; "" if it does not."""
    visible = visible_text(text)
    sentences = " ".join(visible.split())
    clues = dict(_clues())
    speaker = clues.pop("speaker")
    matches = [match for match in (clue.search(sentences) for clue in clues.values()) if match]
    first = min(matches, key=lambda match: match.start(), default=speaker.search(visible))
    return first.group().strip(".!?,;:( ") if first else ""


def identity_holds(comparisons: Iterable[Comparison]) -> dict[str, str]:
    """Return why comparisons are to be held back, by their id: an answer says which model wrote it."""
    holds = {}
    for comparison in comparisons:
        words = next(filter(None, map(named_model, comparison.completions)), "")
        if words:
            holds[comparison.id] = f"an answer names a model: {words}"[:_MAX_REASON_CHARACTERS]
    return holds
