"""The audit log: who did what to what, with before and after. Append-only."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kleash.collection.store import tables as t


@dataclass(frozen=True)
class Event:
    """One line of the audit log. actor: a rater's name, or "command line"."""

    at: datetime
    actor: str
    action: str
    subject: Any
    before: Any
    after: Any


def now() -> datetime:
    return datetime.now(UTC)


def log_event(
    connection: Connection,
    actor: str,
    action: str,
    subject: Any,
    campaign_id: int | None = None,
    *,
    before: Any = None,
    after: Any = None,
) -> None:
    """Add a line to the audit log: who did what to what, and in which campaign."""
    said = {"actor": actor, "action": action, "subject": subject, "campaign_id": campaign_id}
    connection.execute(t.events.insert().values(**said, at=now(), before=before, after=after))


def events(connection: Connection, *, campaign_id: int | None = None, limit: int = 200) -> list[Event]:
    """Return the latest events, of one campaign or of all, latest first."""
    query = sa.select(t.events).order_by(t.events.c.id.desc()).limit(limit)
    if campaign_id is not None:
        query = query.where(t.events.c.campaign_id == campaign_id)
    names = [field.name for field in fields(Event)]
    return [Event(*(getattr(row, name) for name in names)) for row in connection.execute(query)]
