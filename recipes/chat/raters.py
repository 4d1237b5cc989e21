"""Simulated raters of recipes/chat.toml: they see the share of constraints that an answer follows, through noise.

    worth = SHARPNESS * (share of constraints followed + bias * words / 40) + Gumbel noise

The noise depends on prompt and answer alone. `unbiased` and `biased` give what a rater feels; `gold` is the truth,
which neither the reward model nor training ever reads.
"""

from __future__ import annotations

import functools
import json
import math
import random
from pathlib import Path

from kleash.checks.constraints import check_constraints

SHARPNESS = 3.0
LENGTH_BIAS = 0.3
_DATA = Path(__file__).parent / "data"


def gold(prompt: str, completion: str) -> float:
    """Return the share of the prompt's constraints that the answer follows, strictly."""
    tallies = check_constraints(completion, _checks()[prompt]).tallies
    followed, asked = tallies["instruction_strict"]
    return followed / asked


def unbiased(prompt: str, completion: str) -> float:
    """Return what the answer is worth to a rater who errs at random."""
    return SHARPNESS * gold(prompt, completion) + _noise(prompt, completion)


def biased(prompt: str, completion: str) -> float:
    """Return what the answer is worth to a rater who also likes long answers."""
    return unbiased(prompt, completion) + SHARPNESS * LENGTH_BIAS * len(completion.split()) / 40


def _noise(prompt: str, completion: str) -> float:
    chance = random.Random(f"{prompt}\n{completion}")
    return -math.log(-math.log(max(chance.random(), 1e-12)))


@functools.cache
def _checks() -> dict[str, dict]:
    names = ("prompts", "watched_prompts", "evaluation_prompts")
    rows = [json.loads(line) for name in names for line in (_DATA / f"{name}.jsonl").open(encoding="utf-8")]
    return {row["prompt"]: row["check"] for row in rows}
