"""Code answers: what passes, what a box keeps from happening, and that no program can say its own verdict."""

import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

from kleash.checks import box, code
from kleash.checks.box import IN_THE_OPEN, CodeBox, candidates, find_box, holds
from kleash.checks.code import NO_BOX, CodeLimits, check_code, run_tests

TESTS = "assert double(2) == 4\nassert double('a') == 'aa'"
RIGHT = "Here you are:\n```python\ndef double(x):\n    return 2 * x\n```\nIt doubles."
BOXES = sorted({one.name for one in candidates() if holds(one)})


def verdict_on(answer, *, tests=TESTS, seconds=2, memory_mib=256, **params):
    limits = CodeLimits(is_allowed=True, seconds=seconds, memory_mib=memory_mib)
    return check_code(answer, {"tests": tests, "limits": limits, **params})


def boxed(name, program, tests="", **limits):
    chosen = next(one for one in candidates() if one.name == name and holds(one))
    return run_tests({"program": program, "tests": tests}, chosen, CodeLimits(is_allowed=True, **limits))


# ------------------------------------------------------------------------------------------------------ who may run
def test_nothing_runs_unless_it_is_allowed(tmp_path):
    target = tmp_path / "made"
    verdict = check_code(f"open({str(target)!r}, 'w')", {"tests": ""})
    assert verdict.passed is None
    assert verdict.detail == "code is not run unless it is allowed"
    assert not target.exists()


def test_without_a_box_nothing_runs_unless_that_is_accepted(monkeypatch, tmp_path):
    made = tmp_path / "made"
    deed = f"open({str(made)!r}, 'w').close()"
    monkeypatch.setattr(code, "find_box", lambda: None)
    refused = check_code(deed, {"tests": "", "limits": CodeLimits(is_allowed=True)})
    assert (refused.passed, refused.detail) == (None, NO_BOX)
    assert not made.exists()
    assert check_code(deed, {"tests": "", "limits": CodeLimits(is_allowed=True, without_box=True)}).passed
    assert made.exists(), "in the open a program may do whatever this user may"


def test_boxes_are_tried_before_they_are_believed(monkeypatch):
    assert BOXES, "this machine grants no box: scripts/install_bubblewrap"
    assert find_box().name in BOXES
    assert not holds(IN_THE_OPEN)
    assert not holds(CodeBox("broken", ("/no/such/program",)))
    monkeypatch.setattr(box, "candidates", lambda: (IN_THE_OPEN,))
    assert find_box.__wrapped__() is None


# ---------------------------------------------------------------------------------------------------------- verdicts
def test_right_and_wrong_programs():
    assert verdict_on(RIGHT).passed
    assert verdict_on(RIGHT, memory_mib=64).passed, "the least that may be set"
    assert verdict_on("import math", setup="def double(x):\n    return x + x").passed
    assert verdict_on("def double(x): return 3 + x").detail == "AssertionError"
    assert "SyntaxError" in verdict_on("certainly! def double").detail


@pytest.mark.parametrize(
    "more",
    [
        "print(double(1))",
        "print(double(1), end='')",
        "if __name__ == '__main__':\n    print(double(4))",
        "import atexit; atexit.register(print, 'bye')",
        "import sys; sys.stdout.write('x' * 10_000)",
        "import os; os.write(1, b'noise'); os.write(2, b'noise')",
        "if __name__ == '__main__':\n    import sys; sys.exit(0)",
    ],
)
def test_what_a_program_prints_does_not_touch_its_verdict(more):
    assert verdict_on(f"def double(x):\n    return 2 * x\n{more}").passed is True
    assert verdict_on(f"def double(x):\n    return 3 * x\n{more}").passed is False


@pytest.mark.parametrize(
    ("program", "tests"),
    [
        ("def put(a):\n    a.sort()\n    a[0] = {1: [2]}", "x = [3, 1]\nput(x)\nassert x == [{1: [2]}, 3]"),
        ("def same(a):\n    return a", "x = [1]\nassert same(x) is x"),
        ("def pair():\n    return (1, [2.5, None]), {'a': {3}}", "assert pair() == ((1, [2.5, None]), {'a': {3}})"),
        ("def none():\n    pass", "assert none() is None"),
        ("def count():\n    n = 0\n    while True:\n        yield n\n        n += 1", "assert next(count()) == 0"),
        ("def twice(do, x):\n    return do(do(x))", "assert twice(lambda x: x + 1, 2) == 4 and twice(str, 1) == '1'"),
        ("class Bad(ValueError): pass\ndef no():\n    raise Bad('so')",
         "try:\n    no()\nexcept Bad as error:\n    assert str(error) == 'so'\nelse:\n    raise AssertionError"),
        ("def no():\n    return {}['x']", "try:\n    no()\nexcept KeyError:\n    pass\nelse:\n    assert False"),
        ("class P:\n    def __init__(self, x): self.x = x\n    def __add__(self, o): return P(self.x + o.x)\n"
         "    def __eq__(self, o): return self.x == o.x\n    def __len__(self): return self.x",
         "p = P(1) + P(2)\nassert p == P(3) and p != P(4) and p.x == 3 and len(p) == 3 and isinstance(p, P)\n"
         "p.x = 7\nassert p.x == 7"),
        ("def say(n):\n    print('hi', n)",
         "import io, contextlib\nwith contextlib.redirect_stdout(io.StringIO()) as said:\n    say(3)\n"
         "assert said.getvalue() == 'hi 3\\n'"),
        ("from fractions import Fraction\ndef half():\n    return Fraction(1, 2)", "assert half() == 0.5"),
        ("from collections import Counter\ndef letters(s):\n    return Counter(s)",
         "assert letters('aab') == {'a': 2, 'b': 1}"),
        ("import math\ndef area(r):\n    return math.pi * r", "assert abs(area(1) - math.pi) < 1e-9"),
        ("def sum(a, b):\n    return a * b", "assert sum(2, 3) == 6"),
        ("def add(a, b):\n    return a + b",
         "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        self.assertEqual(add(1, 2), 3)\n"
         "unittest.main()"),
        ("calls = 0\ndef call():\n    global calls\n    calls += 1", "call(); call()\nassert calls == 2"),
        ("import dataclasses\n@dataclasses.dataclass\nclass D:\n    x: int = 1",
         "assert D().x == 1; assert D() == D(1)"),
        ("async def soon(x):\n    return x + 1", "import asyncio\nassert asyncio.run(soon(1)) == 2"),
        ("class P:\n    def __repr__(self): return 'P!'", "assert repr(P()) == str(P()) == f'{P()}' == 'P!'"),
        ("def ask():\n    return input('n? ')",
         "from unittest import mock\nwith mock.patch('builtins.input', return_value='5'):\n    assert ask() == '5'"),
        ("import threading\ndef f():\n    out = []\n    t = threading.Thread(target=out.append, args=(1,))\n"
         "    t.start(); t.join()\n    return out", "assert f() == [1]"),
    ],
)  # fmt: skip
def test_tests_see_the_program_as_if_it_stood_beside_them(program, tests):
    verdict = verdict_on(program, tests=tests)
    assert verdict.passed is True, verdict.detail


@pytest.mark.parametrize(
    "forgery",
    [
        "import os; os._exit(0)",
        "import sys; sys.exit(0)",
        "raise SystemExit",
        "import sys, os; os.write(1, sys._getframe(1).f_globals['word']); os._exit(0)",
        "import __main__, os; os.write(1, __main__.word); os._exit(0)",
        'import os\nfor fd in range(256):\n    try: os.write(fd, b\'{"passed": true, "detail": ""}\\n\')\n'
        "    except OSError: pass\nos._exit(0)",
        "import os\nfor fd in range(256):\n    try: os.write(fd, b'{\"returned\": null}\\n' * 20)\n"
        "    except OSError: pass",
        "import builtins\nbuiltins.AssertionError = ValueError\nclass A:\n    def __eq__(self, o): return True\n"
        "def double(x): return A()",
        "class A(int):\n    def __eq__(self, o): return True\ndef double(x): return A()",
        "class A:\n    def __eq__(self, o): return True\n    __sub__ = __abs__ = __lt__ = lambda self, *o: True\n"
        "def double(x): return A()",
        "def double(x): raise SystemExit(0)",
        "def double(x): raise KeyboardInterrupt",
        "def double(x): return x\ndef all(x): return True\ndef abs(x): return 0",
        "import gc\ndef double(x):\n    for o in gc.get_objects():\n        if type(o).__name__ == 'Peer':\n"
        "            o._send({'returned': 4}); o._send({'returned': 'aa'})\n    return 0\nimport os\n",
    ],
)
def test_no_program_says_its_own_verdict(forgery):
    tests = TESTS + "\nassert abs(double(3) - 6) < 1e-6\nassert all(double(x) == 2 * x for x in [5, 7])"
    assert verdict_on(forgery, tests=tests).passed is False


@pytest.mark.parametrize("caught", ["Exception", "BaseException"])
def test_leaving_is_not_the_exception_that_tests_expect(caught):
    tests = f"try:\n    double(None)\nexcept {caught}:\n    pass\nelse:\n    assert False"
    assert verdict_on("def double(x): raise TypeError", tests=tests).passed is True
    verdict = verdict_on("import os\ndef double(x): os._exit(0)", tests=tests)
    assert (verdict.passed, verdict.detail) == (False, "it left before its tests")


def test_what_cannot_be_had_over_a_pipe_is_not_checked_and_says_so():
    verdict = verdict_on("class B:\n    pass", tests="class D(B):\n    pass")
    assert (verdict.passed, verdict.detail) == (None, "not checked: its tests derive from a class of the program's")
    assert "EOFError" in verdict_on("x = input()").detail


def test_the_program_cannot_look_into_what_it_is_handed():
    peek = "def peek(do):\n    return do.__globals__ if {own} else do.gi_frame"
    for own, handed in (("True", "lambda: 1"), ("False", "(x for x in [1])")):
        verdict = verdict_on(peek.format(own=own), tests=f"peek({handed})")
        assert verdict.detail.startswith("AttributeError"), verdict


# ------------------------------------------------------------------------------------------------------------- walls
@pytest.mark.parametrize("name", BOXES)
@pytest.mark.parametrize(
    "deed",
    [
        "import shutil; shutil.rmtree({folder!r}, ignore_errors=True)",
        "import os; os.remove({victim!r})",
        "import os; os.truncate({victim!r}, 0)",
        "import os; os.open({victim!r}, os.O_TRUNC)",
        "import os; os.rename({victim!r}, {victim!r} + '2')",
        "import os; fd = os.open({folder!r}, os.O_RDONLY); os.unlink('precious', dir_fd=fd)",
        "import os; os.chmod({victim!r}, 0)",
        "import os; os.utime({victim!r}, (1, 1))",
        "import os; os.mkfifo({folder!r} + '/fifo')",
        "open({folder!r} + '/made', 'w')",
        "import subprocess; subprocess.run(['/bin/sh', '-c', 'rm -rf ' + {folder!r}])",
        "import sqlite3; sqlite3.connect({folder!r} + '/db').execute('create table t (a)')",
    ],
)
def test_what_lies_outside_stays_as_it_is(name, deed, tmp_path):
    victim = tmp_path / "precious"
    victim.write_text("kept")
    before = victim.stat()
    boxed(name, f"try:\n    {deed.format(folder=str(tmp_path), victim=str(victim))}\nexcept Exception: pass")
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
    assert victim.read_text() == "kept"
    assert (victim.stat().st_mode, victim.stat().st_mtime) == (before.st_mode, before.st_mtime)


@pytest.mark.parametrize("name", BOXES)
def test_neither_files_nor_the_network_nor_processes_are_seen(name, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "s3cret")
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        program = f"""
import os, socket
def refused(do):
    try: do()
    except OSError: return True
def looks():
    return [refused(lambda: open({str(secret)!r})), refused(lambda: os.listdir({str(tmp_path)!r})),
            refused(lambda: socket.create_connection(('127.0.0.1', {port}), 2)),
            refused(lambda: os.kill({os.getpid()}, 0)), 'SECRET_TOKEN' not in os.environ,
            refused(lambda: open('/etc/passwd'))]
def writes():
    with open('note', 'w') as file: file.write('x')
    return open('note').read()
"""
        verdict = boxed(name, program, "assert looks() == [True] * 6, looks()\nassert writes() == 'x'")
    assert verdict.passed is True, verdict.detail


@pytest.mark.parametrize("name", BOXES)
def test_nothing_outlives_the_verdict(name):
    mark = f"kleash-left-{os.getpid()}-{name[0]}"
    program = (
        "import os, sys\nif os.fork() == 0:\n    os.setsid()\n    os.execv("
        f"{box.PYTHON[0]!r}, ['python', '-I', '-S', '-c', 'import time; time.sleep(60)', {mark!r}])\ndef f(): return 1"
    )
    assert boxed(name, program, "assert f() == 1").passed
    time.sleep(0.5)
    assert mark not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout


@pytest.mark.parametrize("name", BOXES)
def test_limits_of_time_memory_processes_and_output_hold(name):
    assert "signal" in boxed(name, "while True: pass", seconds=1).detail
    assert boxed(name, "import time; time.sleep(1000)", seconds=1).detail == "did not end within 4 s"
    assert "MemoryError" in boxed(name, "x = bytearray(1 << 30)", memory_mib=256).detail
    assert boxed(name, "while True: print('x' * 100_000)", seconds=1, memory_mib=256).passed is False
    full = "with open('big', 'wb') as file:\n    for _ in range(200): file.write(bytes(1 << 20))"
    assert boxed(name, full).passed is False
    if name == "Landlock and namespaces" and os.geteuid() == 0:
        return  # the system's limit on processes does not hold for root
    many = "import os, time\nfor _ in range(100):\n    if os.fork() == 0: time.sleep(9); os._exit(0)"
    assert "BlockingIOError" in boxed(name, many).detail


def test_the_box_scripts_stand_alone():
    for name in ("in_the_box.py", "own_box.py"):
        assert "kleash." not in Path(code.__file__).with_name(name).read_text(encoding="utf-8")
