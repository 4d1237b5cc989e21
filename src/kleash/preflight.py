"""What stands in a recipe's way, found before compute is spent: models, data files, components it names.

`kleash recipe check` shows it, `kleash run` refuses to start on it. A wrong name in the last stage must not wait for
the first six to be paid for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from kleash.errors import KleashError, SettingsError
from kleash.evaluation.first_update import REWARD_MODELS, marks_of, training_of
from kleash.evaluation.suites.reading import read_suite, require_checks
from kleash.formats import Kind, kind_of_file, read
from kleash.functions import FUNCTIONS, recorded_functions
from kleash.models.folders import find_model_folder
from kleash.plugins import resolve
from kleash.raters.configuration import load_judges
from kleash.recipe import Recipe
from kleash.screen import say
from kleash.stages.context import StageContext
from kleash.stages.direct import direct_algorithm_named
from kleash.stages.evaluate import build_judge
from kleash.stages.policy import algorithm_named
from kleash.stages.pretrain import read_documents
from kleash.stages.support.alarming import build_alarms
from kleash.stages.support.scoring import build_comparer, build_scorer

Look = Callable[[], str]


def look_ahead(recipe: Recipe, *, strict: bool, source: str) -> list[tuple[str, str]]:
    """Return what each thing that a recipe names turned out to be; data files are read.

    Raises SettingsError that lists everything that is missing or wrong. source: the recipe's file, for the message.
    """
    faults: list[str] = []
    rows: list[tuple[str, str]] = []
    for what, look in _things_named(recipe, strict=strict):
        try:
            rows.append((what, look()))
        except KleashError as error:
            faults.append(f"{what}: {error}")
    if faults:
        raise SettingsError(f"{source} cannot run yet. " + "\n".join(faults))
    for remark in _sampled_otherwise(recipe):
        say(remark)
    return rows


# ----------------------------------------------------------------------------------------------------------- inside
def _sampled_otherwise(recipe: Recipe) -> Iterator[str]:
    """Say where a reward is trained, scaled or audited on answers drawn otherwise than those it will score."""
    same_as = {
        "policy.max_new_tokens": (
            "candidates.max_new_tokens",
            "reward.normaliser_max_new_tokens",
            "audit.max_new_tokens",
        ),
        "policy.temperature": ("reward.normaliser_temperature",),
    }
    for own, others in same_as.items():
        value = recipe.setting(own)
        named = [other for other in others if {"policy", other.partition(".")[0]} <= set(recipe.stages)]
        if differing := [f"{other} is {recipe.setting(other)}" for other in named if recipe.setting(other) != value]:
            yield (
                f"{own} is {value} and {', '.join(differing)}: the reward is trained, scaled or audited on other "
                "answers than it will score. Set them alike, unless it is meant."
            )


def _things_named(recipe: Recipe, *, strict: bool) -> Iterator[tuple[str, Look]]:
    if "pretrain" not in recipe.stages and recipe.base is not None:
        yield "base", partial(_model_folder, recipe.base)
    elif "world" in recipe.stages:
        yield "base", lambda: _model_folder(resolve("world_base", recipe.world.kind)())
    kinds: dict[str, Kind] = {
        "demonstrations": "demonstrations",
        "prompts": "prompts",
        "evaluation_prompts": "prompts",
        "preferences": "preferences",
    }
    for name, kind in kinds.items():
        if (path := getattr(recipe.data, name)) is not None:
            takes_thumbs = kind == "preferences" and "direct" in recipe.stages and "reward" not in recipe.stages
            a_step = recipe.policy.prompts_per_step if name == "prompts" and "policy" in recipe.stages else 0
            yield f"data.{name}", partial(_counted, kind, path, strict, takes_thumbs, a_step)
    if recipe.data.documents is not None:
        documents = recipe.data.documents
        yield "data.documents", lambda: f"{len(read_documents(documents)):,} documents"
    yield from _components_named(recipe)


def _components_named(recipe: Recipe) -> Iterator[tuple[str, Look]]:
    if "world" in recipe.stages:
        yield "world.kind", partial(_known, "world", recipe.world.kind)
    if "preferences" in recipe.stages and recipe.data.preferences is None:
        yield "preferences.comparer", partial(_comparer, recipe)
    if "policy" in recipe.stages:
        yield "policy.algorithm", lambda: algorithm_named(recipe.policy).name
        yield "policy.engine", partial(_known, "engine", recipe.policy.engine)
        yield "policy.generator", partial(_known, "generator", recipe.policy.generator)
        yield "scorer.kind", partial(_scorer, recipe)
        if recipe.scorer.of_kinds("checks") and recipe.data.prompts is not None:
            yield "data.prompts, checks", partial(_checks, recipe.data.prompts)
        if recipe.alarms.comparer is not None:
            yield "alarms.comparer", partial(_alarms, recipe)
    if "direct" in recipe.stages:
        yield "direct.algorithm", lambda: direct_algorithm_named(recipe.direct.algorithm).name
    if "evaluation" in recipe.stages:
        yield "evaluation.judge", partial(_judge, recipe)
    for file in recipe.suites.files if "suites" in recipe.stages else ():
        yield f"suites.files, {file}", partial(_suite, file)
    for tracker in recipe.trackers:
        yield f"trackers.{tracker}", partial(_tracker, tracker)


def _model_folder(base: str | Path) -> str:
    # A hub model is not fetched for a check; whether it is there shows when the run starts.
    return str(base) if str(base).startswith("hub:") else str(find_model_folder(base))


def _known(kind: str, name: str) -> str:
    resolve(kind, name)
    return name


def _tracker(name: str) -> str:
    from kleash.plugins import resolve
    from kleash.tracking import import_extra

    if (needed := getattr(resolve("tracker", name), "module", None)) is not None:
        import_extra(needed, extra=name)
    return name


def _comparer(recipe: Recipe) -> str:
    build_comparer(recipe.preferences, seed=recipe.seed)
    return recipe.preferences.comparer


def _scorer(recipe: Recipe) -> str:
    scorer = recipe.scorer
    asking = scorer.of_kinds(*REWARD_MODELS)
    named = [_model_folder(name) for part in asking for name in part.reward_models]
    if not named and not (asking and "reward" in recipe.stages):
        build_scorer(StageContext(), scorer).require()
    terms = [f"{term.weight:g} x {term.name}" for term in scorer.terms]
    return ", ".join([*terms, *named]) or scorer.function or scorer.kind


def _judge(recipe: Recipe) -> str:
    judge = recipe.evaluation.judge
    if judge == "proxy":
        return f"proxy, {_scorer(recipe)}, UNPROVEN: it scores the answers while the policy trains"
    build_judge(recipe.evaluation, proxy=None)
    return judge + _unproven(recipe, judge, recorded_functions(recipe.evaluation))


def _alarms(recipe: Recipe) -> str:
    name = recipe.alarms.comparer or ""
    recorded = build_alarms(recipe.alarms, seed=recipe.seed).raters
    return name + _unproven(recipe, name, recorded.get(FUNCTIONS, {}).items())


def _unproven(recipe: Recipe, judge: str, functions: Iterable[tuple[str, Any]]) -> str:
    """Say what of the training a judge decides itself; "" for nothing. functions: what is recorded of the judge."""
    scorer, labelled = recipe.scorer, recipe.preferences
    settings_of: dict[str, dict[str, Any]] = {
        "policy": {"scorer": scorer.model_dump(), FUNCTIONS: dict(recorded_functions(scorer, "scorer."))}
    }
    if "preferences" in recipe.stages and recipe.data.preferences is None:
        asked = load_judges(labelled.judges).judges if labelled.comparer == "judges" and labelled.judges else ()
        members = {"judges": {"members": [f"{one.model}@" for one in asked]}}
        settings_of["preferences"] = {
            "comparer": labelled.comparer,
            FUNCTIONS: {**dict(recorded_functions(labelled)), **members},
        }
    own = dict(functions)
    trained = training_of(judge, settings_of, known_by=marks_of({FUNCTIONS: own}, *own))
    return f", UNPROVEN: it {trained}" if trained else ""


def _suite(file: str) -> str:
    return f"{len(read_suite(file).items):,} items"


def _checks(file: Path) -> str:
    return f"{require_checks(file):,} prompts whose answers can be checked"


def _counted(kind: Kind, path: Path, strict: bool, takes_thumbs: bool, a_step: int) -> str:
    if takes_thumbs and kind_of_file(path) == "labelled":
        kind = "labelled"
    loaded = read(path, kind, strict=strict)
    if len(loaded.records) < a_step:
        say(
            f"policy.prompts_per_step is {a_step:,} and data.prompts has {len(loaded.records):,}: every step asks each "
            "of them several times. Lower it (policy.samples_per_prompt asks for more answers), or give more prompts."
        )
    return "; ".join([f"{len(loaded.records):,} rows, format {loaded.format}", *filter(None, [loaded.losses()])])
