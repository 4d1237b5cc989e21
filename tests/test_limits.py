"""A stranger's code has so much time and memory, and leaves no timer, handler or limit behind."""

import resource
import signal
import threading
import time

import pytest

from kleash.limits import limited


def state():
    timer = signal.getitimer(signal.ITIMER_REAL)
    return signal.getsignal(signal.SIGALRM), timer, resource.getrlimit(resource.RLIMIT_AS)


@pytest.fixture(autouse=True)
def nothing_is_left_behind():
    before = state()
    yield
    assert state() == before


def test_what_is_quick_enough_is_left_alone():
    with limited(seconds=60, extra_bytes=1 << 30):
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0


def test_its_own_errors_pass():
    with pytest.raises(KeyError), limited(seconds=60, extra_bytes=1 << 30):
        raise KeyError


def test_a_block_within_a_block_leaves_the_outer_its_time():
    def outer():
        with pytest.raises(TimeoutError, match=r"more than 0\.05 s"), limited(seconds=0.05):
            time.sleep(60)
        with limited(seconds=60):
            pass
        time.sleep(60)

    with pytest.raises(TimeoutError, match=r"more than 0\.2 s"), limited(seconds=0.2):
        outer()


def test_memory_has_a_limit_of_its_own():
    with pytest.raises(OverflowError, match="more than 64 MiB"), limited(seconds=60, extra_bytes=1 << 26):
        bytearray(1 << 31)
    with pytest.raises(MemoryError), limited(seconds=60):
        raise MemoryError
    assert len(bytearray(1 << 27)) == 1 << 27


def test_without_a_limit_and_in_other_threads_nothing_is_set():
    seen = []

    def look():
        with limited(seconds=60):
            seen.append(signal.getitimer(signal.ITIMER_REAL)[0])

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    with limited(seconds=None):
        seen.append(signal.getitimer(signal.ITIMER_REAL)[0])
    assert seen == [0.0, 0.0]
