"""How candidates are compared: the `[preferences]` table of a recipe."""

from __future__ import annotations

from pydantic import Field

from kleash.settings import Settings


class CollectSettings(Settings):
    """How candidates are compared."""

    comparer: str = Field(
        "simulated", description="who compares: simulated, a plug-in, or module:attribute of a scoring function"
    )
    panel: str = Field("expert", description="simulated labellers: expert, hurried or pleased")
    bias: float = Field(0.0, ge=0, description="simulated labellers: liking for length, flattery, refusal, agreement")
    score_temperature: float = Field(0.0, ge=0, description="noise of a scoring function's choices; 0 = none")
    raters_per_comparison: int = Field(3, ge=1)
    completions_per_comparison: int = Field(2, ge=2, description="2 = pairs; more = rankings of so many answers")
