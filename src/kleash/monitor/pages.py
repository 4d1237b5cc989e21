"""Render the monitor's pages from `templates/`, and answer their polls for what has changed since.

A page is a template that extends frame.html. What changes while a run trains lies in elements with an id; the page's
data route sends each one's HTML again, and its charts, as `Live`. The script static/live.js asks for them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from kleash import __version__
from kleash.monitor.measures import json_numbers
from kleash.web.plots import Part
from kleash.web.templates import environment

FOLDER = Path(__file__).parent

MAIN_PAGES: list[tuple[str, str]] = [("/", "Runs"), ("/compare", "Compare"), ("/experiments", "Experiments")]
"""(address, title) of the pages that are not about one run."""

RUN_PAGES: list[tuple[str, str]] = [
    ("run", "Overview"),
    ("samples", "Samples"),
    ("aims", "Help and harm"),
    ("audit", "Audit"),
    ("labellers", "Labellers"),
    ("lineage", "Lineage"),
]
"""(first part of the address, title) of the pages about one run: /FIRST/RUN, with its data at /data/FIRST/RUN."""


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
    made = environment(FOLDER / "templates")
    made.filters["address"] = lambda name: quote(name, safe="/")
    made.globals |= {
        "main_pages": MAIN_PAGES,
        "run_pages": RUN_PAGES,
        "kleash_version": __version__,
        "pairs": lambda values: [(value, value) for value in values],
    }
    return made


def render(request: Request, template: str, *, status_code: int = 200, **context: Any) -> HTMLResponse:
    """Render a page. Of a page about one run the context has `run`, its name, and `page`, its entry in RUN_PAGES."""
    html = templates().get_template(template).render(path=request.url.path, **context)
    # Models and files can hold half of a surrogate pair; no encoding can write it, so it is shown as a question mark.
    return HTMLResponse(html.encode("utf-8", "replace"), status_code=status_code)


def fragment(template: str, **context: Any) -> str:
    """Return a part of a page, rendered from a template of its own."""
    return templates().get_template(template).render(**context)


def answer_poll(request: Request, state: object, make: Callable[[], Live]) -> Response:
    """Send what a page shows now, or 304 if the browser has it already.

    state: what the answer depends on beside the address, such as the sizes and times of the files that `make` reads;
    while it is the same, `make` is not called. It is never sent, only its hash.
    """
    told = json.dumps([str(request.url), __version__, state], default=str)
    etag = f'"{hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:32]}"'
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers={"ETag": etag})
    live = make()
    content = {"html": live.html, "figures": live.figures, "poll_seconds": live.poll_seconds}
    text = json.dumps(json_numbers(content), allow_nan=False, separators=(",", ":"))
    return Response(text, media_type="application/json", headers={"ETag": etag})
