"""Make a tiny round three times: at one stretch, killed before every write in turn, and killed in mid-work.

A process of its own, because it forks a child for each life: that must happen before torch has threads.
Writes what it did to OUT/lives.json.
"""

import functools
import json
import os
import signal
import sys
from pathlib import Path

import torch

from stages.tiny_recipe import run_round, write_data

# (function, file, n): die when a life enters that function for the n-th time. In order; the last life is left alone.
MID_WORK = (
    ("step", "optimiser.py", 4),  # SFT: the gradient is there, the step is not
    ("choose", "choosing.py", 4),  # candidates: an answer half sampled
    ("loss", "reward.py", 4),
    ("choose", "choosing.py", 3),  # the reward's scale being measured
    ("choose", "choosing.py", 9),  # first rollouts
    ("annotate", "local.py", 2),  # rollouts are there, the update is not
    ("snapshot", "local.py", 3),
    ("annotate", "local.py", 4),  # after the first checkpoint, with one more row in the log
    ("take_best", "run_books.py", 1),
    ("loss", "direct.py", 4),
    ("compare", "side_by_side.py", 1),
)


# What a life leaves for good.
MILESTONES = ("*/artifact.json", "*/work/block-????????.jsonl", "*/work/checkpoints/step-????????")


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


def die_in_call(name, file, number):
    left = number

    def hook(frame, event, _):
        nonlocal left
        if event == "call" and frame.f_code.co_name == name and frame.f_code.co_filename.endswith(f"/{file}"):
            left -= 1
            if left == 0:
                die()

    sys.setprofile(hook)


def live(base, data, folder, prepare):
    """Run in a child that `prepare` dooms; return whether it was killed."""
    child = os.fork()
    if child == 0:
        prepare()
        run_round(base, data, folder)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, f"a life ended with status {status}"
    return os.WIFSIGNALED(status)


def kill_at_every_write(base, data, folder):
    """Kill lives before their first write, their second ..., and begin again at the first after each piece of progress.

    So every write is died at, as seen from the checkpoint before it. Returns the number of deaths.
    """
    number, num_deaths, seen = 0, 0, set()
    while live(base, data, folder, functools.partial(die_before_write, number, folder)):
        num_deaths += 1
        reached = {str(path.relative_to(folder)) for pattern in MILESTONES for path in folder.glob(pattern)}
        number = number + 1 if reached <= seen else 0
        seen |= reached
    return num_deaths


def main(base, out):
    torch.set_num_threads(1)
    data = write_data(out / "data")
    run_round(base, data, out / "whole")  # here, so that no child has to import what a model needs
    num_deaths = kill_at_every_write(base, data, out / "writes")
    killed = [live(base, data, out / "mid-work", functools.partial(die_in_call, *point)) for point in MID_WORK]
    assert not live(base, data, out / "mid-work", lambda: None)
    (out / "lives.json").write_text(json.dumps({"deaths": num_deaths, "killed": killed}))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
