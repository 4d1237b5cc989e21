"""Take a rater's judgement of a task in, and give judgements out. Append-only: a change of mind supersedes a row.

Judgements that were made elsewhere come in by `recording.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kleash.collection.assignment import wants_another_rater
from kleash.collection.campaign import Campaign
from kleash.collection.recorded import RecordedJudgement
from kleash.collection.store import tables as t
from kleash.collection.store.assignments import Assignment, take_slot
from kleash.collection.store.database import insert_row
from kleash.collection.store.events import log_event, now
from kleash.collection.store.locks import lock_item, lock_rater, share_campaign
from kleash.collection.store.raters import Rater, counts
from kleash.errors import DataError
from kleash.records import Judgement


@dataclass(frozen=True)
class Receipt:
    """What became of a submitted verdict. is_surplus: kept, but its item was full. is_again: it was here already."""

    judgement_id: int
    is_surplus: bool
    is_again: bool


def submit(
    connection: Connection,
    campaign: Campaign,
    task: Assignment,
    rater: Rater,
    judgement: Judgement,
    *,
    client_key: str,
    skip_reason: str = "",
    at: datetime | None = None,
) -> Receipt:
    """Store a judgement on a task. The same client key again stores nothing; another one supersedes the earlier one.

    judgement: fits the task's answers, as `tasks.py` and `recording.py` saw to.
    Nothing is refused for being late: a judgement whose slot went to somebody else is kept as surplus.
    Raises DataError for a key that no database keeps.
    """
    at = at or now()
    if not client_key or len(client_key) > 80 or not client_key.isprintable():
        raise DataError(
            f"The client key {client_key[:100]!r} cannot be kept. Expected 1 to 80 printable characters. "
            "Send a key that was drawn for this verdict."
        )
    share_campaign(connection, campaign)
    lock_rater(connection, campaign, rater)
    lock_item(connection, int(task.item_id))
    mine = t.judgements.c.assignment_id == task.id
    earlier = connection.execute(sa.select(t.judgements).where(mine).order_by(t.judgements.c.id)).all()
    for row in earlier:
        if row.client_key == client_key:
            return Receipt(row.id, row.is_surplus, is_again=True)
    is_surplus = task.purpose == "vote" and not _seat(connection, task, judgement, kind=rater.kind, at=at)
    values = {
        "campaign_id": campaign.id,
        "item_id": int(task.item_id),
        "rater_id": rater.id,
        "assignment_id": task.id,
        "client_key": client_key,
        "supersedes": earlier[-1].id if earlier else None,
        "is_surplus": is_surplus,
        "given_at": at,
        **judgement_columns(judgement, skip_reason=skip_reason),
    }
    judgement_id = insert_row(connection, t.judgements, **values)
    connection.execute(t.assignments.update().where(t.assignments.c.id == task.id).values(is_answered=True))
    if earlier:
        log_event(
            connection,
            rater.name,
            "verdict changed",
            task.item_id,
            campaign.id,
            before={"outcome": earlier[-1].outcome, "ranks": earlier[-1].ranks},
            after={"outcome": judgement.outcome, "ranks": list(judgement.ranks)},
        )
    if task.purpose == "vote":
        widen_where_raters_disagree(connection, campaign, int(task.item_id))
    return Receipt(judgement_id, is_surplus, is_again=False)


def judgements_in_force(
    connection: Connection, campaign: Campaign, *, includes_demoted: bool = False
) -> list[RecordedJudgement]:
    """Return every judgement in force, in the order they were given; without what demotions took out unless asked.

    Outages that earlier versions recorded as skipped are none.
    """
    query = _IN_FORCE.where(t.judgements.c.campaign_id == campaign.id).order_by(t.judgements.c.id)
    if not includes_demoted:
        query = query.where(counts(connection))
    recorded = [_recorded(row) for row in connection.execute(query)]
    return [entry for entry in recorded if not entry.judgement.is_unanswered]


def judgement_in_force(connection: Connection, task: Assignment) -> RecordedJudgement | None:
    """Return what a rater last said about a task."""
    row = connection.execute(_IN_FORCE.where(t.judgements.c.assignment_id == task.id)).one_or_none()
    return _recorded(row) if row is not None else None


def earlier_judgements(connection: Connection, judgement_id: str) -> list[RecordedJudgement]:
    """Return what a rater had said before on the same task, the first verdict first."""
    task = sa.select(t.judgements.c.assignment_id).where(t.judgements.c.id == int(judgement_id)).scalar_subquery()
    query = _JUDGEMENTS.where(t.judgements.c.assignment_id == task, t.judgements.c.id < int(judgement_id))
    return [_recorded(row) for row in connection.execute(query.order_by(t.judgements.c.id))]


def record_export(
    connection: Connection, campaign: Campaign, *, artifact_id: str, path: str, judgement_ids: Iterable[str], actor: str
) -> None:
    """Remember which judgements went into a frozen artifact, for lineage."""
    values = {"campaign_id": campaign.id, "artifact_id": artifact_id, "path": path, "made_at": now()}
    export_id = insert_row(connection, t.exports, **values)
    rows = [{"export_id": export_id, "judgement_id": int(judgement_id)} for judgement_id in judgement_ids]
    if rows:
        connection.execute(t.exported_judgements.insert(), rows)
    log_event(connection, actor, "exported", artifact_id, campaign.id, after={"path": path, "judgements": len(rows)})


def exports_of(connection: Connection, judgement_id: str) -> list[tuple[str, str]]:
    """Return (artifact id, path) of every artifact a judgement went into."""
    query = (
        sa.select(t.exports.c.artifact_id, t.exports.c.path)
        .join(t.exported_judgements, t.exported_judgements.c.export_id == t.exports.c.id)
        .where(t.exported_judgements.c.judgement_id == int(judgement_id))
        .order_by(t.exports.c.id)
    )
    return [(row.artifact_id, row.path) for row in connection.execute(query)]


# ------------------------------------------------------------------------------------------------------------- seats
def _seat(connection: Connection, task: Assignment, judgement: Judgement, *, kind: str, at: datetime) -> bool:
    """Fill the task's slot, or another free one of its item; a skip gives it back. False if the item is full."""
    own = t.slots.c.assignment_id == task.id
    if judgement.outcome == "skipped":
        connection.execute(t.slots.update().where(own).values(assignment_id=None, expires_at=None, is_done=False))
        return True
    if connection.execute(t.slots.update().where(own).values(is_done=True, expires_at=None)).rowcount:
        return True
    return take_slot(connection, task, kind=kind, at=at, until=None, is_done=True)


def widen_where_raters_disagree(connection: Connection, campaign: Campaign, item_id: int) -> None:
    """Give an item one slot more if all are filled, its raters disagree and the campaign has room for another."""
    if not campaign.settings.max_overlap:
        return
    slots = connection.execute(sa.select(t.slots).where(t.slots.c.item_id == item_id)).all()
    if not all(slot.is_done for slot in slots):
        return
    votes = [_recorded(row) for row in connection.execute(_IN_FORCE.where(t.judgements.c.item_id == item_id))]
    verdicts = [vote.judgement for vote in votes if vote.is_vote]
    if wants_another_rater(verdicts, campaign.settings, overlap=len(slots)):
        connection.execute(
            t.slots.insert().values(
                item_id=item_id,
                number=len(slots),
                campaign_id=campaign.id,
                reserved_for="",
                is_done=False,
                begun_at=slots[0].begun_at,
            )
        )
        connection.execute(t.items.update().where(t.items.c.id == item_id).values(overlap=len(slots) + 1))


# -------------------------------------------------------------------------------------------------------------- rows
_LATER = t.judgements.alias("later")
_JUDGEMENTS = (
    sa.select(
        t.judgements,
        t.raters.c.name.label("rater"),
        t.raters.c.kind.label("rater_kind"),
        t.assignments.c.purpose,
        t.items.c.comparison_id,
    )
    .join(t.raters, t.raters.c.id == t.judgements.c.rater_id)
    .join(t.assignments, t.assignments.c.id == t.judgements.c.assignment_id)
    .join(t.items, t.items.c.id == t.judgements.c.item_id)
)
_IN_FORCE = _JUDGEMENTS.where(~sa.exists().where(_LATER.c.supersedes == t.judgements.c.id))


_WHOSE = ("comparison_id", "rater", "rater_kind")
_SAID = tuple(field.name for field in fields(Judgement) if field.name not in _WHOSE)


def judgement_columns(judgement: Judgement, *, skip_reason: str = "") -> dict[str, Any]:
    """Return what a judgement says as columns of the judgements table."""
    return {"skip_reason": skip_reason, **{name: getattr(judgement, name) for name in _SAID}}


def _recorded(row: sa.Row[Any]) -> RecordedJudgement:
    return RecordedJudgement(
        id=str(row.id),
        item_id=str(row.item_id),
        judgement=Judgement(**{name: getattr(row, name) for name in (*_WHOSE, *_SAID)}),
        given_at=row.given_at,
        is_repeat=row.purpose == "repeat",
        is_surplus=row.is_surplus,
        is_adjudication=row.purpose == "adjudication",
        skip_reason=row.skip_reason,
    )
