"""What is true in recipes/chat.toml: the share of a prompt's constraints that an answer follows, strictly."""

from __future__ import annotations

import functools
import json
import math
import random
from pathlib import Path
from typing import Any

from kleash.checks.constraints import check_constraints

SHARPNESS = 3.0
_DATA = Path(__file__).parent / "data"


def gold(prompt: str, completion: str) -> float:
    """Return the share of constraints that the answer follows. Raises KeyError for a prompt that is not ours."""
    tallies = check_constraints(completion, _checks()[prompt]).tallies
    followed, asked = tallies["instruction_strict"]
    return followed / asked


def panel(prompt: str, completion: str) -> float:
    """Return what the answer is worth to a rater who errs at random, and labelled nothing: for the alarms."""
    return SHARPNESS * gold(prompt, completion) + gumbel("panel", prompt, completion)


def gumbel(*seen: str) -> float:
    """Draw Gumbel noise by what is seen alone; a choice by worth and such noise is Bradley-Terry."""
    return -math.log(-math.log(max(random.Random("\n".join(seen)).random(), 1e-12)))


@functools.cache
def _checks() -> dict[str, dict[str, Any]]:
    names = ("prompts", "evaluation_prompts")
    rows = [json.loads(line) for name in names for line in (_DATA / f"{name}.jsonl").open(encoding="utf-8")]
    return {row["prompt"]: row["check"] for row in rows}
