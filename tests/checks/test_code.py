"""Code answers: what passes, and what the closed subprocess keeps from happening."""

import pytest

from kleash.checks.code import CodeLimits, check_code, program_of

TESTS = "assert double(2) == 4\nassert double('a') == 'aa'"
RIGHT = "Here you are:\n```python\ndef double(x):\n    return 2 * x\n```\nIt doubles."


def verdict_on(answer, *, tests=TESTS, setup="", seconds=2, memory_mib=256):
    limits = CodeLimits(is_allowed=True, seconds=seconds, memory_mib=memory_mib)
    return check_code(answer, {"tests": tests, "setup": setup, "limits": limits})


def test_nothing_runs_unless_it_is_allowed(tmp_path):
    target = tmp_path / "made"
    verdict = check_code(f"open({str(target)!r}, 'w')", {"tests": ""})
    assert verdict.passed is None
    assert verdict.detail == "code is not run unless it is allowed"
    assert not target.exists()


def test_a_program_is_the_fenced_blocks_or_else_the_whole_answer():
    assert program_of("a\n```python\nx = 1\n```\nb\n```\ny = 2\n```") == "x = 1\n\n\ny = 2\n"
    assert program_of("x = 1") == "x = 1"


def test_right_and_wrong_programs():
    assert verdict_on(RIGHT).passed
    assert verdict_on("import math", setup="def double(x):\n    return x + x").passed
    assert verdict_on("def double(x): return 3 + x").detail == "AssertionError"
    assert "SyntaxError" in verdict_on("certainly! def double").detail


@pytest.mark.parametrize("way_out", ["import sys; sys.exit(0)", "import os; os._exit(0)", "raise SystemExit"])
def test_leaving_early_is_no_way_past_the_tests(way_out):
    verdict = verdict_on(way_out)
    assert verdict.passed is False
    assert verdict.detail == "it left before its tests"


@pytest.mark.parametrize(
    "deed",
    [
        "import socket; socket.create_connection(('127.0.0.1', 9))",
        "import socket; socket.socket()",
        "import subprocess; subprocess.run(['true'])",
        "import os; os.system('true')",
        "import os; os.fork()",
        "import ctypes; ctypes.CDLL(None).getpid()",
        "open({target!r}, 'w').write('x')",
        "import os; os.mkdir({target!r})",
        "import os; open(os.getcwd() + '-beside', 'w')",
        "import os; os.chdir('..'); open('made', 'w')",
        "import os; os.remove({victim!r})",
    ],
)
def test_what_reaches_outside_is_refused(deed, tmp_path):
    target, victim = tmp_path / "made", tmp_path / "precious"
    victim.write_text("kept")
    verdict = verdict_on(deed.format(target=str(target), victim=str(victim)), tests="")
    assert verdict.passed is False
    assert "not allowed here" in verdict.detail
    assert not target.exists()
    assert victim.read_text() == "kept"


def test_a_program_may_write_in_its_own_folder_and_sees_no_environment(monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "s3cret")
    assert verdict_on(
        "open('note', 'w').write('x')\nimport os\nassert 'SECRET_TOKEN' not in os.environ", tests=""
    ).passed


@pytest.mark.slow
def test_limits_of_time_memory_and_output_hold():
    assert "signal" in verdict_on("while True: pass", seconds=1).detail
    assert verdict_on("import time; time.sleep(1000)", seconds=1).detail == "did not end within 4 s"
    assert "MemoryError" in verdict_on("x = bytearray(1 << 30)").detail
    assert verdict_on("while True: print('x' * 100_000)").passed is False
