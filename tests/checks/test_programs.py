"""Programs in answers: every shape in which models write them, read as a person would."""

import ast

import pytest

from kleash.checks import programs
from kleash.checks.code import CodeLimits, check_code
from kleash.checks.programs import program_of

F = "```"
ADD = "def add(a, b):\n    return a + b\n"
INDENTED = "    def add(a, b):\n        return a + b\n"


def defines(program):
    names = {}
    exec(program, names)
    return names.get("add", lambda a, b: None)(1, 2) == 3


@pytest.mark.parametrize("tag", ["python", "py", "", "python3", "py3", "{python}", "{.python}", 'python title="a.py"',
                                 "Python", " python", "python3.11",
                                 "python numbers=left", "add.py", "python:add.py"])  # fmt: skip
def test_fences_with_any_tag_of_python(tag):
    assert defines(program_of(f"Sure:\n\n{F}{tag}\n{ADD}{F}\nIt adds."))


@pytest.mark.parametrize(
    "answer",
    [
        ADD,
        f"~~~python\n{ADD}~~~",
        f"{F}bash\npip install x\n{F}\nThen:\n{F}python\n{ADD}{F}",
        f"{F}sql\nselect 1;\n{F}\n{F}python\n{ADD}{F}",
        f"{F}console\n$ python a.py\n{F}\n{F}\n{ADD}{F}",
        f"{F}python\n{ADD}{F}\nOutput:\n{F}\n3 apples\n{F}",
        f"{F}python\n{ADD}{F}\nOutput:\n{F}\n3\n{F}\n{F}json\n{{}}\n{F}",
        f"{F}\n{ADD}{F}\nOutput:\n{F}\n3 apples\n{F}",
        f"1. First:\n   {F}python\n   def add(a, b):\n       return a + b\n   {F}",
        f"- So:\n\n    {F}python\n{INDENTED}    {F}",
        f"{F}python\n{ADD}{F}".replace("\n", "\r\n"),
        f"Here:\n{F}python\n{ADD}",
        f"{F}{F[0]}python\n{ADD}{F}{F[0]}\ntext with {F} in it",
        f"Sure, here is the function you asked for:\n\n{ADD}\nIt adds two numbers. Enjoy!",
        f"You want it indented:\n\n{INDENTED}\nThat's all.",
        f"import math\n\n{ADD}",
        f"{F}python\nimport math\n{F}\nand\n{F}python\n{ADD}{F}",
        f"{F}pycon\n>>> def add(a, b):\n...     return a + b\n>>> add(1, 2)\n3\n{F}",
        f"> {F}python\n> def add(a, b):\n>     return a + b\n> {F}",
        f"{F}python\ndef add(a, b):\n    '''Add.\n\n    {F}\n    add(1, 2)\n    {F}\n    '''\n    return a + b\n{F}",
        f"<think>\nmaybe {F}python\ndef add(a): pass\n{F}\n</think>\n{F}python\n{ADD}{F}",
    ],
)  # fmt: skip
def test_shapes(answer):
    assert defines(program_of(answer)), program_of(answer)


def test_blocks_stand_one_after_another_and_other_languages_are_left_out():
    assert program_of(f"a\n{F}python\nx = 1\n{F}\nb\n{F}py\ny = 2\n{F}\n{F}js\nz{F}") == "x = 1\n\n\ny = 2\n"
    assert program_of(f"{F}rust\nfn add() {{}}\n{F}") == ""
    assert program_of("certainly! def double") == "certainly! def double"


BEGUN = 'from typing import List\n\n\ndef helper(x):\n    return x\n\n\ndef add(a, b):\n    """ Add. """\n'


@pytest.mark.parametrize(
    "answer",
    [
        "    return a + b\n",
        "return a + b",
        "c = a + b\n    return c",
        "    return a + b\n\n\ndef other():\n    return 1\n\nprint(add(",
        "    return a + b\n\nThis adds the two numbers.",
        f"{F}python\n    return helper(a + b)\n{F}",
        f"{F}python\nreturn a + b\n{F}",
        f"{F}python\ndef add(a: int, b: int) -> List:\n    return helper(a + b)\n{F}",
        f"Sure!\n{F}python\n{BEGUN}    return a + b\n{F}",
        f"{BEGUN}    return a + b\n",
    ],
)
def test_what_goes_on_from_a_program_begun_and_what_writes_it_anew(answer):
    program = program_of(answer, begun=BEGUN, entry_point="add")
    assert ast.parse(program)
    assert defines(program), program


def test_every_shape_passes_its_tests_in_the_box():
    """What was marked wrong before: blocks of other languages first, and tags other than python."""
    limits = CodeLimits(is_allowed=True)
    for answer in (f"{F}python3\n{ADD}{F}", f"{F}bash\npip\n{F}\n{F}python\n{ADD}{F}", f"Here:\n{F}python\n{ADD}"):
        assert check_code(answer, {"tests": "assert add(1, 2) == 3", "limits": limits}).passed is True


def test_the_search_for_a_program_ends(monkeypatch):
    tried = []
    monkeypatch.setattr(programs, "parses", lambda text: tried.append(text))
    assert program_of("def f(:\n" * 800, begun="def f():\n", entry_point="g").startswith("def f():\n")
    assert len(tried) < 1000
