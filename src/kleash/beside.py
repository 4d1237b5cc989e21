"""Read what lies beside a module as a TOML file of the same name: its tables, or the words in which it refuses much."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any


def table_beside(module: str) -> dict[str, Any]:
    """Return what the TOML file beside a module, of the same name, holds. module: its `__file__`."""
    return tomllib.loads(Path(module).with_suffix(".toml").read_text(encoding="utf-8"))


def words_beside(module: str) -> Callable[..., str]:
    """Return what gives a text of the TOML file beside a module by its name, with what was found put in.

    For modules that refuse much: their code then shows the conditions, and the file what is said of each.
    """
    texts = table_beside(module)
    return lambda name, /, **found: str(texts[name]).format(**found)
