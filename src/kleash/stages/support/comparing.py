"""How candidates are compared: the `[preferences]` table of a recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from kleash.artifacts import Artifact
from kleash.collection.aggregation import AggregationSettings
from kleash.collection.campaign import DEFAULT_RUBRIC, CampaignSettings
from kleash.errors import SettingsError
from kleash.functions import NAMES_FILE, NAMES_FUNCTION
from kleash.raters.drift import DriftSettings
from kleash.raters.monitoring import BandSettings
from kleash.records import Comparison, Completion
from kleash.settings import Settings

PEOPLE = "people"
JUDGES = "judges"
ACTOR = "run"
"""Who a run is in the label database."""


class SimulatedJudgeSettings(Settings):
    """The sandbox's AI judge, which may get worse while it labels."""

    accuracy: float = Field(0.85, ge=0, le=1, description="share of its verdicts that go to the truly better answer")
    degrades_after: int | None = Field(
        None, ge=0, description="verdicts, of all rounds, until it is worse; none = never"
    )
    accuracy_after: float = Field(0.5, ge=0, le=1, description="that share from then on")


class PreferencesSettings(Settings):
    """How candidates are compared, and how the verdicts become labels.

    band: of AI judges; where it is not set, that of the judges file.
    """

    comparer: str = Field(
        "simulated",
        description="who compares: simulated, people, judges, simulated_judge, a plug-in, or a function's "
        "module:attribute",
        json_schema_extra=NAMES_FUNCTION,
    )
    panel: str = Field("expert", description="simulated labellers: expert, hurried, pleased or careless")
    bias: float = Field(0.0, ge=0, description="simulated labellers: liking for length, flattery, refusal, agreement")
    score_temperature: float = Field(0.0, ge=0, description="noise of a scoring function's choices; 0 = none")
    judges: Path | None = Field(None, description="judges: TOML file of one AI judge or a panel")
    simulated_judge: SimulatedJudgeSettings = SimulatedJudgeSettings()
    band: BandSettings = BandSettings()
    drift: DriftSettings = DriftSettings()
    rubric: Path | None = Field(
        None,
        description="Markdown file: what makes an answer better; none = a good default",
        json_schema_extra=NAMES_FILE,
    )
    completions_per_comparison: int = Field(2, ge=2, description="2 = pairs; more = rankings of so many answers")
    store: str | None = Field(
        None, description="label database, a path or postgresql://...; none = labels.sqlite beside the stages"
    )
    campaign: CampaignSettings = CampaignSettings()
    labels: AggregationSettings = AggregationSettings()

    def rubric_text(self) -> str:
        """Return the rubric. Raises SettingsError if its file cannot be read."""
        if self.rubric is None:
            return DEFAULT_RUBRIC
        try:
            return self.rubric.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"Cannot read preferences.rubric: {error}. Give the path of a UTF-8 text.") from None


@dataclass(frozen=True)
class Chosen:
    """How some of the possible comparisons are chosen for labelling: by what function, from what, by which settings.

    parents, settings: recorded with the outcome, because another choice makes other preferences.
    """

    choose: Callable[[Sequence[Completion]], list[Comparison]]
    parents: Mapping[str, Artifact] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
