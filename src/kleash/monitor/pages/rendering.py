"""Render what the monitor shows from `templates/`: whole pages, and the parts that pages and reports are made of.

A page of the web app is a template that extends frame.html. What changes while a run trains lies in elements with an
id; the page's data route sends each one's HTML again, and its charts, as `Live`. The script static/live.js asks for
them. The parts are in templates/parts: figures in, HTML out; numbers are written by `kleash.web.wording`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment

from kleash import __version__
from kleash.estimates import Estimate, estimate, finite
from kleash.monitor.read.alarms import by_symptom, ending, passed
from kleash.monitor.read.checks import KL_BAND, fell
from kleash.monitor.read.samples import MAX_SHOWN_CHARACTERS, slices_of
from kleash.monitor.read.slices import FIRST_UPDATES, slices_that_got_worse, suite_measures, watched_slices
from kleash.records import split_slice
from kleash.web import wording
from kleash.web.plots import Part
from kleash.web.templates import environment
from kleash.web.word_diff import word_diff

FOLDER = Path(__file__).parents[1]


@dataclass(frozen=True)
class Live:
    """What of a page may change. html: {element id: its HTML, made of escaped text}; figures: {place: plotly figure}.

    poll_seconds: how soon to ask again.
    """

    html: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, Part] = field(default_factory=dict)
    poll_seconds: float = 15.0


@cache
def templates() -> Environment:
    """Return what renders the monitor's templates; their globals word figures, place bars and ask findings."""
    jinja = environment(FOLDER / "templates")
    jinja.filters |= {
        "address": lambda name: quote(name, safe="/"),
        "estimated": lambda interval: estimate(vars(interval)),
        "element_name": lambda text: re.sub(r"[^a-z0-9]+", "-", text.lower()),
        "cut": lambda text, longest: text if len(text) <= longest else text[: longest - 1] + "…",
    }
    jinja.globals |= dict(inspect.getmembers(wording, inspect.isfunction))
    jinja.globals |= {
        "MISSING": wording.MISSING,
        "max_shown_characters": MAX_SHOWN_CHARACTERS,
        "place": place,
        "num_cases": num_cases,
        "split_slice": split_slice,
        "rate_note": rate_note,
        "kleash_version": __version__,
        "finite": finite,
        "slices_of": slices_of,
        "word_diff": word_diff,
        "pairs": lambda values: [(value, value) for value in values],
        "flat_settings": flat_settings,
        "kl_band": KL_BAND,
        "fell": fell,
        "by_symptom": by_symptom,
        "passed_alarms": passed,
        "ending": ending,
        "watched_slices": watched_slices,
        "first_updates": FIRST_UPDATES,
        "suite_measures": suite_measures,
        "slices_that_got_worse": slices_that_got_worse,
    }
    return jinja


def fragment(template: str, **context: Any) -> str:
    """Return a part of a page, rendered from a template of its own."""
    return templates().get_template(template).render(**context)


def piece(name: str, *values: Any) -> str:
    """Return what a macro of parts/pieces.html makes of some values."""
    return str(getattr(templates().get_template("parts/pieces.html").module, name)(*values))


def place(value: float, start: float, end: float) -> float:
    """Return where a value stands on a bar from start to end, in per cent; what lies beyond stands at its end."""
    return min(max(100 * (value - start) / ((end - start) or 1.0), 0.0), 100.0)


def rate_note(rate: Estimate) -> str:
    """Return a rate's interval and n in words."""
    return f"{wording.percent_range(rate.low, rate.high) or 'no interval'}{num_cases(rate)}"


def num_cases(figure: Estimate) -> str:
    return "" if figure.n is None else f", n\u00a0=\u00a0{wording.count(figure.n)}"


def flat_settings(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield (name with dots, value) of nested settings; "none" stands for a value that is not set."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat_settings(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", "none" if value is None else value
