"""The box in which programs that a model wrote are run: bubblewrap's, or one of our own by Landlock and namespaces.

Inside there is no network, no process of the machine's, no file but Python's and the system's own, not to be written,
and an empty folder in memory. What the machine grants is tried once, by running a program in it. Where it grants no
box there is none: nothing here runs a program in the open by itself.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = "/tmp"
"""Where a boxed program starts, and may write."""
FOLDER_BYTES = 64 << 20

PYTHON = (os.path.realpath(sys.executable), "-I", "-S")
_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", os.path.realpath(sys.base_prefix))


@dataclass(frozen=True)
class CodeBox:
    """name: for people. before: what stands before a command so that it runs inside.

    is_roots: whoever starts inside is root as yet, and is to become somebody else.
    """

    name: str
    before: tuple[str, ...]
    is_roots: bool = False

    def command(self, *arguments: str) -> list[str]:
        return [*self.before, *PYTHON, *arguments]


IN_THE_OPEN = CodeBox("none", ())


@functools.cache
def find_box() -> CodeBox | None:
    """Return the first kind of box that works on this machine, or None."""
    return next((box for box in candidates() if holds(box)), None)


def candidates() -> Sequence[CodeBox]:
    """Return the boxes that this machine may have, best first."""
    if sys.platform != "linux":
        return ()
    found = shutil.which("bwrap")
    users = [True, False] if os.geteuid() == 0 else [False]
    bubblewrap = (
        [CodeBox("bubblewrap", _bubblewrap(found, as_root=as_root), as_root) for as_root in users] if found else []
    )
    own = CodeBox("Landlock and namespaces", (*PYTHON, str(Path(__file__).with_name("own_box.py")), *_SYSTEM, "--"))
    return [*bubblewrap, own]


def holds(box: CodeBox) -> bool:
    """Say whether a program runs in it, may write in its folder, and cannot read a file of ours."""
    with tempfile.NamedTemporaryFile() as ours, tempfile.TemporaryDirectory() as here:
        look = f"open('x', 'w')\ntry:\n    open({ours.name!r})\nexcept OSError:\n    print('inside')"
        try:
            done = subprocess.run(box.command("-c", look), env={}, cwd=here, capture_output=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return False
    return done.stdout == b"inside\n"


def _bubblewrap(program: str, *, as_root: bool) -> tuple[str, ...]:
    """Return bubblewrap's command line.

    as_root: keep this user, so that the program itself can become one of no name (`in_the_box.py`): the limit on
    processes does not hold for root, whatever it is called inside.
    """
    size = str(FOLDER_BYTES)
    above = [str(folder) for folder in reversed(Path(_SYSTEM[-1]).parents)][1:]  # else closed to others, as outside
    seen = [part for folder in above for part in ("--perms", "0755", "--dir", folder)]
    seen += [part for path in _SYSTEM for part in ("--ro-bind-try", path, path)]
    user = ["--unshare-user", "--uid", "65534", "--gid", "65534", "--cap-drop", "ALL"]
    if as_root:
        user = ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    return (
        program, *user, "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try",
        "--die-with-parent", "--new-session", "--clearenv", "--proc", "/proc", "--dev", "/dev",
        "--perms", "1777", "--size", size, "--tmpfs", "/dev/shm", "--remount-ro", "/dev",
        "--perms", "1777", "--size", size, "--tmpfs", FOLDER, *seen, "--remount-ro", "/", "--chdir", FOLDER, "--",
    )  # fmt: skip
