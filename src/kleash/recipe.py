"""The recipe: one TOML file with a table per stage, read strictly, and everything a run is made of.

`stages/round.py` runs it. A setting is documented where it is declared, beside the code it steers; `kleash recipe
explain` prints them all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from kleash.algorithms.policy_settings import PolicySettings
from kleash.errors import SettingsError
from kleash.evaluation.first_update import REWARD_MODELS
from kleash.functions import NAMES_FUNCTION
from kleash.idle_settings import refuse_idle_settings
from kleash.models.rendering import RenderingSettings
from kleash.settings import Settings, load_toml, names_of
from kleash.stages.audit import AuditSettings
from kleash.stages.best_of_n import BestOfNSettings
from kleash.stages.candidates import CandidatesSettings
from kleash.stages.context import ModelSettings
from kleash.stages.direct import DirectSettings
from kleash.stages.evaluate import EvaluateSettings
from kleash.stages.gate import GateSettings
from kleash.stages.pretrain import PretrainSettings
from kleash.stages.reward import RewardSettings
from kleash.stages.sft import SftSettings
from kleash.stages.suites import SuitesSettings
from kleash.stages.support.alarming import AlarmSettings
from kleash.stages.support.comparing import PreferencesSettings
from kleash.stages.support.refreshing import RefreshSettings
from kleash.stages.support.scoring import ScorerSettings, check_members
from kleash.stages.table import PROVIDERS, RECIPE_STAGES, STAGES
from kleash.versions import check_recipe_format

if TYPE_CHECKING:
    StageName = str
else:
    StageName = Literal[RECIPE_STAGES]


class DataSettings(RenderingSettings):
    """Where a run's data comes from: files in any format `kleash data check` understands. Relative to where you run."""

    documents: Path | None = Field(None, description="plain text for the pretrain stage: a file or a folder")
    demonstrations: Path | None = Field(None, description="prompts with good answers, for the sft stage")
    prompts: Path | None = Field(None, description="what candidates and policy answer")
    evaluation_prompts: Path | None = Field(None, description="prompts kept apart, for the evaluation stage")
    preferences: Path | None = Field(None, description="a preference file; without one, candidates are compared")


class WorldSettings(Settings):
    """How much of a built-in world to write. The sandbox is the only one that comes with KLeash."""

    kind: str = Field("sandbox", description="a world plug-in's name", json_schema_extra=NAMES_FUNCTION)
    num_demonstrations: int = Field(3000, ge=10)
    num_prompts: int = Field(3000, ge=10)
    num_evaluation_per_slice: int = Field(200, ge=1)


class Recipe(Settings):
    """One run, from data to an evaluated policy."""

    name: str = Field("run", description="the run's folder under runs/")
    about: str = Field("", description="one line for people")
    seed: int = Field(0, ge=0, description="of everything random")
    base: str | None = Field(None, description="model folder that training starts from; none = the world's own")
    stages: tuple[StageName, ...] = Field(
        ("world", "sft", "candidates", "preferences", "reward", "audit", "policy", "evaluation"),
        description="what to do, in order",
    )
    rounds: int = Field(1, ge=1, description="how often to go round: each after the first refreshes labels and reward")
    trackers: tuple[str, ...] = Field(
        (), description="tracker plug-ins beside metrics.jsonl: tensorboard, wandb, mlflow"
    )
    model: ModelSettings = ModelSettings()
    data: DataSettings = DataSettings()
    world: WorldSettings = WorldSettings()
    pretrain: PretrainSettings = PretrainSettings()
    sft: SftSettings = SftSettings()
    candidates: CandidatesSettings = CandidatesSettings()
    preferences: PreferencesSettings = PreferencesSettings()
    reward: RewardSettings = RewardSettings()
    audit: AuditSettings = AuditSettings()
    scorer: ScorerSettings = ScorerSettings()
    best_of_n: BestOfNSettings = BestOfNSettings()
    policy: PolicySettings = PolicySettings()
    alarms: AlarmSettings = AlarmSettings()
    direct: DirectSettings = DirectSettings()
    evaluation: EvaluateSettings = EvaluateSettings()
    suites: SuitesSettings = SuitesSettings()
    refresh: RefreshSettings = RefreshSettings()
    gate: GateSettings = GateSettings()

    @property
    def waits_for_reward(self) -> bool:
        """Whether answers are scored by a reward model that the run has yet to train."""
        asking = self.scorer.of_kinds(*REWARD_MODELS)
        return any("reward" in self.stages or not part.reward_models for part in asking)

    def setting(self, name: str) -> Any:
        """Return a setting by its dotted name, such as policy.steps."""
        return attrgetter(name)(self)


def load_recipe(
    path: Path, overrides: Sequence[str] = (), *, is_begun: Callable[[Recipe], bool] = lambda recipe: False
) -> Recipe:
    """Read a recipe; overrides are "table.setting=value". Raises SettingsError with file and line.

    is_begun: whether there is a run of the recipe, which goes on though it sets what does nothing.
    """
    check_recipe_format(path)
    recipe = load_toml(path, Recipe, overrides)
    check_order(recipe)
    refuse_idle_settings(recipe, names_of(overrides), is_begun=is_begun(recipe))
    return recipe


def check_order(recipe: Recipe) -> None:
    """Refuse a recipe whose stages lack what they need, before anything is computed."""
    for position, stage in enumerate(recipe.stages):
        before = recipe.stages[:position]
        rows = [row for row in STAGES[stage].inputs if (recipe.setting(row.when) if row.when else not row.is_optional)]
        for row in rows:
            setting, provider, noun = PROVIDERS.get(row.origin, ("", "", ""))
            has_setting = bool(setting) and recipe.setting(setting) not in (None, ())
            if row.origin not in PROVIDERS or has_setting or provider in before:
                continue
            if noun:
                named = f", name one in {setting}" if setting else ""
                raise SettingsError(
                    f"Stage {stage} needs {noun}, and no {provider} stage comes before it. Add it to `stages`{named}, "
                    f"or run {stage} by a command of its own."
                )
            why = f", because {row.when} is {recipe.setting(row.when)}" if row.when else ""
            add = f", or put the {provider} stage before it" if provider else ""
            raise SettingsError(f"Stage {stage} needs {setting}, which is not set{why}. Set it{add}.")
    if "suites" in recipe.stages and not (recipe.suites.files or recipe.suites.harness.tasks):
        raise SettingsError("Stage suites needs suites.files, which is not set. Set it.")
    num_models = len(recipe.scorer.reward_models) + (recipe.reward.members if "reward" in recipe.stages else 0)
    if num_models and recipe.scorer.kind in REWARD_MODELS:
        check_members(recipe.scorer, num_models)
    if recipe.rounds > 1:
        check_rounds(recipe)
    elif recipe.candidates.needs_scorer and recipe.waits_for_reward:
        raise SettingsError(
            f"candidates.picks or candidates.mix.difficulty ask a scorer, and scorer.kind is {recipe.scorer.kind!r}. "
            "Expected one that is there before the first comparisons are. Set rounds to 2 or more, where later rounds "
            "ask the last one's reward model, or set scorer.reward_models, or scorer.kind to function or rules."
        )


def check_rounds(recipe: Recipe) -> None:
    """Refuse several rounds of a recipe that has nothing to refresh."""
    lacking = [stage for stage in ("candidates", "preferences") if stage not in recipe.stages]
    if lacking or not {"policy", "direct"} & set(recipe.stages):
        missing = lacking or ["policy"]
        raise SettingsError(
            f"rounds is {recipe.rounds} and the recipe has no {' and no '.join(missing)} stage. Later rounds compare "
            "fresh answers of the policy and train on them. Add what is missing to `stages`, or set rounds to 1."
        )
    if recipe.data.preferences is not None:
        raise SettingsError(
            f"rounds is {recipe.rounds} and data.preferences names a file. Expected comparisons that can be collected "
            "again for later rounds. Leave data.preferences out, or set rounds to 1."
        )
