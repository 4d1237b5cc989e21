"""Put ballots of another database into this one as they are: votes, repeats, surplus ones and rulings."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kleash.collection.assignment import Purpose
from kleash.collection.campaign import Campaign
from kleash.collection.store import tables as t
from kleash.collection.store.events import log_event, now
from kleash.collection.store.judgements import check_verdict, mark_begun, verdict_columns, verdict_of
from kleash.collection.store.locks import lock_campaign
from kleash.collection.store.raters import rater_named
from kleash.errors import DataError
from kleash.records import Judgement


@dataclass(frozen=True)
class Restored:
    """A judgement and the circumstances that decide how it counts. given_at: None where nobody knows."""

    judgement: Judgement
    purpose: Purpose
    is_surplus: bool = False
    skip_reason: str = ""
    given_at: datetime | None = None


def restore(connection: Connection, campaign: Campaign, ballots: Sequence[Restored], *, actor: str) -> int:
    """Store ballots in a campaign that has none yet, and give each counted vote its slot; return their number.

    An item gets as many slots as it needs. Raises DataError for a judgement of a comparison that is not in the
    campaign, or of an item by a rater for the same purpose a second time.
    """
    lock_campaign(connection, campaign)
    query = sa.select(t.items.c.comparison_id, t.items.c.id, t.items.c.completions)
    items = {row.comparison_id: row for row in connection.execute(query.where(t.items.c.campaign_id == campaign.id))}
    names = sorted({(ballot.judgement.rater, ballot.judgement.rater_kind) for ballot in ballots})
    raters = {name: rater_named(connection, name, kind) for name, kind in names}
    seen: set[tuple[int, str, Purpose]] = set()
    seats: dict[int, list[str]] = {}
    tasks: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for ballot in ballots:
        judgement = ballot.judgement
        item = items.get(judgement.comparison_id)
        if item is None or (item.id, judgement.rater, ballot.purpose) in seen:
            trouble = "is not in the campaign" if item is None else "has two verdicts of one rater"
            raise DataError(
                f"Comparison {judgement.comparison_id}, judged by {judgement.rater!r}, {trouble}. Expected the files "
                "of one export, unchanged. Export the campaign again."
            )
        # A judgement that names no rubric was made under none that is known, and not under today's.
        verdict = replace(verdict_of(judgement, campaign), rubric_version=judgement.rubric_version)
        check_verdict(verdict, len(item.completions))
        seen.add((item.id, judgement.rater, ballot.purpose))
        task_id, at = secrets.token_urlsafe(16), ballot.given_at or now()
        if ballot.purpose == "vote" and not ballot.is_surplus and judgement.outcome != "skipped":
            seats.setdefault(item.id, []).append(task_id)
        shared = {
            "campaign_id": campaign.id,
            "item_id": item.id,
            "rater_id": raters[judgement.rater].id,
            "permutation": list(judgement.permutation),
        }
        tasks.append({**shared, "id": task_id, "purpose": ballot.purpose, "created_at": at, "is_answered": True})
        rows.append(
            {
                **shared,
                "assignment_id": task_id,
                "client_key": "restored",
                "is_surplus": ballot.is_surplus,
                "given_at": at,
                **verdict_columns(verdict),
                "skip_reason": ballot.skip_reason,
            }
        )
    if rows:
        connection.execute(t.assignments.insert(), tasks)
        connection.execute(t.judgements.insert(), rows)
    _seat(connection, campaign, seats)
    log_event(
        connection,
        "restored",
        actor=actor,
        campaign_id=campaign.id,
        subject=campaign.name,
        after={"ballots": len(rows)},
    )
    return len(rows)


def _seat(connection: Connection, campaign: Campaign, seats: dict[int, list[str]]) -> None:
    """Replace the slots of each judged item: one per vote, and free ones up to its overlap."""
    if not seats:
        return
    overlaps = {row.id: row.overlap for row in connection.execute(sa.select(t.items.c.id, t.items.c.overlap))}
    slots = []
    for item_id, task_ids in seats.items():
        free = [None] * max(0, overlaps[item_id] - len(task_ids))
        slots += [
            {
                "item_id": item_id,
                "number": number,
                "campaign_id": campaign.id,
                "reserved_for": "",
                "assignment_id": task_id,
                "is_done": task_id is not None,
            }
            for number, task_id in enumerate([*task_ids, *free])
        ]
    for item_id in seats:
        connection.execute(t.slots.delete().where(t.slots.c.item_id == item_id))
    connection.execute(t.slots.insert(), slots)
    mark_begun(connection, campaign, now())
