"""A box without bubblewrap: `own_box.py PATH ... -- COMMAND ...` runs a command that can read the paths, and no more.

By user, mount, process, network and IPC namespaces and Landlock, all by system calls (ctypes); whatever is refused ends
it. Every mount is made read-only and a fresh folder in memory laid over /tmp; Landlock then denies the reading of all
but the paths. The command is a child of this namespace's first process and dies with it, and that with its parent.
Source: Linux's landlock(7), mount_setattr(2), user_namespaces(7). Imports nothing of KLeash.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import sys

_LIBC = ctypes.CDLL(None, use_errno=True)
_NAMESPACES = 0x10000000 | 0x20000 | 0x20000000 | 0x40000000 | 0x8000000  # user, mount, process, network, IPC
_MOUNT_SETATTR, _CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 442, 444, 445, 446
_HERE, _RECURSIVE, _READ_ONLY, _PRIVATE = -100, 0x8000, 1, 1 << 18
_SET_DEATH_SIGNAL, _DROP_BOUND, _NO_NEW_PRIVILEGES = 1, 24, 38
_EVERY_FILE_RIGHT, _READING = (1 << 13) - 1, 1 << 0 | 1 << 2 | 1 << 3
_FOLDER, _FOLDER_OPTIONS = b"/tmp", b"size=67108864"
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")


def _check(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"no box: {what}")
    return result


def _call(number: int, *arguments: object) -> int:
    return _check(_LIBC.syscall(ctypes.c_long(number), *arguments), f"system call {number}")


def _enter_namespaces() -> None:
    user, group = os.getuid(), os.getgid()
    _check(_LIBC.unshare(_NAMESPACES), "namespaces")
    for file, text in (("setgroups", "deny"), ("uid_map", f"65534 {user} 1"), ("gid_map", f"65534 {group} 1")):
        with open(f"/proc/self/{file}", "w") as opened:
            opened.write(text)


def _close_files(readable: list[str]) -> None:
    read_only = struct.pack("QQQQ", _READ_ONLY, 0, _PRIVATE, 0)
    _call(_MOUNT_SETATTR, _HERE, b"/", _RECURSIVE, read_only, len(read_only))
    kept = {path: os.open(path, os.O_PATH) for path in [*readable, *_DEVICES] if os.path.exists(path)}
    _check(_LIBC.mount(b"tmpfs", _FOLDER, b"tmpfs", 6, _FOLDER_OPTIONS), "a folder in memory")
    os.chdir(_FOLDER)
    rights = struct.pack("Q", _EVERY_FILE_RIGHT)
    rules = _call(_CREATE_RULESET, rights, ctypes.c_size_t(len(rights)), 0)
    kept[os.fsdecode(_FOLDER)] = os.open(_FOLDER, os.O_PATH)
    for path, file in kept.items():
        right = _EVERY_FILE_RIGHT if path == "/tmp" else _READING if os.path.isdir(path) else 1 << 1 | 1 << 2
        rule = struct.pack("=Qi", right, file)
        _call(_ADD_RULE, rules, 1, rule, 0)
        os.close(file)
    _check(_LIBC.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "no new privileges")
    _call(_RESTRICT_SELF, rules, 0)
    os.close(rules)


def _follow(child: int) -> int:
    """Wait for the child, and end as it does."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code if code >= 0 else 128 - code


def main(readable: list[str], command: list[str]) -> None:
    _enter_namespaces()
    if first := os.fork():
        os._exit(_follow(first))
    _check(_LIBC.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0), "ending with the parent")
    _close_files(readable)
    if child := os.fork():
        os._exit(_follow(child))
    for capability in range(64):
        _LIBC.prctl(_DROP_BOUND, capability, 0, 0, 0)
    os.execv(command[0], command)


if __name__ == "__main__":
    divide = sys.argv.index("--")
    main(sys.argv[1:divide], sys.argv[divide + 1 :])
