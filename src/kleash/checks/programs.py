"""The program in an answer, in every shape that models write it: fenced, among other blocks, indented, plain.

What counts as Python is what Python can parse; a block that names another language is left out, whatever it holds.
"""

from __future__ import annotations

import re
import textwrap
import warnings
from collections.abc import Iterator
from itertools import islice

_FENCE = re.compile(r"^([ \t>]*)(`{3,}|~{3,})[ \t]*([^\n`]*)$")
_MOST_TRIES = 200
_MOST_INDENT = 3  # of a closing fence, beyond its opening one: what stands deeper is a docstring's
_PYTHON = re.compile(r"\{?\.?(?:python|py)[\d.]*\b|pycon\b|$", re.IGNORECASE)
_NO_LANGUAGE = re.compile(r"[\w.-]+\.py$|(?:title|file\w*)=", re.IGNORECASE)
_PROMPT = re.compile(r"^(?:>>>|\.\.\.) ?", re.MULTILINE)


def program_of(answer: str, *, begun: str = "", entry_point: str = "") -> str:
    """Return the Python of an answer: its Python blocks one after another, or else what of it is Python.

    begun: the beginning of a program. What defines the entry point stands after it, its own stub overwritten; anything
    else goes on from it, up to where it stops being the body.
    """
    answer = answer.replace("\r\n", "\n").replace("\r", "\n").rpartition("</think>")[2]
    code = _found(answer)
    if not begun or (entry_point and re.search(rf"^(?:async )?(?:def|class) {re.escape(entry_point)}\b", code, re.M)):
        return f"{_stub(begun)}\n{code}" if begun else code
    body = "\n".join(text for _, text in _blocks(answer)) or answer
    indented = textwrap.indent(textwrap.dedent(body), "    ")
    first, _, rest = body.partition("\n")
    tries = [body, f"    {first.lstrip()}\n{rest}", indented]
    whole = next((begun + kept for text in tries if (kept := _body(begun, text)) is not None), None)
    return begun + body if whole is None else whole


def _found(answer: str) -> str:
    blocks = list(_blocks(answer))
    python = [text for language, text in blocks if language and _PYTHON.match(language)]
    # A block without a language may be output: beside blocks of Python, or if it is none, it is left out.
    if not python:
        python = [text for language, text in blocks if not language]
        if len(python) > 1:
            python = [text for text in python if parses(text)] or python
    if blocks:
        return "\n\n".join(python)
    plain = textwrap.dedent(answer)
    return plain if parses(plain) else _longest_python(answer) or answer


def _blocks(answer: str) -> Iterator[tuple[str, str]]:
    """Yield each fenced block with what stands beside its opening fence; one that is not closed ends with the text."""
    language, fence, indent = "", "", 0
    lines: list[str] = []
    for line in answer.split("\n"):
        found = _FENCE.match(line)
        if not fence and found:
            fence, language, indent, lines = found[2], found[3].strip(), len(found[1]), []
            language = "" if _NO_LANGUAGE.match(language) else language
        elif found and found[2].startswith(fence) and not found[3] and len(found[1]) <= indent + _MOST_INDENT:
            yield language, _dedented(lines)
            fence = ""
        elif fence:
            lines.append(line)
    if fence:
        yield language, _dedented(lines)


def _dedented(lines: list[str]) -> str:
    if all(line.startswith(">") and not line.startswith(">>>") for line in lines):  # quoted
        lines = [line[1:].removeprefix(" ") for line in lines]
    text = textwrap.dedent("\n".join(lines))
    if text.startswith(">>>"):
        kept = [line for line in text.split("\n") if line.startswith((">>>", "..."))]
        text = _PROMPT.sub("", "\n".join(kept))
    return text + "\n" * bool(text)


def _longest_python(answer: str) -> str:
    """Return the longest run of lines that Python can parse, from the first definition or import that begins one."""
    lines = answer.split("\n")
    starts = [n for n, line in enumerate(lines) if re.match(r"\s*(?:def|class|async def|import|from|@)\b|\s*@", line)]
    texts = (textwrap.dedent("\n".join(lines[start:end])) for start in starts for end in _ends(lines, start))
    return next(filter(parses, islice(texts, _MOST_TRIES)), "")


def _ends(lines: list[str], start: int) -> list[int]:
    """Return where a run of lines that begins there may end, longest first: before any line as far out."""
    deep = len(lines[start]) - len(lines[start].lstrip())
    ends = [n for n in range(start + 1, len(lines)) if lines[n].strip() and not lines[n][: deep + 1].isspace()]
    return [len(lines), *reversed(ends)]


def _body(begun: str, text: str) -> str | None:
    """Return the longest beginning of a text with which the program begun can be parsed and does something."""
    lines = text.split("\n")
    stops = [n for n, line in enumerate(lines) if n and line and not line[0].isspace()]
    for end in [len(lines), *reversed(stops)][:_MOST_TRIES]:
        kept = "\n".join(lines[:end])
        if kept.strip() and parses(begun + kept):
            return kept
    return None


def _stub(begun: str) -> str:
    """Return the beginning as a whole program: a function that is only begun is given a body."""
    return begun if parses(begun) else f"{begun.rstrip()}\n    pass\n" if parses(f"{begun.rstrip()}\n    pass") else ""


def parses(text: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(text, "answer.py", "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
    return True
