"""Fixtures shared by all tests: disks that refuse without being full, and death at any moment."""

import itertools
import os
import resource
import signal
import sys
from contextlib import contextmanager

import hypothesis
import pytest

# A shared machine is slow at times; that is no fault of the code under test.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


@pytest.fixture
def file_size_limit():
    """Refuse every write that would make a file longer than so many bytes, as a full disk would."""

    @contextmanager
    def limit(num_bytes):
        old = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, old[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)

    return limit


@pytest.fixture
def unprivileged():
    """Make a folder read-only for the block; root, whom no permission stops, becomes nobody for that long."""

    @contextmanager
    def without_rights(folder):
        user = os.geteuid()
        mode = folder.stat().st_mode
        folder.chmod(0o500)
        if user == 0:
            os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(user)
            folder.chmod(mode)

    return without_rights


@pytest.fixture
def kill_at_every_write():
    """Run an action again and again, each time killed (SIGKILL) just before its next file operation.

    `kill_at_every_write(action, check)` calls check() after each death, with whatever that death left behind, and
    returns the number of deaths once the action has lived to its end.
    """

    def run(action, check):
        for num_operations in itertools.count():
            child = os.fork()
            if child == 0:
                die_before_operation(num_operations)
                action()
                os._exit(0)
            _, status = os.waitpid(child, 0)
            if os.WIFEXITED(status):
                assert os.WEXITSTATUS(status) == 0
                return num_operations
            check()
        return None

    def die_before_operation(number):
        left = number

        def hook(event, _):
            nonlocal left
            if event in {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}:
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1

        sys.addaudithook(hook)

    return run
