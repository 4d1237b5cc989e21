"""The over-optimisation experiment: proxy and gold reward against KL, for many arms and seeds, and what they must show.

`run_experiment` makes every arm (`laboratory.py`) as a table of jobs, each resumable, on several cores; then it judges
the curves by `criteria.py` and writes `curves.json`. Running it again goes on, or only judges again.
Source: Gao, Schulman & Hilton 2022, arXiv:2210.10760; ensembles: Coste et al. 2023, arXiv:2310.02743.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from kleash.durable import json_text, lock_run, write_text
from kleash.errors import SettingsError
from kleash.experiments import criteria
from kleash.experiments.arms import ARMS, REWARD_MODELS
from kleash.experiments.curves import Curve, as_json
from kleash.experiments.jobs import Job, Progress, run_jobs
from kleash.experiments.laboratory import POINTS_FILE, Laboratory
from kleash.experiments.scale import Scale

CURVES_FILE = "curves.json"
SCALE_FILE = "scale.json"
# What a job costs about, in seconds of one core of a laptop: for the time left, and so that the long ones begin early.
SECONDS = {"start": 60.0, "labels": 12.0, "reward": 35.0, "reward-small": 20.0, "ppo": 110.0, "pool": 30.0}
SECONDS |= {"best_of_n": 15.0, "direct": 60.0}


def run_experiment(
    folder: Path,
    *,
    seeds: Sequence[int],
    arms: Iterable[str],
    scale: Scale,
    num_workers: int,
    announce: Callable[[Progress], None] = lambda progress: None,
) -> list[Curve]:
    """Make the arms of every seed that are not there yet; return their curves, and leave curves.json in the folder.

    Raises SettingsError if the folder was begun at another scale.
    """
    with lock_run(folder):
        _settle(folder, scale)
        names = list(arms)
        jobs = [job for seed in seeds for job in plan(folder, names, scale, seed=seed)]
        if jobs:
            run_jobs(jobs, num_workers=num_workers, announce=announce)
        curves = [Laboratory(seed_folder(folder, seed), scale, seed=seed).arm(name) for seed in seeds for name in names]
        content = {
            "arms": [as_json(curve) for curve in curves],
            "criteria": [verdict.as_json() for verdict in criteria.judge_all(curves)],
            "units": {
                "kl_nats": "nats per answer to the SFT policy, k1 on held-out prompts; of best-of-n the analytic bound",
                "proxy": "mean score, in SD of the SFT policy's answers, less the SFT policy's own",
                "gold": "mean true reward less the SFT policy's, in SD of the SFT policy's answers",
            },
        }
        write_text(folder / CURVES_FILE, json_text(content, indent=1) + "\n")
    return curves


def default_arms() -> list[str]:
    """Return the arms that C1 to C4 need."""
    return [name for name, arm in ARMS.items() if arm.is_default]


def plan(folder: Path, arms: Sequence[str], scale: Scale, *, seed: int) -> list[Job]:
    """Return the jobs of one seed that are not done, so ordered that what much depends on comes first."""
    laboratory = Laboratory(seed_folder(folder, seed), scale, seed=seed)
    left = [name for name in arms if not (laboratory.folder / name / POINTS_FILE).is_file()]
    jobs: dict[str, Job] = {}

    def add(name: str, make: Callable[[], object], needs: Iterable[str], seconds: float) -> str:
        full = f"seed {seed}: {name}"
        log = laboratory.folder / "logs" / f"{name.replace(' ', '-')}.log"
        jobs.setdefault(full, Job(full, make, tuple(needs), seconds, log))
        return full

    for name in left:
        _plan_arm(name, laboratory, add)
    return sorted(jobs.values(), key=lambda job: -_seconds_behind(job, jobs))


def seed_folder(folder: Path, seed: int) -> Path:
    return folder / f"seed-{seed}"


# ----------------------------------------------------------------------------------------------------------- inside
Add = Callable[[str, Callable[[], object], Iterable[str], float], str]


def _plan_arm(name: str, laboratory: Laboratory, add: Add) -> str:
    """Add an arm's job and all that it needs; return the job's name."""
    arm = ARMS[name]
    start = add("SFT and candidates", laboratory.candidates, (), SECONDS["start"])
    if arm.kind == "direct":
        needs = [_plan_labels("unbiased", start, laboratory, add)]
    else:
        needs = [_plan_reward_model(model, start, laboratory, add) for model in arm.reward_models]
    if arm.kind == "best_of_n":
        needs.append(add("pool of answers", laboratory.pool, (start,), SECONDS["pool"]))
    return add(arm.about, partial(laboratory.arm, name), needs, SECONDS[arm.kind])


def _plan_labels(name: str, start: str, laboratory: Laboratory, add: Add) -> str:
    return add(f"labels {name}", partial(laboratory.labels, name), (start,), SECONDS["labels"])


def _plan_reward_model(name: str, start: str, laboratory: Laboratory, add: Add) -> str:
    row = REWARD_MODELS[name]
    needs = [_plan_labels(row.labels, start, laboratory, add)]
    if row.refreshed_on:
        needs.append(_plan_arm(row.refreshed_on, laboratory, add))
    seconds = SECONDS["reward" if row.num_pairs > 1000 else "reward-small"]
    return add(f"reward model {name}", partial(laboratory.reward_model, name), needs, seconds)


def _seconds_behind(job: Job, jobs: dict[str, Job]) -> float:
    """Return the cost of the longest chain of jobs that begins with this one."""
    after = [_seconds_behind(other, jobs) for other in jobs.values() if job.name in other.needs]
    return job.seconds + max(after, default=0.0)


def _settle(folder: Path, scale: Scale) -> None:
    """Write down the scale of a new experiment; refuse to mix curves of two scales."""
    file, text = folder / SCALE_FILE, scale.model_dump_json(indent=1) + "\n"
    if file.is_file() and file.read_text(encoding="utf-8") != text:
        raise SettingsError(
            f"{folder} holds an experiment of another scale. Expected the settings of {file}. Choose another folder "
            "by --into, or remove that one."
        )
    write_text(file, text)
