"""Render HTML pages from `templates/`; every value is escaped unless a function of `markup.py` made it safe HTML."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment
from starlette.requests import Request
from starlette.responses import HTMLResponse

from kleash.web.templates import environment

FOLDER = Path(__file__).parent


@cache
def templates() -> Environment:
    return environment(FOLDER / "templates")


def render(request: Request, template: str, *, status_code: int = 200, **context: Any) -> HTMLResponse:
    """Render a page. Templates always have `visitor`, the signed-in `sessions.Visitor` or None."""
    visitor = getattr(request.state, "visitor", None)
    html = templates().get_template(template).render(visitor=visitor, **context)
    return HTMLResponse(html, status_code=status_code)
