"""Code answers, tested: the answer's program in one box, the row's unit tests in another, a pipe between them.

What a model writes is not to be trusted, so nothing runs unless the settings allow it, and then in a box (`box.py`);
where there is none, only if that is accepted too. The verdict comes from the tests' process, on a pipe that the
program's process does not have (`in_the_box.py`). How the program is found in an answer is in `programs.py`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from kleash.checks.box import IN_THE_OPEN, CodeBox, find_box
from kleash.checks.programs import program_of
from kleash.checks.verdicts import ItemResult
from kleash.settings import Settings

NO_BOX = "code is not run: this machine has no box for it (bubblewrap, or Landlock and namespaces)"
_CLOCK_SECONDS_PER_CPU_SECOND = 4
_NUM_PROCESSES = 16
_INSIDE = Path(__file__).with_name("in_the_box.py")


class CodeLimits(Settings):
    """Whether and how programs that a model wrote are run against their tests: four times as long by the clock."""

    is_allowed: bool = Field(False, description="run them, in a box; untested code counts nowhere")
    seconds: int = Field(5, ge=1, description="of CPU, per program")
    memory_mib: int = Field(512, ge=64, description="per program")
    without_box: bool = Field(False, description="run them even where there is no box; they may do whatever you may")


def check_code(answer: str, params: Mapping[str, Any]) -> ItemResult:
    """Pass if the row's tests run through on the answer's program.

    tests: Python that raises, as by assert, where the program is wrong. setup: Python to run before the answer.
    begun: the beginning of the program, which the answer goes on from or writes anew. entry_point: the name tested.
    limits: `CodeLimits`, never from a file; without any, nothing is run.
    """
    limits: CodeLimits = params.get("limits", CodeLimits())
    if not limits.is_allowed:
        return ItemResult(None, "code is not run unless it is allowed")
    box = find_box() or (IN_THE_OPEN if limits.without_box else None)
    if box is None:
        return ItemResult(None, NO_BOX)
    program = program_of(answer, begun=params.get("begun", ""), entry_point=params.get("entry_point", ""))
    given = {"program": f"{params.get('setup', '')}\n\n{program}", "tests": params["tests"]}
    return run_tests(given, box, limits)


def run_tests(given: Mapping[str, str], box: CodeBox, limits: CodeLimits) -> ItemResult:
    """Run the tests on the program, each in a process of its own, and kill whatever is left of either.

    given: the texts of the "program" and its "tests".
    """
    # A user of its own for each program, so that the processes of one do not count against another's limit.
    user = 1 << 20 | int.from_bytes(os.urandom(3), "big") if box.is_roots else 0
    arguments = [str(limits.seconds), str(limits.memory_mib << 20), str(_NUM_PROCESSES), str(user)]
    most_seconds = _CLOCK_SECONDS_PER_CPU_SECOND * limits.seconds
    inside = _INSIDE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="kleash-code-") as folder, contextlib.ExitStack() as stack:

        def start(role: str, *channels: int, **pipes: Any) -> subprocess.Popen[bytes]:
            command = box.command("-c", inside, role, *arguments, *map(str, channels))
            process = subprocess.Popen(
                command, env={}, cwd=folder, stderr=subprocess.DEVNULL, start_new_session=True, **pipes
            )
            stack.callback(_end, process)
            return process

        asked, asks = os.pipe()
        told, tells = os.pipe()
        try:
            program = start("program", stdin=asked, stdout=tells)
            judge = start("judge", told, asks, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=(told, asks))
        finally:  # so that each of the two sees the other's end
            for channel in (asked, asks, told, tells):
                os.close(channel)
        try:
            said, _ = judge.communicate(json.dumps(given).encode(), timeout=most_seconds)
        except subprocess.TimeoutExpired:
            return ItemResult(False, f"did not end within {most_seconds} s")
        with contextlib.suppress(subprocess.TimeoutExpired):
            program.wait(timeout=1)
        if not said:
            return ItemResult(False, "its tests went past their limits")
        verdict = json.loads(said)
        if verdict["passed"] is False and (code := program.returncode or 0) and (code < 0 or code > 128):
            return ItemResult(
                False, f"ended by signal {-code if code < 0 else code - 128}, as a program past its limits is"
            )
        return ItemResult(verdict["passed"], verdict["detail"])


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for pipe in filter(None, (process.stdin, process.stdout)):
        with contextlib.suppress(BrokenPipeError):
            pipe.close()
    process.wait()
