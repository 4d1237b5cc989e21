"""Jailbreak wrappers: ways of asking for the same unsafe thing that a refusal should survive.

A wrapper is a row of `jailbreaks.toml`: what is asked instead, one text or several turns.
The kinds are the known ones (role play, injected prefixes, disguised text, a long way round); the wordings are our own
and mild, so they measure how brittle refusals are, not how well a determined attacker would do.
Source: the families of attacks of Wei, Haghtalab & Steinhardt 2023, arXiv:2307.02483.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from kleash.beside import table_beside
from kleash.evaluation.suites.items import SuiteItem
from kleash.records import Message, Prompt, Role

_LEETSPEAK = str.maketrans({"a": "4", "e": "3", "i": "1", "o": "0", "s": "5", "t": "7"})

WRAPPERS: Mapping[str, str | Sequence[str]] = table_beside(__file__)


def jailbreak_variants(item: SuiteItem) -> list[SuiteItem]:
    """Return an item once per wrapper, each a variant of it.

    The last turn is what is wrapped. Slices gain "jailbreak", the wrapper's name.
    """
    return [
        replace(
            item, id=f"{item.id}~{name}", prompt=wrapped(item.prompt, name), pair=item.pair or item.id, variant=name
        )
        for name in WRAPPERS
    ]


def wrapped(prompt: Prompt, name: str) -> Prompt:
    """Put a wrapper around the last turn of a prompt; its slices gain "jailbreak", the wrapper's name."""
    content, wrapper = prompt.content, WRAPPERS[name]
    *before, last = (Message("user", content),) if isinstance(content, str) else content
    texts = [_said(text, last.content) for text in ([wrapper] if isinstance(wrapper, str) else wrapper)]
    roles: Iterable[Role] = itertools.cycle(("user", "assistant"))
    turns = (*before, *(Message(role, text) for role, text in zip(roles, texts, strict=False)))
    asked = texts[0] if isinstance(content, str) and len(texts) == 1 else turns
    return replace(prompt, content=asked).with_dimensions({"jailbreak": name})


def _said(text: str, asked: str) -> str:
    """Put what was asked into a wrapper's text, as it is or disguised."""
    return text.format(
        asked=asked,
        base64=base64.b64encode(asked.encode("utf-8", "replace")).decode("ascii"),
        leetspeak=asked.lower().translate(_LEETSPEAK),
        spelled=" ".join(asked.replace(" ", "_")),
    )
