"""A campaign: what is asked of raters, how many of them, and how items are given out.

Settings only; `assignment.py` acts on them and `store/campaigns.py` keeps them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from kleash.settings import Settings

Sampling = Literal["random", "uncertain", "suspects"]
CampaignState = Literal["open", "paused", "closed"]

DEFAULT_RUBRIC = Path(__file__).with_name("rubric.md").read_text(encoding="utf-8")


class CampaignSettings(Settings):
    """How a campaign's items are given out and what is asked about them."""

    overlap: int = Field(3, ge=1, description="raters per item")
    max_overlap: int = Field(0, ge=0, description="more raters where they disagree, up to so many; 0 = never more")
    gold_share: float = Field(0.08, ge=0, lt=1, description="share of a rater's tasks that are calibration items")
    repeat_share: float = Field(0.05, ge=0, lt=1, description="share that are own earlier items with places swapped")
    repeat_gap: int = Field(10, ge=1, description="a repeat comes at least so many tasks after its original")
    lease_minutes: float = Field(20.0, gt=0, description="a task not answered by then goes to somebody else")
    aspects: tuple[str, ...] = Field(("factuality", "style"), description="asked apart from the overall verdict")
    sampling: Sampling = Field("random", description="which item comes next: random, uncertain or suspects first")
    control_share: float = Field(
        0.2, ge=0, le=1, description="share of items drawn at random beside the sampling policy"
    )
    min_seconds: float = Field(2.0, ge=0, description="a verdict given faster is marked as too fast")
    target_items: int = Field(0, ge=0, description="the campaign is complete at so many full items; 0 = all")
    people_share: float = Field(0.0, ge=0, le=1, description="with AI judges: share of items that people judge as well")
    people_overlap: int = Field(1, ge=1, description="with AI judges: people per item of that share")

    @model_validator(mode="after")
    def _overlap_can_be_reached(self) -> CampaignSettings:
        if self.max_overlap and self.max_overlap < self.overlap:
            raise ValueError(f"max_overlap {self.max_overlap} is below overlap {self.overlap}; set it higher, or 0")
        if self.gold_share + self.repeat_share >= 1:
            raise ValueError("gold_share and repeat_share leave no room for ordinary items; lower them")
        return self


@dataclass(frozen=True)
class Campaign:
    """A campaign as stored. seed: of everything drawn at random in it, kept secret from raters."""

    id: int
    name: str
    state: CampaignState
    settings: CampaignSettings
    seed: str
    rubric: str
    rubric_version: str
    created_at: datetime
