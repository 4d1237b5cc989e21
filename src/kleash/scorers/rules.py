"""Rules as a scorer: what can be said about an answer without a model, such as its length or a word it must not hold.

Each rule is a settings record that values one answer between 0 (broken) and 1 (kept); `RuleScorer` adds them up by
weight. For rewards that need no learning, for guards beside a reward model, and for trying out a pipeline.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, field_validator

from kleash.protocols import Scores
from kleash.records import Completion
from kleash.scorers.ensemble import require_names
from kleash.settings import Settings


class LengthTarget(Settings):
    """Values answers near a length: 1 at target_words, falling evenly to 0 at tolerance_words from it."""

    rule: Literal["length"] = "length"
    name: str = Field("length", description="the part's name")
    weight: float = Field(1.0, allow_inf_nan=False, description="what keeping the rule adds to the score")
    target_words: int = Field(ge=0, description="the best length, in words")
    tolerance_words: int = Field(ge=1, description="this far from the target nothing is left")

    def value(self, completion: Completion) -> float:
        distance = abs(len(completion.text.split()) - self.target_words)
        return max(0.0, 1 - distance / self.tolerance_words)


class Matches(Settings):
    """Values answers in which a regular expression is found."""

    rule: Literal["matches"] = "matches"
    name: str = Field("matches", description="the part's name")
    weight: float = Field(1.0, allow_inf_nan=False, description="what keeping the rule adds to the score")
    pattern: str = Field(description="a Python regular expression, searched for anywhere; . matches line ends too")

    @field_validator("pattern")
    @classmethod
    def _must_compile(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
        return pattern

    def value(self, completion: Completion) -> float:
        return float(re.search(self.pattern, completion.text, re.DOTALL) is not None)


class Avoids(Settings):
    """Values answers without forbidden words; capitals make no difference, and only whole words count."""

    rule: Literal["avoids"] = "avoids"
    name: str = Field("avoids", description="the part's name")
    weight: float = Field(1.0, allow_inf_nan=False, description="what keeping the rule adds to the score")
    words: tuple[str, ...] = Field(min_length=1, description="words or phrases that an answer must not hold")

    def value(self, completion: Completion) -> float:
        # \b would not do: a forbidden "c++" ends in no word character.
        found = (re.search(rf"(?<!\w){re.escape(word)}(?!\w)", completion.text, re.IGNORECASE) for word in self.words)
        return float(not any(found))


class Ends(Settings):
    """Values answers that come to an end: by one of some endings, and not by the length limit."""

    rule: Literal["ends"] = "ends"
    name: str = Field("ends", description="the part's name")
    weight: float = Field(1.0, allow_inf_nan=False, description="what keeping the rule adds to the score")
    endings: tuple[str, ...] = Field((".", "!", "?"), min_length=1, description="what a complete answer ends with")

    def value(self, completion: Completion) -> float:
        return float(completion.finish_reason != "length" and completion.text.rstrip().endswith(self.endings))


Rule = Annotated[LengthTarget | Matches | Avoids | Ends, Field(discriminator="rule")]


class RuleScorer:
    """Adds up rules: total = sum of weight * value; parts: each rule's own share of the total, by its name.

    Raises SettingsError without rules, or for two of one name.
    """

    def __init__(self, rules: Sequence[LengthTarget | Matches | Avoids | Ends]) -> None:
        require_names([rule.name for rule in rules], "rules")
        self.rules = tuple(rules)

    def score(self, completions: Sequence[Completion]) -> Scores:
        """Return each answer's sum over the rules."""
        parts = {rule.name: [rule.weight * rule.value(completion) for completion in completions] for rule in self.rules}
        return Scores([sum(shares) for shares in zip(*parts.values(), strict=True)], parts)
