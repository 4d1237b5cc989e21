"""A run on the disk: its folder and recipe, what a branch takes over, carried out from its first unfinished stage.

`kleash run` and `kleash.run` are both `carry_out`. What a stage is and does is in `stages/`; here is who may write the
folder, whether the recipe is still the one that the run was begun with, and what is written at the end.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kleash.artifacts import MANIFEST, Artifact, read
from kleash.durable import clear_write_errors, lock_run, partial_path, publish, read_object, write_text
from kleash.errors import RunError, SettingsError
from kleash.lineage import verify_run
from kleash.locations import RECIPE_FILE, is_run, newest_round
from kleash.run_summary import RunSummary
from kleash.screen import is_first_rank

if TYPE_CHECKING:
    from kleash.recipe import Recipe
    from kleash.stages.context import StageContext
    from kleash.stages.round import Round

SUMMARY_FILE = "summary.json"
# A run under way may change these: they change no result, or only that of rounds to come. A stage that was made with
# others says so itself.
_FREE_SETTINGS: Mapping[str, Any] = {
    **dict.fromkeys(("name", "about", "trackers", "rounds", "refresh", "gate"), True),
    "preferences": {"labels": {"accept_missing": True}},
}


class Announcer:
    """Hears what happens while a run is carried out; this one keeps quiet."""

    def run_begins(self, folder: Path, recipe: Recipe) -> None: ...

    def stage_is_done(self, one: Round, stage: str, artifact: Artifact, *, was_done: bool) -> None: ...

    def stage_is_taken_over(self, origin: Path, stage: str) -> None: ...


def carry_out(
    recipe: Recipe,
    runs_dir: Path,
    *,
    announcer: Announcer,
    branch: str | None = None,
    is_strict: bool = False,
    source: str = "The recipe",
) -> Path:
    """Run a recipe, or go on where it stopped, and return the run's folder; summary and report are written there.

    branch: name of a sibling run that takes over the stages nothing changed for.  source: the recipe's file, for
    messages. Raises SettingsError for what cannot run, before anything is computed.
    """
    from kleash.preflight import look_ahead
    from kleash.versions import as_begun

    origin = runs_dir / recipe.name
    if branch:
        recipe = recipe.model_copy(update={"name": branch})
        _check_origin(origin, branch)
    folder = run_folder(runs_dir, recipe.name)
    with lock_run(folder) if is_first_rank() else nullcontext():
        recipe = as_begun(recipe, folder / RECIPE_FILE)
        context = context_from(recipe, strict=is_strict)
        if context.ranks.is_first:
            settle_recipe(folder, recipe)
            if len(_stages_done(folder)) < len(recipe.stages):
                look_ahead(recipe, strict=is_strict, source=source)
            if branch:
                take_over(origin, folder, recipe, context, announcer)
        context.ranks.barrier()
        run_all_rounds(folder, recipe, context, announcer)
    return folder


def go_round_again(folder: Path, overrides: list[str], *, announcer: Announcer, is_strict: bool = False) -> None:
    """Add a round to a run whose rounds are all finished; go on with one that is not."""
    from kleash.recipe import Recipe
    from kleash.versions import load_settled

    num_begun = len(list(folder.glob("round-*")))
    with lock_run(folder) if is_first_rank() else nullcontext():
        settings = load_settled(folder / RECIPE_FILE, Recipe, overrides)
        is_whole = num_begun == settings.rounds and (folder / SUMMARY_FILE).is_file()
        more = settings.model_copy(update={"rounds": max(settings.rounds, num_begun) + (1 if is_whole else 0)})
        context = context_from(more, strict=is_strict)
        if context.ranks.is_first:
            settle_recipe(folder, more)
            (folder / SUMMARY_FILE).unlink(missing_ok=True)
        context.ranks.barrier()
        run_all_rounds(folder, more, context, announcer)


def run_all_rounds(folder: Path, recipe: Recipe, context: StageContext, announcer: Announcer) -> None:
    """Run every stage of every round, and write summary and report."""
    from kleash.monitor.pages.report import REPORT_FILE, write_report
    from kleash.stages.round import run_rounds
    from kleash.stages.summary import summarise_rounds, write_summary

    done_before = _stages_done(folder)
    announcer.run_begins(folder, recipe)

    def announce(one: Round, stage: str, artifact: Artifact) -> None:
        announcer.stage_is_done(one, stage, artifact, was_done=artifact.path in done_before)

    rounds = run_rounds(recipe, folder, context, announce)
    if not context.ranks.is_first:
        return
    num_stages = sum(len(one.stages) for one in rounds)
    is_finished = len(done_before) == num_stages and (folder / SUMMARY_FILE).is_file()
    if not is_finished:
        write_summary(folder, summarise_rounds(rounds))
    if not is_finished or not (folder / REPORT_FILE).is_file():
        write_report(folder)


@contextmanager
def locked(output_dir: Path) -> Iterator[None]:
    """Keep two commands off one artifact. The lock lies among its checkpoints and goes with them."""
    if (output_dir / MANIFEST).is_file() or not is_first_rank():
        yield
        return
    work = partial_path(output_dir) / "work"
    try:
        with lock_run(work):
            yield
    finally:
        # A stage that was refused before it began leaves nothing behind; one under way is not empty and stays.
        if not (work / "begun.json").exists():
            (work / ".lock").unlink(missing_ok=True)
            for folder in (work, work.parent):
                with suppress(OSError):
                    folder.rmdir()


def context_from(recipe: Recipe, *, strict: bool) -> StageContext:
    """Return what every stage is given; joins the other ranks when torchrun started several."""
    from kleash.models.rendering import RenderingSettings
    from kleash.stages.context import StageContext
    from kleash.training.ranks import join_ranks

    return StageContext(
        model=recipe.model,
        seed=recipe.seed,
        is_strict=strict,
        trackers=recipe.trackers,
        ranks=join_ranks(),
        rendering=RenderingSettings(turns=recipe.data.turns, system_prompt=recipe.data.system_prompt),
    )


def run_folder(runs: Path, name: str) -> Path:
    """Return runs/NAME. Raises SettingsError for a name that is no plain folder name."""
    if name in ("", ".", "..") or Path(name).name != name or not name.isprintable() or len(name.encode()) > 200:
        raise SettingsError(
            f"A run cannot be named {name!r}. Expected a plain folder name, such as quickstart-2. Choose another, and "
            "say where runs are kept by --runs-dir."
        )
    return runs / name


def settle_recipe(folder: Path, recipe: Recipe) -> None:
    """Write the resolved recipe into a new run; refuse one that differs from what an existing run was begun with."""
    from kleash.recipe import Recipe
    from kleash.settings import difference
    from kleash.versions import load_settled, settled_text

    path = folder / RECIPE_FILE
    if path.exists():
        begun = load_settled(path, Recipe)
        changes = difference(*(kept.model_dump(mode="json", exclude=dict(_FREE_SETTINGS)) for kept in (begun, recipe)))
        if changes:
            raise SettingsError(
                f"Run {folder} was begun with other settings: {'; '.join(changes)}. An existing run keeps its "
                "settings. Set them back, or add --branch NAME to start a sibling run that takes over every stage "
                "these changes leave as it is."
            )
    with clear_write_errors("recipe", path):
        write_text(path, settled_text(recipe))


def _stages_done(folder: Path) -> set[Path]:
    return {manifest.parent for manifest in folder.glob(f"round-*/*/{MANIFEST}")}


def read_summary(folder: Path) -> RunSummary:
    """Return a finished run's figures. Raises RunError if the file is damaged."""
    remedy = (
        "Expected the JSON that `kleash run` writes. Remove it and run the recipe again; finished stages are not "
        "repeated."
    )
    content = read_object(folder / SUMMARY_FILE, remedy=remedy)
    return RunSummary.from_json({name: value for name, value in content.items() if name != "seal"})


def summary_of(folder: Path) -> RunSummary:
    """Return a run's summary; of an unfinished run, what its finished stages say, and `unfinished`: the others."""
    if (folder / SUMMARY_FILE).is_file():
        return read_summary(folder)
    from kleash.recipe import Recipe
    from kleash.stages.summary import summarise
    from kleash.versions import load_settled

    recipe = load_settled(folder / RECIPE_FILE, Recipe)
    newest = newest_round(folder) or folder
    artifacts = {stage: read(newest / stage) for stage in recipe.stages if (newest / stage / MANIFEST).is_file()}
    unfinished = [stage for stage in recipe.stages if stage not in artifacts]
    return summarise(artifacts, recipe).model_copy(update={"unfinished": unfinished})


# ----------------------------------------------------------------------------------------------------------- verify
def vouch(run: Path) -> tuple[list[str], list[str]]:
    """Verify everything in a run's folder, or an artifact's; return what is wrong, and what nobody can vouch for."""
    from kleash.collection.store.database import fault_of
    from kleash.durable import PARTIAL, seal_holds
    from kleash.monitor.pages.report import REPORT_FILE

    problems, unvouched = verify_run(run), []
    if (run / MANIFEST).is_file():
        return problems, []
    problems += [] if (run / RECIPE_FILE).is_file() else [f"{run / RECIPE_FILE} is missing"]
    ids = {}
    for path in sorted((*run.glob("*"), *run.glob("round-*/*"))):
        name = path.relative_to(run).as_posix()
        if (path / MANIFEST).is_file() and not path.name.endswith(PARTIAL):
            ids[name] = read(path).id
        elif name in (RECIPE_FILE, SUMMARY_FILE, REPORT_FILE) and (holds := seal_holds(path)) is not None:
            problems += [] if holds else [f"{path} was altered: its seal does not fit what it says"]
        elif path.name == "labels.sqlite":
            problems += [f"{path} is no whole label database: {fault}"] if (fault := fault_of(path)) else []
            unvouched.append(f"{path}: labels may still change; what was learnt from is frozen in the preferences")
        elif not path.match("round-*") and not path.is_symlink() and name != ".lock":
            is_begun = path.name.endswith(PARTIAL)
            unvouched.append(f"{path}: {'begun, and not finished' if is_begun else 'nothing is recorded of it'}")
    try:
        made = read_summary(run).artifacts if (run / SUMMARY_FILE).exists() else {}
    except RunError as error:
        return [*problems, str(error)], unvouched
    others = [name for name in made if ids.get(name) != made[name]]
    problems += [f"{run / name} is missing, or another: {SUMMARY_FILE} tells of {made[name]}" for name in others]
    return problems, unvouched


# ----------------------------------------------------------------------------------------------------------- branch
def take_over(origin: Path, folder: Path, recipe: Recipe, context: StageContext, announcer: Announcer) -> None:
    """Copy the origin's finished stages, in order, up to the first that the recipe would make otherwise."""
    from kleash.stages.round import Round, round_name

    branch = Round(recipe, folder / round_name(0), context)
    for stage in recipe.stages:
        source, target = origin / round_name(0) / stage, branch.folder / stage
        if not target.exists() and (not (source / MANIFEST).is_file() or partial_path(target).exists()):
            return
        is_copy = not target.exists()
        if is_copy:
            _copy_artifact(source, target)
        if not _fits(branch, stage):
            if is_copy:
                shutil.rmtree(target)
            return
        if is_copy:
            announcer.stage_is_taken_over(origin, stage)


def _fits(branch: Round, stage: str) -> bool:
    """Say whether the stage accepts the finished artifact; it compares settings and parents before it does anything."""
    try:
        branch.artifacts[stage] = branch.make(stage)
    except SettingsError:
        return False
    return True


def _copy_artifact(source: Path, target: Path) -> None:
    # Not the stage's own partial name: a copy that was killed half-way must not pass for a stage under way.
    partial = partial_path(target.with_name(f"{target.name}.copy"))
    with clear_write_errors("branch", target):
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(source, partial, copy_function=_link_or_copy)
        publish(partial, target)


def _link_or_copy(source: str, target: str) -> None:
    """Share the bytes where the file system can: artifacts are never written to again."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _check_origin(origin: Path, branch: str) -> None:
    if origin.name == branch:
        raise SettingsError(
            f"--branch {branch} names the run itself. Expected a name for a sibling of {origin}. Choose another."
        )
    if not is_run(origin):
        raise RunError(
            f"There is no run {origin} to branch from. Expected an existing run. Leave out --branch to start it, or "
            "name the run to branch from by --name."
        )
