"""Make any stage of the table: check what it is given, build the scorer, comparer and alarms it needs, and call it.

The one way to a stage: recipes, single-stage commands, the library and the experiments all come through `make`, so a
setting means the same wherever it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kleash.artifacts import Artifact, read
from kleash.collection.store.calls import StoredCalls
from kleash.collection.store.database import Database
from kleash.data.batches import derived_seed
from kleash.errors import SettingsError
from kleash.formats.sources import names_several
from kleash.plugins import resolve
from kleash.screen import say
from kleash.stages.context import StageContext
from kleash.stages.preferences import open_store
from kleash.stages.support.alarming import build_alarms
from kleash.stages.support.comparing import JUDGES
from kleash.stages.support.refreshing import chosen_by
from kleash.stages.support.scoring import ScorerSource, as_reward_model, build_comparer, build_scorer
from kleash.stages.table import PROVIDERS, STAGES, Input, Stage

if TYPE_CHECKING:
    from kleash.recipe import Recipe, WorldSettings


def make(name: str, recipe: Recipe, context: StageContext, inputs: Mapping[str, Any], output_dir: Path) -> Artifact:
    """Make one stage's artifact, or find it finished.

    inputs: by the names of the stage's row; None and empty lists are left out. What is a service's to build may be
    given ready-made under the service's own name (`scorer_source`, `alarm_setup`, `comparer`).
    Raises SettingsError when something the stage needs is missing.
    """
    stage = STAGES[name]
    settings = recipe.setting(stage.settings)
    wanted = inputs_asked_for(stage, recipe, inputs)
    with ExitStack() as stack:
        for service in stage.services:
            wanted = SERVICES[service](Making(recipe, context, settings, Path(output_dir), stack), wanted)
        artifact: Artifact = resolve("stage", stage.function)(context, settings, **wanted, output_dir=Path(output_dir))
    return artifact


def inputs_asked_for(stage: Stage, recipe: Recipe, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs that count: those given, less what no setting asks for, and the recipe's own data files.

    Raises SettingsError for a missing one.
    """
    rows = {row.name: row for row in stage.inputs}
    wanted = {name: value for name, value in inputs.items() if value is not None and value != [] and value != ()}
    for row in stage.inputs:
        if row.alternative and (row.name in wanted) == (row.alternative in wanted):
            other = stage.input(row.alternative).flag
            raise SettingsError(
                f"{stage.name.capitalize()} come from one place. Expected either {row.flag} or {other}. Give one of "
                "them."
            )
        asks = recipe.setting(row.when) if row.when else not (row.is_optional or row.alternative)
        if asks and row.name not in wanted:
            setting = PROVIDERS.get(row.origin, ("",))[0]
            if setting and row.reads == "path" and recipe.setting(setting) is not None:
                wanted[row.name] = recipe.setting(setting)
                continue
            raise SettingsError(
                f"Stage {stage.name} has no {row.origin.replace('_', ' ')}. Expected some"
                f"{f', because {row.when} is {asks}' if row.when else ''}. Give {row.flag}"
                f"{f', or set {setting} in the recipe' if setting else ''}."
            )
        if row.when and not asks and wanted.pop(row.name, None) is not None:
            say(f"{row.when} is {asks}, so {row.flag} is not used.")
    return {name: _read(rows[name], value) if name in rows else value for name, value in wanted.items()}


def _read(row: Input, value: Any) -> Any:
    """Read an artifact, or a reward model of anybody's, that is given by its folder; all else is as it was given."""
    if row.name == "rewards":
        return [as_reward_model(one) for one in value]
    if row.reads != "artifact":
        return value
    if (
        row.name == "preferences"
        and not isinstance(value, Artifact)
        and (Path(value).is_file() or names_several(value))
    ):
        raise SettingsError(
            f"{row.flag} is {value}, data as it came. Expected an artifact made of it. Make one with `kleash import "
            f"preferences {value} --into FOLDER --origin WHERE-FROM`, and give that folder."
        )
    found = [one if isinstance(one, Artifact) else read(one) for one in (value if row.is_many else [value])]
    return found if row.is_many else found[0]


def make_world(context: StageContext, settings: WorldSettings, *, output_dir: Path) -> Artifact:
    """Have a world plug-in write its data files."""
    artifact: Artifact = resolve("world", settings.kind)(context, settings, output_dir)
    return artifact


def scorer_source(
    recipe: Recipe, context: StageContext, rewards: Sequence[Artifact] = (), audits: Sequence[Artifact] = ()
) -> ScorerSource:
    """Return what scores answers by the recipe's [scorer], clipped as the policy's scores are."""
    clip = recipe.policy.score_clip
    return build_scorer(context, recipe.scorer, reward_models=rewards, audits=audits, z_clip=clip)


# --------------------------------------------------------------------------------------------------------- services
@dataclass(frozen=True)
class Making:
    """One call of `make` as the services see it; what they open on `stack` is closed when the stage is done."""

    recipe: Recipe
    context: StageContext
    settings: Any
    output_dir: Path
    stack: ExitStack

    def open_labels(self) -> Database:
        """Open the label database beside the stage, where AI judges' calls are kept so that none is paid twice."""
        return self.stack.enter_context(closing(open_store(self.recipe.preferences, self.output_dir)))


def _add_scorer(making: Making, inputs: dict[str, Any]) -> dict[str, Any]:
    """Turn `rewards` and `audits` into a `scorer_source`; with nothing to score by, one that says so when asked."""
    rewards, audits = inputs.pop("rewards", ()), inputs.pop("audits", ())
    if "scorer_source" in inputs or not getattr(making.settings, "needs_scorer", True):
        return inputs
    return inputs | {"scorer_source": scorer_source(making.recipe, making.context, rewards, audits)}


def _add_alarms(making: Making, inputs: dict[str, Any]) -> dict[str, Any]:
    """Add who watches over the policy; what AI judges are asked and say is kept."""
    if "alarm_setup" in inputs:
        return inputs
    settings, seed = making.recipe.alarms, making.recipe.seed
    calls = StoredCalls(making.open_labels()) if settings.comparer == JUDGES else None
    return inputs | {"alarm_setup": build_alarms(settings, seed=seed, calls=calls)}


def _add_comparer(making: Making, inputs: dict[str, Any]) -> dict[str, Any]:
    """Add who compares and where the verdicts are kept; in later rounds also the choice of what is compared."""
    rewards, number = inputs.pop("rewards", ()), inputs.pop("round_number", 0)
    if "candidates" not in inputs or "file" in inputs:
        inputs.pop("rounds_before", None)
        return inputs
    database = making.open_labels()
    calls = StoredCalls(database)
    recipe = making.recipe
    inputs = {
        "database": database,
        "comparer": build_comparer(making.settings, seed=recipe.seed, calls=calls),
        **inputs,
    }
    if number:
        source = scorer_source(recipe, making.context, rewards)
        if source.scorer is not None:
            alarms = build_alarms(
                recipe.alarms, seed=recipe.seed, calls=calls if recipe.alarms.comparer == JUDGES else None
            )
            seed = derived_seed(making.context.seed, "round", number)
            inputs["chosen"] = chosen_by(source, alarms, recipe.refresh.selection, seed=seed)
    return inputs


SERVICES: Mapping[str, Callable[[Making, dict[str, Any]], dict[str, Any]]] = {
    "scorer": _add_scorer,
    "alarms": _add_alarms,
    "comparer": _add_comparer,
}
