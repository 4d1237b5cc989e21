"""Give a stranger's code so much time and memory, and no more: a reward function, a chat template.

A signal interrupts Python code, sleeping and waiting for an answer included; it waits for one call into C, such as
arithmetic on huge numbers, to return, and a process that the code started goes on. Signals reach the main thread alone:
in any other there is no limit.
"""

from __future__ import annotations

import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

_STATM = Path("/proc/self/statm")


class _OutOfTimeError(BaseException):
    """Not an Exception, so that code that goes on after every error does not go on after this one."""


@contextmanager
def limited(*, seconds: float | None, extra_bytes: int | None = None) -> Iterator[None]:
    """Raise TimeoutError in the block once it has taken so long; OverflowError where it wants so much more memory.

    None: no such limit. Code that catches what interrupts it is interrupted again each second, and fails at its end.
    """
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    has_rung = has_ended = False

    def ring(number: int, frame: FrameType | None) -> None:
        nonlocal has_rung
        has_rung = has_rung or not has_ended
        if not has_ended:
            raise _OutOfTimeError

    handler, memory = signal.signal(signal.SIGALRM, ring), resource.getrlimit(resource.RLIMIT_AS)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        try:
            if extra_bytes is not None and _STATM.exists():
                used = int(_STATM.read_text().split()[0]) * resource.getpagesize()
                limits = (limit for limit in (used + extra_bytes, *memory) if limit != resource.RLIM_INFINITY)
                resource.setrlimit(resource.RLIMIT_AS, (min(limits), memory[1]))
            yield
        finally:
            has_ended = True
    except _OutOfTimeError:
        pass
    except MemoryError as error:
        if extra_bytes is None:
            raise
        raise OverflowError(f"it wanted more than {extra_bytes >> 20} MiB of memory") from error.__cause__
    finally:
        resource.setrlimit(resource.RLIMIT_AS, memory)
        signal.setitimer(signal.ITIMER_REAL, *timer)  # of a block around this one
        signal.signal(signal.SIGALRM, handler or signal.SIG_DFL)
    if has_rung:
        raise TimeoutError(f"it took more than {seconds:g} s")
