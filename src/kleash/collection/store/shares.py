"""The share of an AI-judged campaign that people judge as well: which comparisons keep a place for them."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kleash.collection.campaign import Campaign
from kleash.collection.store import tables as t


def shared_comparisons(connection: Connection, campaign: Campaign) -> set[str]:
    """Return the comparisons with a place that is kept for people, taken or not."""
    kept = (t.slots.c.campaign_id == campaign.id) & (t.slots.c.reserved_for == "person")
    query = sa.select(t.items.c.comparison_id).join(t.slots, t.slots.c.item_id == t.items.c.id).where(kept)
    return set(connection.execute(query).scalars())
