"""Build the scorer that a recipe asks for: a reward model, an ensemble of them, rules, or a Python function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from kleash.artifacts import Artifact, require
from kleash.errors import SettingsError
from kleash.judges.ai_feedback import AIJudge
from kleash.judges.comparer import ScoreComparer
from kleash.judges.configuration import load_judges
from kleash.judges.ensemble import EnsembleScorer
from kleash.judges.function import FunctionScorer
from kleash.judges.panel import JudgePanel
from kleash.judges.reward_model import load_scorer
from kleash.judges.rules import Rule, RuleScorer
from kleash.plugins import resolve
from kleash.protocols import CallLog, Comparer, Scorer
from kleash.settings import Settings
from kleash.stages.comparing import JUDGES, PEOPLE, CollectSettings
from kleash.stages.workplace import Workplace


class ScorerSettings(Settings):
    """What scores answers while the policy trains."""

    kind: str = Field("reward_model", description="reward_model, ensemble, function, rules, or a scorer plug-in's name")
    function: str | None = Field(None, description="module:attribute or file.py:attribute, for kind = function")
    combine: Literal["mean", "worst_case", "uncertainty"] = Field("mean", description="an ensemble's one score")
    uncertainty_penalty: float = Field(1.0, ge=0, description="ensemble: score = mean - this x variance")
    rules: tuple[Rule, ...] = Field(
        (), description="for kind = rules: tables with rule = length, matches, avoids or ends"
    )


@dataclass(frozen=True)
class JudgedBy:
    """What scores a policy (None: nothing does), the artifacts it stands on (reward models), by role, and its settings.

    The settings are recorded with what they scored: another scorer makes another policy.
    """

    scorer: Scorer | None
    parents: Mapping[str, Artifact]
    settings: ScorerSettings | None = None

    def recorded(self) -> dict[str, Any]:
        return {"scorer": self.settings.model_dump(mode="json")} if self.settings else {}


def build_scorer(
    place: Workplace, settings: ScorerSettings, *, reward_models: Sequence[Artifact] = (), z_clip: float = 5.0
) -> JudgedBy:
    """Return the scorer that the settings describe. Raises SettingsError when what it needs is not there."""
    if settings.kind in ("reward_model", "ensemble"):
        if not reward_models:
            raise SettingsError(
                f"scorer.kind is {settings.kind!r} and there is no reward model. Run the `reward` stage first, name "
                "reward artifacts, or set scorer.kind to function."
            )
        members = [
            load_scorer(require(artifact, "reward").path, device=place.model.device, z_clip=z_clip)
            for artifact in reward_models
        ]
        parents = {f"reward_{i}" if i else "reward": artifact for i, artifact in enumerate(reward_models)}
        if settings.kind == "reward_model":
            return JudgedBy(members[0], {"reward": reward_models[0]}, settings)
        ensemble = EnsembleScorer(members, combine=settings.combine, penalty=settings.uncertainty_penalty)
        return JudgedBy(ensemble, parents, settings)
    if settings.kind == "function":
        if not settings.function:
            raise SettingsError(
                'scorer.kind is "function" and scorer.function is not set. Expected module:attribute or '
                "file.py:attribute. Set it to a Python function of (prompt, completion) that returns a number."
            )
        return JudgedBy(FunctionScorer(settings.function), {}, settings)
    if settings.kind == "rules":
        return JudgedBy(RuleScorer(settings.rules), {}, settings)
    return JudgedBy(resolve("scorer", settings.kind)(), {}, settings)


def build_comparer(settings: CollectSettings, *, seed: int, calls: CallLog | None = None) -> Comparer | None:
    """Return who compares: AI judges, a comparer plug-in, or a Python function that scores; None for people.

    calls: where AI judges keep what they asked and were told.
    """
    if settings.comparer == PEOPLE:
        return None
    if settings.comparer == JUDGES:
        if settings.judges is None:
            raise SettingsError(
                f'preferences.comparer is "{JUDGES}" and preferences.judges is not set. Expected the path of a TOML '
                "file that describes them. Set it."
            )
        panel = load_judges(settings.judges).judges
        if len(panel) > settings.campaign.overlap:
            raise SettingsError(
                f"{settings.judges} names {len(panel)} judges, and preferences.campaign.overlap is "
                f"{settings.campaign.overlap}. Expected room for every one's verdict. Set the overlap to {len(panel)}."
            )
        # A judge without a rubric of its own goes by the campaign's, as people do.
        panel = tuple(one if one.rubric else one.model_copy(update={"rubric": settings.rubric_text()}) for one in panel)
        return JudgePanel([AIJudge(judge, log=calls) for judge in panel])
    if ":" not in settings.comparer:
        return resolve("comparer", settings.comparer)(settings, seed=seed)
    return ScoreComparer(
        FunctionScorer(settings.comparer),
        name=settings.comparer,
        temperature=settings.score_temperature,
        num_raters=settings.campaign.overlap,
        seed=seed,
    )
