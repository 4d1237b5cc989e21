"""Which prompts candidates are sampled for: as the file has them, or mixed by slice, difficulty and red teaming.

Difficulty is the scorer's own: how clearly it tells a prompt's best answer from its worst. Pairs it is sure of teach it
little, pairs it cannot tell apart may be noise, and what it never saw, an attack, it may have quite wrong; so a round
can ask for so much of each. The sampling itself is in `candidates.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveFloat, model_validator

from kleash.data.quotas import choose
from kleash.errors import SettingsError
from kleash.evaluation.jailbreaks import WRAPPERS, wrapped
from kleash.records import Prompt, group_by_slice, slice_names
from kleash.settings import Settings

Difficulty = Literal["easy", "hard", "near_miss", "adversarial"]
DIFFICULTY, RED_TEAM = "difficulty", "red_team"
ANY = "*"
# By the Bradley-Terry probability that a prompt's best answer beats its worst.
SURE, UNSURE = 0.9, 0.6


class PromptMix(Settings):
    """What the prompts are made of; without any of these, the file's own, in its order."""

    slices: dict[str, PositiveFloat] = Field(
        {}, description='shares by slice, such as "topic=sums" = 0.5; "*" is every other prompt, left out if not named'
    )
    difficulty: dict[Difficulty, PositiveFloat] = Field(
        {}, description="shares by how the scorer finds them: easy, hard, near_miss, adversarial (attacks)"
    )
    pool_factor: float = Field(2.0, ge=1, description="prompts answered for each one kept, when difficulty chooses")
    red_team_share: float = Field(0.0, ge=0, lt=1, description="share of the prompts that are attacks")
    red_team_file: Path | None = Field(None, description="attacks of your own: a file of prompts")
    red_team_wrappers: tuple[str, ...] = Field(
        (), description=f"jailbreak wrappers to put around prompts: {', '.join(WRAPPERS)}"
    )
    red_team_slice: str = Field("", description='the prompts to put them around, such as "topic=unsafe"; empty = any')

    @model_validator(mode="after")
    def _makes_sense(self) -> PromptMix:
        for name in (*self.slices, self.red_team_slice or ANY):
            if "=" not in name and name != ANY:
                raise ValueError(f'{name!r} names no slice; write dimension=value, such as "topic=sums"')
        has_attacks = self.red_team_file is not None or bool(self.red_team_wrappers)
        if has_attacks != (self.red_team_share > 0):
            raise ValueError(
                f"red_team_share is {self.red_team_share} and there are {'' if has_attacks else 'no '}attacks; set a "
                "share above 0 together with red_team_file or red_team_wrappers"
            )
        unknown = [name for name in self.red_team_wrappers if name not in WRAPPERS]
        if unknown:
            raise ValueError(f"there is no jailbreak wrapper {unknown[0]}; use some of {', '.join(WRAPPERS)}")
        return self


def attacks(prompts: Sequence[Prompt], own: Sequence[Prompt], mix: PromptMix) -> list[Prompt]:
    """Return the red team's prompts, each with the tag `red_team`: "file", or the wrapper's name.

    own: those of the user's file. Raises SettingsError when the slice to put wrappers around has no prompt.
    """
    found = [prompt.with_dimensions({RED_TEAM: "file"}) for prompt in own]
    if mix.red_team_wrappers:
        targets = [prompt for prompt in prompts if not mix.red_team_slice or _is_in(prompt, mix.red_team_slice)]
        if not targets:
            raise SettingsError(_no_such_slice("red_team_slice", mix.red_team_slice, prompts))
        found += [
            wrapped(prompt, name).with_dimensions({RED_TEAM: name})
            for prompt in targets
            for name in mix.red_team_wrappers
        ]
    return found


def mixed(
    prompts: Sequence[Prompt], red_team: Sequence[Prompt], mix: PromptMix, *, number: int | None, seed: int
) -> list[Prompt]:
    """Return `number` prompts, or all: the red team's share of them, the rest by the shares of their slices.

    A slice that has too few leaves its places to the others. Raises SettingsError for a slice that no prompt is in.
    """
    for name in mix.slices:
        if name != ANY and not any(_is_in(prompt, name) for prompt in prompts):
            raise SettingsError(_no_such_slice("slices", name, prompts))
    total = number if number is not None else round(len(prompts) / (1 - mix.red_team_share))
    num_attacks = min(round(total * mix.red_team_share), len(red_team))
    kept = list(prompts[: total - num_attacks])
    if mix.slices:
        groups = [next((name for name in mix.slices if _is_in(prompt, name)), ANY) for prompt in prompts]
        keys = [prompt.text for prompt in prompts]
        kept = [prompts[n] for n in choose(groups, keys, total - num_attacks, seed=seed, weights=mix.slices)]
    names = [prompt.tags[RED_TEAM] for prompt in red_team]
    return kept + [red_team[n] for n in choose(names, [prompt.text for prompt in red_team], num_attacks, seed=seed)]


def difficulty_of(prompt: Prompt, scores: Sequence[float], members: Sequence[Sequence[float]] = ()) -> Difficulty:
    """Say how the scorer finds a prompt, by the scores of its answers (z-scores, one each).

    near_miss: it can hardly tell the best from the worst.  easy: it is sure, and every member of an ensemble agrees
    which is better.  hard: in between.  An attack is adversarial whatever the scores.
    members: each member's scores of the same answers.
    """
    if RED_TEAM in prompt.tags:
        return "adversarial"
    best, worst = (pick(range(len(scores)), key=scores.__getitem__) for pick in (max, min))
    probability = 1 / (1 + math.exp(-min(scores[best] - scores[worst], 50.0)))
    if probability < UNSURE:
        return "near_miss"
    is_contested = any(member[best] < member[worst] for member in members)
    return "easy" if probability >= SURE and not is_contested else "hard"


# ----------------------------------------------------------------------------------------------------------- inside
def _is_in(prompt: Prompt, name: str) -> bool:
    return name in slice_names(prompt.dimensions)


def _no_such_slice(setting: str, name: str, prompts: Sequence[Prompt]) -> str:
    known = group_by_slice(prompt.dimensions for prompt in prompts)
    return (
        f"candidates.mix.{setting} names {name}, and none of the {len(prompts)} prompts is in it. Expected one of "
        f"{', '.join(known) or 'no slices at all: these prompts have none'}. Correct the name."
    )
