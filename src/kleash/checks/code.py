"""Code answers, tested: the answer's program and the row's unit tests, run together in a closed subprocess.

What a model writes is not to be trusted, so nothing runs unless the settings allow it, and then in a process of its
own: an empty folder and environment, limits of time, memory and file size, no network (a network namespace of its own
where the system grants one, and in any case no sockets), no further programs, no changes outside its folder. These are
the walls of a careful workshop, not of a prison: for hostile code use a container or a virtual machine besides.
"""

from __future__ import annotations

import re
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kleash.checks.verdicts import ItemResult

_FENCED = re.compile(r"```[ \t]*(?:python|py)?[ \t]*\n(.*?)```", re.DOTALL | re.IGNORECASE)
_NUM_DETAIL_CHARACTERS = 300
_CLOCK_SECONDS_PER_CPU_SECOND = 4

# Runs in the child before anything of the answer does. Limits that a system does not know are passed over; the audit
# hook cannot be taken off again by the code it watches. Only a program that ran to its end says the word it was given:
# leaving early with exit code 0 is no way past the tests.
_CLOSE_THE_DOORS = """
import ctypes, os, resource, sys
seconds, memory_bytes, word = int(sys.argv[1]), int(sys.argv[2]), sys.argv.pop().encode()
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
if sys.platform == "linux":
    ctypes.CDLL(None).unshare(CLONE_NEWUSER | CLONE_NEWNET)
for limit, value in (("CPU", seconds), ("AS", memory_bytes), ("FSIZE", 1 << 20), ("NOFILE", 32), ("CORE", 0)):
    try:
        resource.setrlimit(getattr(resource, "RLIMIT_" + limit), (value, value))
    except (AttributeError, ValueError, OSError):
        pass
here = os.path.realpath(os.getcwd())
refused = ("socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.kill",
           "ctypes.", "os.chmod", "os.chown", "pty.")
changes = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.symlink", "os.link", "os.truncate")
def watch(event, arguments):
    if event.startswith(refused):
        raise PermissionError("not allowed here: " + event)
    if event == "open":
        path, mode, flags = arguments
        paths = [path] if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) else []
    else:
        paths = arguments[:2] if event in changes else []
    for path in paths:
        if isinstance(path, (str, bytes)) and not (os.path.realpath(os.fsdecode(path)) + "/").startswith(here + "/"):
            raise PermissionError("not allowed here: to change " + os.fsdecode(path))
program = compile(sys.stdin.read(), "answer.py", "exec")
sys.addaudithook(watch)
exec(program, {"__name__": "__main__"})
os.write(1, word)
"""


@dataclass(frozen=True)
class CodeLimits:
    """Whether code of a model may run, and how far. seconds: of CPU, and four times as many by the clock."""

    is_allowed: bool = False
    seconds: int = 5
    memory_mib: int = 512


def check_code(answer: str, params: Mapping[str, Any]) -> ItemResult:
    """Pass if the row's tests run through after the answer's program.

    tests: Python that raises, as by assert, where the program is wrong. setup: Python to run before the answer.
    limits: `CodeLimits`, never from a file; without any, nothing is run.
    The program is the answer's fenced Python blocks, or all of it if there is none.
    """
    limits: CodeLimits = params.get("limits", CodeLimits())
    if not limits.is_allowed:
        return ItemResult(None, "code is not run unless it is allowed")
    program = "\n\n".join([params.get("setup", ""), program_of(answer), params["tests"]])
    word = secrets.token_hex(16)
    arguments = [str(limits.seconds), str(limits.memory_mib << 20), word]
    # Files rather than pipes: what is written counts against the limit of file size.
    with tempfile.TemporaryDirectory(prefix="kleash-code-") as folder, tempfile.TemporaryFile() as output:
        try:
            code = subprocess.run(
                [sys.executable, "-I", "-S", "-c", _CLOSE_THE_DOORS, *arguments],
                input=program.encode("utf-8", "replace"),
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={},
                timeout=_CLOCK_SECONDS_PER_CPU_SECOND * limits.seconds,
            ).returncode
        except subprocess.TimeoutExpired:
            return ItemResult(False, f"did not end within {_CLOCK_SECONDS_PER_CPU_SECOND * limits.seconds} s")
        output.seek(0)
        written = output.read().decode("utf-8", "replace").rstrip()
    if written.endswith(word):
        return ItemResult(True, "its tests pass")
    if code < 0:
        return ItemResult(False, f"ended by signal {-code}, as a program past its limits is")
    return ItemResult(False, (written.splitlines() or ["it left before its tests"])[-1][:_NUM_DETAIL_CHARACTERS])


def program_of(answer: str) -> str:
    """Return the Python of an answer: its fenced blocks one after another, or else the whole of it."""
    blocks = _FENCED.findall(answer)
    return "\n\n".join(blocks) if blocks else answer
