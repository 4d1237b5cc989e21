"""Render HTML pages from `templates/`; every value is escaped unless a function of `markup.py` made it safe HTML."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.requests import Request
from starlette.responses import HTMLResponse

FOLDER = Path(__file__).parent


@cache
def templates() -> Environment:
    return Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(request: Request, template: str, *, status_code: int = 200, **context: Any) -> HTMLResponse:
    """Render a page. Templates always have `visitor`, the signed-in `sessions.Visitor` or None."""
    visitor = getattr(request.state, "visitor", None)
    html = templates().get_template(template).render(visitor=visitor, **context)
    return HTMLResponse(html, status_code=status_code)
