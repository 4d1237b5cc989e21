"""Texts that lie in a TOML file beside their module: each is said somewhere, and is given what it names."""

import ast
import string
import tomllib
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "kleash"
MODULES = [path for path in SOURCE.rglob("*.py") if "words_beside(__file__)" in path.read_text(encoding="utf-8")]


def named_in(text):
    fields = (field for _, field, _, _ in string.Formatter().parse(text) if field is not None)
    return {field.partition(".")[0] for field in fields}


def given_in(call):
    """Return what a call of `words` gives; `_some` of the model folders gives two."""
    names = {keyword.arg for keyword in call.keywords if keyword.arg}
    return names | ({"number", "some"} if any(keyword.arg is None for keyword in call.keywords) else set())


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_each_text_is_said_and_given_what_it_names(module):
    texts = tomllib.loads(module.with_suffix(".toml").read_text(encoding="utf-8"))
    tree = ast.parse(module.read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "words"]
    given = {ast.literal_eval(call.args[0]): given_in(call) for call in calls}
    assert given == {name: named_in(text) for name, text in texts.items()}
