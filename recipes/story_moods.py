"""Two readings of a story's mood that share no word: `feelings` to train on, `happenings` to judge by.

`feelings` counts the feelings a story names (glad, proud; sad, scared). It is the rater of `recipes/stories.toml` and,
put on the scale of a z-score, the plain reward of `recipes/stories_function.toml`. `happenings` counts what befalls
the people in it (laughed, shared; fell, got lost) and names no feeling. Training never sees it: it is there to tell a
happier story from one that has merely learned to say "happy". `tests/test_shipped_recipes.py` holds them apart.

Both count different words, not occurrences, so that repeating one gains nothing, and see only so much of each kind.
Words are matched whole; the lists were written by hand for the vocabulary of three-year-olds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping


def _vocabulary(words: str) -> frozenset[str]:
    return frozenset(words.split())


GLAD_FEELINGS = _vocabulary(
    "amazed brave calm cheerful cozy curious delighted eager excited friendly gentle glad grateful happier happiest "
    "happily happiness happy hopeful joy joyful joyfully kind lovely loved loving merry peaceful playful pleased proud "
    "proudly relaxed relieved satisfied surprised thankful thrilled warm wonderful"
)
SAD_FEELINGS = _vocabulary(
    "afraid angrily angry anxious ashamed bored confused cross disappointed embarrassed envious fear frightened "
    "frustrated furious gloomy grumpy guilty jealous lonely mad miserable nervous regret sad sadder sadly sadness "
    "scared shy sorry terrified tired unhappy upset worried worry"
)
GOOD_HAPPENINGS = _vocabulary(
    "celebrate celebrated cheered clapped danced dancing finished fixed found friend friends fun game games gift "
    "giggled giggling helped hug hugged hugs kiss kissed laugh laughed laughing party play played playing present "
    "rescued safe safely sang saved share shared sharing singing smile smiled smiles smiling solved success surprise "
    "thank thanked treat together won"
)
BAD_HAPPENINGS = _vocabulary(
    "alone bit bite bled break broke broken bump bumped burned chased cried cry crying cut danger dangerous dead die "
    "died dirty escape escaped fell fight fighting fought gone hit hurt ill lost mess mistake pain rain ran scolded "
    "screamed shouted sick slipped spilled stole storm stuck tears torn trouble wept wound yelled"
)

MOST_OF_A_KIND = 6
"""Different words that count on each side; beyond, more of the same makes no happier story."""

# Mean and standard deviation of `feelings` over the checkpoint's own stories, as `kleash run` first found them; they
# make its unit a standard deviation, which is what beta and the missing-EOS penalty are stated in.
REFERENCE_MEAN = 0.3
REFERENCE_SD = 1.0


def feelings(prompt: str, completion: str) -> float:
    """Return glad minus sad feelings that the story names, -6 .. 6; what the prompt names counts for nobody."""
    return float(_balance(completion, GLAD_FEELINGS, SAD_FEELINGS))


def feelings_reward(prompt: str, completion: str) -> Mapping[str, float]:
    """Return `feelings` as a z-score over the untrained checkpoint's stories, with both counts as named parts."""
    return {
        "total": (feelings(prompt, completion) - REFERENCE_MEAN) / REFERENCE_SD,
        "glad_feelings": float(_count(completion, GLAD_FEELINGS)),
        "sad_feelings": float(_count(completion, SAD_FEELINGS)),
    }


def happenings(prompt: str, completion: str) -> Mapping[str, float]:
    """Return good minus bad happenings, -6 .. 6, and beside it how much the story repeats itself.

    repeated_share: share of the story's word triples that occurred before in it; a collapsed policy nears 1.
    """
    words = _words(completion)
    triples = list(zip(words, words[1:], words[2:], strict=False))
    return {
        "total": float(_balance(completion, GOOD_HAPPENINGS, BAD_HAPPENINGS)),
        "repeated_share": 1 - len(set(triples)) / len(triples) if triples else 0.0,
    }


def _balance(text: str, good: frozenset[str], bad: frozenset[str]) -> int:
    return _count(text, good) - _count(text, bad)


def _count(text: str, wanted: frozenset[str]) -> int:
    return min(MOST_OF_A_KIND, len(wanted.intersection(_words(text))))


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


_OPENING = "Once upon a time, there was a little girl named Lily."
feelings.ranked_examples = feelings_reward.ranked_examples = [  # type: ignore[attr-defined]
    (_OPENING, [" She was happy and proud.", " She had a ball.", " She was sad and scared."]),
]
happenings.ranked_examples = [  # type: ignore[attr-defined]
    (_OPENING, [" They laughed and played together.", " She had a ball.", " She fell and got lost."]),
]
