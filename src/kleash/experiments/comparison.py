"""Run a comparison of methods: every method on every seed as a table of jobs, then one file of figures and advice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kleash.durable import json_text, lock_run, write_text
from kleash.errors import SettingsError
from kleash.experiments.advice import advice, standings
from kleash.experiments.jobs import Job, Progress, run_jobs
from kleash.experiments.methods import METHODS, RESULT_FILE, bench_of, results_in
from kleash.settings import difference
from kleash.stages.context import StageContext
from kleash.versions import load_settled, settled_text

if TYPE_CHECKING:
    from kleash.recipe import Recipe

METHODS_FILE = "methods.json"
RECIPE_FILE = "recipe.toml"
# What a job costs, about, next to the others: only for the time left that is shown.
_SHARED_COST, _METHOD_COST = 2.0, 1.0


def compare_methods(
    folder: Path,
    recipe: Recipe,
    context: StageContext,
    *,
    methods: Sequence[str],
    seeds: Sequence[int],
    num_workers: int = 1,
    announce: Callable[[Progress], None] = lambda progress: None,
) -> dict[str, Any]:
    """Train and measure every method on every seed that is not there yet; return and leave behind methods.json.

    Raises SettingsError for a method that does not exist, a recipe that lacks what the methods share, or a folder that
    was begun with other settings.
    """
    check(recipe, methods)
    with lock_run(folder):
        _settle(folder, recipe)
        jobs = [job for seed in seeds for job in plan(folder, recipe, context, methods, seed=seed)]
        if jobs:
            run_jobs(jobs, num_workers=num_workers, announce=announce, has_fresh_workers=True)
        results = results_in(folder)
        table = standings(results)
        content = {
            "recipe": recipe.name,
            "judge": recipe.evaluation.judge,
            "standings": [asdict(standing) for standing in table],
            "advice": advice(table),
            "results": [result.to_json() for result in results],
        }
        write_text(folder / METHODS_FILE, json_text(content, indent=1) + "\n")
    return content


def check(recipe: Recipe, methods: Sequence[str]) -> None:
    """Refuse what cannot be compared, before anything is computed."""
    unknown = [name for name in methods if name not in METHODS]
    if unknown or not methods:
        raise SettingsError(
            f"There is no method {', '.join(unknown) or 'named'}. Expected some of {', '.join(METHODS)}. Correct "
            "--methods."
        )
    lacking = [stage for stage in ("preferences", "reward") if stage not in recipe.stages]
    if lacking:
        raise SettingsError(
            f"Recipe {recipe.name} has no {' and no '.join(lacking)} stage, and all methods are to learn from the same "
            "preferences. Expected both. Add them to `stages`."
        )
    if recipe.evaluation.judge == "proxy":
        raise SettingsError(
            'evaluation.judge is "proxy", the reward model that some of the methods are trained on and others are not: '
            "it would favour them. Expected an independent judge. Set evaluation.judge to a function, or gold in the "
            "sandbox."
        )


def plan(folder: Path, recipe: Recipe, context: StageContext, methods: Sequence[str], *, seed: int) -> list[Job]:
    """Return the jobs of one seed that are not done: first what is shared, then each method."""
    bench = bench_of(folder, recipe, context, seed=seed)
    left = [name for name in methods if not (bench.folder / name / RESULT_FILE).is_file()]
    shared, logs = f"seed {seed}: shared", bench.folder / "logs"
    jobs = [Job(shared, bench.shared, (), _SHARED_COST, logs / "shared.log")]
    for name in left:
        work = partial(bench.result, name)
        jobs.append(Job(f"seed {seed}: {name}", work, (shared,), _METHOD_COST, logs / f"{name}.log"))
    return jobs if left else []


def _settle(folder: Path, recipe: Recipe) -> None:
    """Keep the recipe with the comparison; refuse another one in the same folder."""
    file = folder / RECIPE_FILE
    if file.is_file():
        changes = difference(load_settled(file, type(recipe)), recipe)
        if changes:
            raise SettingsError(
                f"The comparison in {folder} was begun with other settings: {'; '.join(changes)}. Expected the same. "
                "Set them back, or give another folder by --into."
            )
    write_text(file, settled_text(recipe))
