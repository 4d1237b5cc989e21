"""Who is asking: the signed-in visitor of a request, and the roles that routes demand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from starlette.requests import Request

from kleash.collection.store.database import Database
from kleash.collection.store.raters import Rater

Role = Literal["labeller", "adjudicator", "admin"]


@dataclass(frozen=True)
class Visitor:
    """A signed-in person. csrf_token: goes into every form and, as the header X-CSRF-Token, into every script's POST."""

    rater: Rater
    role: Role
    csrf_token: str


def database_of(request: Request) -> Database:
    """Return the label database that the app serves (a FastAPI dependency)."""
    database: Database = request.app.state.database
    return database
