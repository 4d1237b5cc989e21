"""No text steers the terminal it is shown on: one place prints, and everything else passes it while a command runs."""

import ast
import io
import json
import logging
import re
import sys
import unicodedata
from pathlib import Path

import pytest

from kleash import screen
from kleash.errors import KleashError
from kleash.screen import Screen, guarded_streams, remarks, results, say, show_error, show_json

SOURCE = Path(__file__).parents[1] / "src" / "kleash"
# Runs inside the box, on a pipe to KLeash.
ELSEWHERE = {"screen.py", "checks/in_the_box.py"}


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    """Lines are broken at the width of the window, which these tests are not about."""
    monkeypatch.setenv("COLUMNS", "200")


HOSTILE = "a\x1b[2J\x1b]52;c;cHduZWQ=\x07\x9b31m\u202egnp\u2066\x08\x7f\u2028\udc80 [bold]b :smile:"
SHOWN = "a␛[2J␛]52;c;cHduZWQ=␇‹U+009B›31m‹U+202E›gnp‹U+2066›␈␡‹U+2028›‹U+DC80› [bold]b :smile:"


def steering(text):
    """Return the characters of a text that a terminal obeys."""
    return {char for char in text if char not in "\n\t" and unicodedata.category(char) in ("Cc", "Cs")} | set(
        re.findall("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]", text)
    )


def test_nothing_else_prints():
    found = []
    for path in SOURCE.rglob("*.py"):
        name = path.relative_to(SOURCE).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if name not in ELSEWHERE else ():
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "print",
                "Console",
                "typer.echo",
                "typer.secho",
            ):
                found.append(f"{name}:{node.lineno}: {ast.unparse(node.func)}")
            if isinstance(node, ast.Attribute) and ast.unparse(node) in ("sys.stdout", "sys.stderr"):
                found.append(f"{name}:{node.lineno}: {ast.unparse(node)}")
    # `main` gives both streams a way to show what their encoding lacks, and leaves quietly when nobody reads on.
    assert sorted(re.sub(r":\d+", "", one) for one in found) == [
        "cli/__init__.py: sys.stderr",
        "cli/__init__.py: sys.stdout",
        "cli/__init__.py: sys.stdout",
    ]


@pytest.mark.parametrize(
    "show", [say, show_error, lambda text: results().print(text), lambda text: remarks().print(text)]
)
def test_what_is_shown_cannot_steer(show, capsys):
    show(HOSTILE)
    written = capsys.readouterr()
    assert written.out + written.err == SHOWN + "\n"


def test_a_table_keeps_its_lines(capsys):
    from kleash.cli.tables import rows_table

    results().print(rows_table(("name [red]", "value"), [(HOSTILE, "1"), ("b", "2")]))
    shown = capsys.readouterr().out
    assert not steering(shown)
    assert [line.split()[-1] for line in shown.splitlines()] == ["value", "1", "2"]


def test_a_screen_on_a_terminal_still_has_its_colours():
    out = io.StringIO()
    Screen(file=out, force_terminal=True, color_system="standard").print("a\x1b[2J", style="red")
    assert out.getvalue() == "\x1b[31ma␛[2J\x1b[0m\n"


def test_json_is_escaped_not_altered(capsys):
    show_json({"text": HOSTILE, "tag": "\U000e0041é", "list": [1.5, None]})
    shown = capsys.readouterr().out
    assert not steering(shown)
    assert "é" in shown
    assert json.loads(shown) == {"text": HOSTILE, "tag": "\U000e0041é", "list": [1.5, None]}


def test_what_others_print_is_guarded_while_a_command_runs(capfd):
    before = sys.stdout, sys.stderr
    with guarded_streams():
        print(HOSTILE.replace("\udc80", ""))
        logging.getLogger("somebody").warning("%s", HOSTILE.replace("\udc80", ""))
        sys.stderr.writelines(["\x1b[1m", "x"])
        sys.stderr.write("\r10 %")
        assert sys.stdout.encoding == before[0].encoding
    assert (sys.stdout, sys.stderr) == before
    written = capfd.readouterr()
    assert written.out == SHOWN.replace("‹U+DC80›", "") + "\n"
    assert not steering(written.err.replace("\r10 %", ""))
    assert written.err.endswith("\r10 %")


def test_help_keeps_its_colours(monkeypatch, capsys):
    with guarded_streams(is_help=True):
        print("\x1b[1mUsage\x1b[0m")
    assert capsys.readouterr().out == "\x1b[1mUsage\x1b[0m\n"


def test_an_error_of_a_stranger_is_shown_harmless(monkeypatch, capsys):
    from kleash.cli import main

    def fail():
        raise KleashError(f"Column {HOSTILE} is missing.")

    monkeypatch.setattr("kleash.plugins.list_plugins", fail)
    with pytest.raises(SystemExit) as end:
        main(["plugins"])
    assert end.value.code == 2
    assert f"Column {SHOWN} is missing." in capsys.readouterr().err


def test_only_the_first_rank_says(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    say("once")
    assert capsys.readouterr().err == ""
    assert not screen.is_first_rank()
