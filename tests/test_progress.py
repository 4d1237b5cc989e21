"""Progress: a line now and then where there is no terminal, a bar with figures where there is one."""

import io

import pytest
from rich.console import Console

from kleash.progress import Stopwatch, progress


@pytest.fixture
def clock():
    class Clock:
        seconds = 0.0

        def __call__(self):
            return self.seconds

    return Clock()


def test_without_a_terminal_a_line_is_written_only_now_and_then(clock):
    out = io.StringIO()
    with progress(100, "SFT", already_done=20, every_seconds=30, console=Console(file=out), clock=clock) as advance:
        for _ in range(40):
            clock.seconds += 1
            advance(1, loss=2.0 / 3)
    # 30 of the 80 steps left took 30 seconds, so the other 50 take 50.
    assert out.getvalue() == "SFT 50/100, loss 0.667, 0:50 left\n"


def test_several_steps_at_once_and_hours(clock):
    out = io.StringIO()
    with progress(1000, "PPO", every_seconds=5, console=Console(file=out), clock=clock) as advance:
        clock.seconds = 80
        advance(10)
    assert out.getvalue() == "PPO 10/1000, 2:12:00 left\n"


def test_on_a_terminal_the_bar_shows_steps_and_figures():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120)
    with progress(4, "PPO", console=console) as advance:
        advance(3, reward=1.25, kl=5.0)
    assert "PPO" in out.getvalue()
    assert "3/4" in out.getvalue()
    assert "reward 1.25, kl 5" in out.getvalue()


def test_a_stopwatch_adds_up_the_parts_of_a_step(clock):
    timed = Stopwatch(clock)
    for seconds in (2, 3):
        with timed("sampling"):
            clock.seconds += seconds
    assert timed.take() == {"seconds/sampling": 5}
    assert timed.take() == {}


def test_without_a_total_the_count_alone_is_told(clock):
    out = io.StringIO()
    with progress(None, "Audit, answers read", every_seconds=5, console=Console(file=out), clock=clock) as advance:
        clock.seconds = 6
        advance(120)
    assert out.getvalue() == "Audit, answers read 120\n"
    terminal = Console(file=(out := io.StringIO()), force_terminal=True, width=120)
    with progress(None, "Audit", console=terminal) as advance:
        advance(3)
    assert "3/?" in out.getvalue()
