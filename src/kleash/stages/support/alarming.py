"""Who watches over a policy while it trains: the `[alarms]` table of a recipe, and the external signal built from it.

What is watched for stands in `evaluation/symptoms.py`; `online_evaluation.py` evaluates and keeps the events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from kleash.collection.campaign import CampaignSettings
from kleash.data.batches import derived_seed
from kleash.evaluation.alarms import AlarmAction
from kleash.evaluation.external_signal import ExternalSignal
from kleash.evaluation.symptoms import symptoms_with
from kleash.functions import FUNCTIONS, NAMES_FUNCTION, function_digest
from kleash.protocols import CallLog
from kleash.raters.panel import JudgePanel
from kleash.raters.score_comparer import ScoreComparer
from kleash.settings import Settings
from kleash.stages.support.comparing import PEOPLE, PreferencesSettings
from kleash.stages.support.scoring import build_comparer


class AlarmSettings(Settings):
    """What is done about symptoms of over-optimisation, and who is asked whether answers truly get better."""

    action: AlarmAction = Field(
        "none", description="at a stop: none, raise_beta, hold (end here) or roll_back (end at the best checkpoint)"
    )
    comparer: str | None = Field(
        None,
        description="external signal: simulated, judges, a plug-in, or module:attribute; none = nobody is asked",
        json_schema_extra=NAMES_FUNCTION,
    )
    comparisons_per_evaluation: int = Field(250, ge=1, description="prompts asked about at each evaluation")
    raters: int = Field(1, ge=1, description="verdicts per comparison")
    panel: str = Field("expert", description="simulated labellers: expert, hurried, pleased or careless")
    score_temperature: float = Field(0.0, ge=0, description="noise of a scoring function's choices; 0 = none")
    judges: Path | None = Field(None, description="judges: TOML file of one AI judge or a panel")
    symptoms: tuple[str, ...] = Field(
        (), description="further symptoms to look for: plug-ins, or module:ROW", json_schema_extra=NAMES_FUNCTION
    )
    thresholds: dict[str, tuple[float, float]] = Field(
        {}, description="warn and stop by symptom, such as length = [0.5, 1.0], where they are not docs/alarms.md's"
    )

    @model_validator(mode="after")
    def _symptoms_are_known(self) -> AlarmSettings:
        known = [symptom.name for symptom in symptoms_with(self.symptoms)]
        for name, (warn, stop) in self.thresholds.items():
            if name not in known:
                raise ValueError(f"there is no symptom {name!r}; expected one of {', '.join(known)}")
            if not 0 < warn <= stop:
                raise ValueError(f"{name} warns at {warn} and stops at {stop}; expected 0 < warn <= stop")
        return self

    @model_validator(mode="after")
    def _somebody_can_be_asked(self) -> AlarmSettings:
        if self.comparer == PEOPLE:
            raise ValueError("people cannot be asked while a policy trains; use judges, or `kleash evaluate --people`")
        if self.action == "roll_back" and self.comparer is None:
            raise ValueError("roll_back goes to the best checkpoint by the external signal; set alarms.comparer")
        return self


@dataclass(frozen=True)
class AlarmSetup:
    """The alarms' settings, who is asked (None: nobody), and how lineage knows them, where it does."""

    settings: AlarmSettings = field(default_factory=AlarmSettings)
    signal: ExternalSignal | None = None
    raters: Mapping[str, Any] = field(default_factory=dict)

    def recorded(self) -> dict[str, Any]:
        return {"alarms": self.settings, **self.raters}


NO_ALARMS = AlarmSetup()


def build_alarms(settings: AlarmSettings, *, seed: int, calls: CallLog | None = None) -> AlarmSetup:
    """Return the alarms that the settings describe; calls: where AI judges keep what they asked and were told."""
    if settings.comparer is None:
        return AlarmSetup(settings)
    asked = PreferencesSettings(
        comparer=settings.comparer,
        panel=settings.panel,
        score_temperature=settings.score_temperature,
        judges=settings.judges,
        campaign=CampaignSettings(overlap=settings.raters),
    )
    comparer = build_comparer(asked, seed=derived_seed(seed, "alarms"), calls=calls)
    assert comparer is not None, "people were refused when the settings were read"
    raters: dict[str, Any] = {}
    if isinstance(comparer, JudgePanel):
        raters = {FUNCTIONS: {"alarms.judges": comparer.recorded()}}
    elif isinstance(comparer, ScoreComparer):
        raters = {FUNCTIONS: {"alarms.comparer": vars(function_digest(comparer.name))}}
    return AlarmSetup(settings, ExternalSignal(comparer, num_comparisons=settings.comparisons_per_evaluation), raters)
