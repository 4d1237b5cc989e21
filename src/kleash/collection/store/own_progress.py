"""How far one rater has come: what a labeller may know of a campaign's progress.

The campaign's own progress is not for labellers: a calibration item leaves it where it was, and so would be known.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kleash.collection.campaign import Campaign
from kleash.collection.store import tables as t
from kleash.collection.store.raters import Rater


def num_answered(connection: Connection, campaign: Campaign, rater: Rater) -> int:
    """Count the tasks a rater has answered in a campaign, of whatever purpose; a ruling as adjudicator is none."""
    query = sa.select(sa.func.count()).where(
        t.assignments.c.campaign_id == campaign.id,
        t.assignments.c.rater_id == rater.id,
        t.assignments.c.is_answered,
        t.assignments.c.purpose != "adjudication",
    )
    return int(connection.execute(query).scalar_one())
