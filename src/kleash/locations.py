"""What a name on the command line stands for: a recipe file or a shipped one, a run, a stage's artifact, a policy.

Nothing is loaded here; a name that stands for nothing is answered with the nearest one that does.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

import kleash
from kleash.artifacts import MANIFEST
from kleash.errors import ArtifactError, RunError, SettingsError

RECIPE_FILE = "recipe.toml"
TRAINED_STAGES = ("policy", "direct", "sft", "pretrain")
"""Stages that leave a policy behind, the one to talk to first."""


def shipped_recipes() -> dict[str, Path]:
    """Return the recipes that come with KLeash, by name."""
    # In a checkout this is a link to recipes/ at the top, where people look; an installed package holds the files.
    return {path.stem: path for path in sorted((Path(kleash.__file__).parent / "recipes").glob("*.toml"))}


def find_recipe(name: str) -> Path:
    """Return the recipe file that `name` stands for: a path, or a shipped recipe. Raises SettingsError."""
    path, shipped = Path(name), shipped_recipes()
    if path.is_file():
        return path
    if name in shipped:
        return shipped[name]
    raise SettingsError(
        f"No recipe {name}: there is no such file, and no shipped recipe has that name. Expected a TOML file or one "
        f"of {', '.join(shipped) or 'none'}. {_did_you_mean(name, shipped)}`kleash recipe new FILE` starts one."
    )


def find_run(name: str, runs: Path) -> Path:
    """Return the run folder that `name` stands for: a path, or a name below `runs`. Raises RunError."""
    for path in (Path(name), runs / name):
        if is_run(path):
            return path
    known = [path.name for path in sorted(runs.iterdir()) if is_run(path)] if runs.is_dir() else []
    raise RunError(
        f"No run {name}: neither {name} nor {runs / name} holds one. Expected a folder that `kleash run` made; "
        f"there {'are' if known else 'is'} {', '.join(known) or 'none'} in {runs}. {_did_you_mean(name, known)}"
        "Correct the name, or say where runs are by --runs-dir."
    )


def find_run_or_artifact(name: str, runs: Path) -> Path:
    """Return a run folder, or a single artifact's: a path, or RUN/STAGE for a stage of the run's newest round."""
    if (artifact := _artifact_folder(name, runs)) is not None:
        return artifact
    return find_run(name, runs)


def find_policy(name: str, runs: Path) -> Path:
    """Return a policy's model folder: a Hugging Face folder, `hub:owner/name`, RUN/STAGE, or RUN.

    A run of several rounds stands for its current policy, the last that passed its gate; else the newest counts.
    Raises ArtifactError when there is none.
    """
    if name.startswith("hub:") or any((Path(name) / file).is_file() for file in ("config.json", "adapter_config.json")):
        return Path(name)
    if (artifact := _artifact_folder(name, runs)) is not None:
        return artifact
    run = find_run(name, runs)
    current = run / "current"  # a link that run_rounds keeps; a copy of the round where links were resolved
    linked = run / current.readlink() if current.is_symlink() else current
    folder = linked if current.is_symlink() or current.is_dir() else newest_round(run)
    for stage in TRAINED_STAGES:
        if folder is not None and (folder / stage / MANIFEST).is_file():
            return folder / stage
    raise ArtifactError(
        f"Run {run} has no finished policy yet. Expected one of its stages {', '.join(TRAINED_STAGES)} to be finished. "
        "Run its recipe again to go on, or name a model folder."
    )


def is_run(folder: Path) -> bool:
    return (folder / RECIPE_FILE).is_file() or any(folder.glob("round-*/*/" + MANIFEST))


def newest_round(run: Path) -> Path | None:
    """Return the folder of a run's newest round, None when there is no round."""
    return max((path for path in run.glob("round-*") if path.is_dir()), default=None)


def _artifact_folder(name: str, runs: Path) -> Path | None:
    if (Path(name) / MANIFEST).is_file():
        return Path(name)
    run, _, stage = name.rpartition("/")
    newest = newest_round(runs / run) if run else None
    if newest is not None and (newest / stage / MANIFEST).is_file():
        return newest / stage
    return None


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(name, list(known), n=1)
    return f"Did you mean {nearest[0]}? " if nearest else ""
