"""Do a tiny piece of work at one stretch, and again killed over and over: in mid-work, and before every write.

A process of its own, because it forks a child for each life: that must happen before torch has threads.
    python killed_round.py BASE OUT SCENARIO
leaves OUT/whole, OUT/mid-work and, where the scenario has it, OUT/writes, and tells of the lives in OUT/lives.json.
"""

import functools
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from stages.tiny_recipe import run_round, run_two_rounds, write_data


@dataclass(frozen=True)
class Scenario:
    """A piece of work, run(base, data, folder), and where its lives end, one after the other; the last is left alone.

    points: (function, file, n) dies when a life enters that function for the n-th time, (event, path) before the first
    such change (Python's audit event) of a path that ends so.
    """

    run: Callable
    points: tuple
    dies_at_every_write: bool = False


SCENARIOS = {
    "round": Scenario(
        run_round,
        (
            ("step", "optimiser.py", 4),  # SFT: the gradient is there, the step is not
            ("choose", "choosing.py", 4),  # candidates: an answer half sampled
            ("loss", "reward.py", 4),
            ("choose", "choosing.py", 3),  # the reward's scale being measured
            ("choose", "choosing.py", 9),  # first rollouts
            ("annotate", "local.py", 2),  # rollouts are there, the update is not
            ("policy_snapshot", "local.py", 3),
            ("annotate", "local.py", 4),  # after the first checkpoint, with one more row in the log
            ("take", "checkpointing.py", 1),
            ("loss", "direct.py", 4),
            ("compare", "side_by_side.py", 1),
        ),
        dies_at_every_write=True,
    ),
    "two rounds": Scenario(
        run_two_rounds,
        (
            ("os.symlink", ".current.partial"),  # the first round is over, and nothing is current yet
            ("os.rename", ".current.partial"),
            ("choose", "choosing.py", 4),  # an answer of the current policy half sampled
            ("generate", "rollout/local.py", 2),  # the older policy's turn
            ("uncertainty", "selection.py", 5),  # pairs being chosen
            ("record", "recording.py", 1),  # compared, and nothing kept
            ("_fill_slots", "recording.py", 1),  # kept by half, within a transaction
            ("write_export", "exporting.py", 1),  # labelled, not frozen
            ("record_export", "judgements.py", 1),  # frozen, and the database does not know
            ("rows_summary", "exporting.py", 1),  # old and fresh comparisons mixed and written
            ("loss", "reward.py", 3),  # after the reward model's checkpoint
            ("loss", "reward.py", 2),  # once more, from that checkpoint
            ("train_member", "reward.py", 2),  # the ensemble's first member is whole, the second not begun
            ("loss", "reward.py", 3),  # after the second member's checkpoint
            ("measure_heldout", "heldout.py", 1),
            ("observe", "kl.py", 3),  # the leash about to hear of the third update, and of an external score
            ("observe", "kl.py", 2),  # of the fourth, while answers are getting better
            ("votes", "external_signal.py", 1),  # the fourth is logged, its answers are being compared
            ("save", "checkpoints.py", 3),  # all six are done, and the last checkpoint is not there
            ("compare", "side_by_side.py", 1),
            ("votes", "external_signal.py", 2),  # gate: compared with the SFT model, not yet with the current policy
            ("os.symlink", ".current.partial"),  # `current` still leads to the first round
            ("os.rename", ".current.partial"),
            ("wants_another", "round.py", 3),  # all is done
            ("wants_another", "round.py", 2),  # called again to no purpose, and the first round found
        ),
    ),
}


# What a life leaves for good, at whatever depth.
MILESTONES = ("artifact.json", "block-????????.jsonl", "checkpoints/step-????????")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def die_before_write(number, folder):
    """Count what changes files below `folder`; reading costs nothing, and so do folders made along with a file."""
    left = number

    def hook(event, arguments):
        nonlocal left
        is_change = event in {"os.rename", "os.remove", "os.rmdir"}
        is_change |= event == "open" and isinstance(arguments[1], str) and arguments[1][0] in "wax"
        if is_change and str(arguments[0]).startswith(str(folder)):
            if left == 0:
                die()
            left -= 1

    sys.addaudithook(hook)


def die_at(point):
    """Doom this process: see Scenario."""
    if len(point) == 2:
        sys.addaudithook(lambda event, given: die() if event == point[0] and ends_so(given, point[1]) else None)
        return
    name, file, left = point

    def hook(frame, event, _):
        nonlocal left
        if event == "call" and frame.f_code.co_name == name and frame.f_code.co_filename.endswith(f"/{file}"):
            left -= 1
            if left == 0:
                die()

    sys.setprofile(hook)


def ends_so(paths, ending):
    return any(str(path).endswith(ending) for path in paths)


def live(run, folder, prepare):
    """Run in a child that `prepare` dooms; return whether it was killed."""
    child = os.fork()
    if child == 0:
        prepare()
        run(folder)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, f"a life ended with status {status}"
    return os.WIFSIGNALED(status)


def kill_at(points, run, folder):
    """Return for each point whether the life ended there, and where `current` led to then."""
    lives = []
    for point in points:
        was_killed = live(run, folder, functools.partial(die_at, point))
        link = folder / "current"
        lives.append((was_killed, link.readlink().name if link.is_symlink() else None))
    assert not live(run, folder, lambda: None)
    return lives


def kill_at_every_write(run, folder):
    """Kill lives before their first write, their second ..., and begin again at the first after each piece of progress.

    So every write is died at, as seen from the checkpoint before it. Returns the number of deaths.
    """
    number, num_deaths, seen = 0, 0, set()
    while live(run, folder, functools.partial(die_before_write, number, folder)):
        num_deaths += 1
        reached = {str(path.relative_to(folder)) for pattern in MILESTONES for path in folder.rglob(pattern)}
        number = number + 1 if reached <= seen else 0
        seen |= reached
    return num_deaths


def main(base, out, scenario):
    torch.set_num_threads(1)
    run = functools.partial(scenario.run, base, write_data(out / "data"))
    run(out / "whole")  # here, so that no child has to import what a model needs
    lives = kill_at(scenario.points, run, out / "mid-work")
    num_deaths = kill_at_every_write(run, out / "writes") if scenario.dies_at_every_write else 0
    (out / "lives.json").write_text(json.dumps({"lives": lives, "deaths_at_writes": num_deaths}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), SCENARIOS[sys.argv[3]])
