"""Who waits for whom in PostgreSQL. SQLite's writers take turns anyway, so there all of this does nothing.

A transaction takes these locks in the order of this file, as many as it needs, so that no two wait for each other;
they end with it. Slots are not waited for: a claim skips one that somebody is just taking (SKIP LOCKED).
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kleash.collection.campaign import Campaign
from kleash.collection.store.raters import Rater

# Numbers of rows are below 2^31; each kind of lock has a range of its own above.
_WHOLE_CAMPAIGN, _ITEM, _BEGINNING = 1 << 40, 2 << 40, 3 << 40


def lock_campaign(connection: Connection, campaign: Campaign) -> None:
    """Change much of a campaign at once: nobody is given a task of it or answers one meanwhile."""
    _wait(connection, sa.func.pg_advisory_xact_lock(_WHOLE_CAMPAIGN + campaign.id))


def share_campaign(connection: Connection, campaign: Campaign) -> None:
    """Give out or answer a task, beside others who do the same."""
    _wait(connection, sa.func.pg_advisory_xact_lock_shared(_WHOLE_CAMPAIGN + campaign.id))


def lock_rater(connection: Connection, campaign: Campaign, rater: Rater) -> None:
    """Let one rater's requests pass one by one: two tabs, a double click."""
    _wait(connection, sa.func.pg_advisory_xact_lock(campaign.id, rater.id))


def lock_item(connection: Connection, item_id: int) -> None:
    """Let the answers on one item pass one by one: each sees what the others made of its slots."""
    _wait(connection, sa.func.pg_advisory_xact_lock(_ITEM + item_id))


def lock_beginning(connection: Connection, campaign: Campaign) -> None:
    """Let those who begin items pass one by one: each draws from what the others have left."""
    _wait(connection, sa.func.pg_advisory_xact_lock(_BEGINNING + campaign.id))


def _wait(connection: Connection, lock: sa.Function[None]) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(lock))
