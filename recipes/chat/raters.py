"""Simulated raters of recipes/chat.toml: they see the share of constraints that an answer follows, through noise.

    worth = SHARPNESS * (gold + bias * words / 40) + Gumbel noise

`unbiased` has a bias of 0, `biased` of .3. The truth itself, which training never reads, is in gold.py.
"""

from gold import SHARPNESS, gold, gumbel  # type: ignore[import-not-found]  # lies beside this file

LENGTH_BIAS = 0.3


def unbiased(prompt: str, completion: str) -> float:
    """Return what the answer is worth to a rater who errs at random."""
    return SHARPNESS * gold(prompt, completion) + gumbel(prompt, completion)


def biased(prompt: str, completion: str) -> float:
    """Return what the answer is worth to a rater who also likes long answers."""
    return unbiased(prompt, completion) + SHARPNESS * LENGTH_BIAS * len(completion.split()) / 40
