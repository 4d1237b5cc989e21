"""How a page is rendered; and what every admin page has: its campaign, and the words that figures are written with."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends
from jinja2 import Environment
from sqlalchemy.engine import Connection
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from kleash.collection import wording
from kleash.collection.campaign import Campaign
from kleash.collection.gates import DEFAULT
from kleash.collection.markup import shown_text
from kleash.collection.sessions import database_of, require_adjudicator, require_admin, require_labeller
from kleash.collection.snapshot import CampaignSnapshot, read_snapshot
from kleash.collection.store.accounts import Session
from kleash.collection.store.campaigns import campaign_by_id
from kleash.collection.store.database import Database
from kleash.collection.views import GATE_BOUNDS, verdict_words
from kleash.web.templates import environment
from kleash.web.visible import visible_text

Data = Annotated[Database, Depends(database_of)]
SignedIn = Annotated[Session, Depends(require_labeller)]
Admin = Annotated[Session, Depends(require_admin)]
Adjudicator = Annotated[Session, Depends(require_adjudicator)]

FOLDER = Path(__file__).parents[1]
# What SQLite and PostgreSQL can both hold as a row's number.
_LARGEST_ID = 2**31 - 1


def render(request: Request, template: str, *, status_code: int = 200, **context: Any) -> HTMLResponse:
    """Render a page from `templates/`, where `visitor` is the signed-in `Session` or None.

    Every value is escaped unless a function of `markup.py` made it safe HTML.
    """
    visitor = getattr(request.state, "visitor", None)
    html = _templates().get_template(template).render(visitor=visitor, **context)
    return HTMLResponse(html, status_code=status_code)


def campaign_or_404(connection: Connection, campaign_id: int) -> Campaign:
    """Return a campaign. Raises 404 if there is none of this number."""
    campaign = campaign_by_id(connection, campaign_id) if 0 < campaign_id <= _LARGEST_ID else None
    if campaign is None:
        raise HTTPException(
            404, f"There is no campaign {campaign_id}. Expected one of those listed. Go back to the list."
        )
    return campaign


def snapshot_or_404(database: Data, campaign_id: int) -> CampaignSnapshot:
    """Read the campaign that an address names. Raises 404 if there is none of this number."""
    with database.read() as connection:
        return read_snapshot(connection, campaign_or_404(connection, campaign_id))


# Stands behind the role in a route's parameters, so that nobody learns which campaigns there are.
Snapshot = Annotated[CampaignSnapshot, Depends(snapshot_or_404)]


def show(request: Request, template: str, *, now: datetime | None = None, **context: Any) -> Response:
    """Render an admin page.

    Templates also have `wording`, `words` for a verdict, `seen` and `rendered` for what people or models wrote, the
    bounds of the gates by name, and the fewest items that say anything.
    """
    in_all: dict[str, Any] = {
        "wording": wording,
        "words": verdict_words,
        "seen": visible_text,
        "rendered": shown_text,
        "now": now,
    }
    return render(request, template, gate_bounds=GATE_BOUNDS, min_n=DEFAULT.min_n, **in_all, **context)


def go(address: str) -> Response:
    """Lead on after a form was sent, so that reloading the page does not send it again."""
    return RedirectResponse(address, status_code=303)


@cache
def _templates() -> Environment:
    return environment(FOLDER / "templates")
