"""Give out tasks: leased slots, so that an item never has more raters than it is to have and none is forgotten.

A slot is taken by a task until its lease expires, and for good once the task is answered. Nothing sweeps: a slot whose
lease has run out is simply free for whoever asks next, and still its holder's until somebody does.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kleash.collection.assignment import Pick, Purpose, next_purpose, pick_item, pick_place, presented_order
from kleash.collection.campaign import Campaign
from kleash.collection.store import tables as t
from kleash.collection.store.campaigns import is_item, item_from_row, present_state
from kleash.collection.store.database import count
from kleash.collection.store.events import now
from kleash.collection.store.locks import lock_beginning, lock_rater, share_campaign
from kleash.collection.store.raters import Rater
from kleash.errors import DataError
from kleash.records import Comparison


@dataclass(frozen=True)
class Assignment:
    """One task given to one rater. id: the opaque token that stands for it in a browser."""

    id: str
    campaign_id: int
    item_id: str
    rater_id: int
    purpose: Purpose
    comparison: Comparison
    permutation: tuple[int, ...]
    is_answered: bool


def claim(
    connection: Connection, campaign: Campaign, rater: Rater, *, limit: int = 1, at: datetime | None = None
) -> list[Assignment]:
    """Return up to `limit` tasks for a rater: first those it holds already, unanswered, then fresh ones.

    Asking again renews the leases and returns the same tasks in the same order. Fewer than `limit` come back when
    there is nothing more to give; none from a campaign that is not open, or to a rater that was demoted.
    """
    at = at or now()
    _enter(connection, campaign, rater)
    if present_state(connection, campaign) != "open" or rater.demotion:
        return []
    held = [task for task in _unanswered(connection, campaign, rater) if _renew(connection, campaign, task, rater, at)]
    fresh: list[Assignment] = []
    while len(held) + len(fresh) < limit and (task := _give(connection, campaign, rater, at)) is not None:
        fresh.append(task)
    # Given at one time, they come back in the order of their tokens when they are asked for again.
    return [*held, *sorted(fresh, key=lambda task: task.id)][:limit]


def renew(connection: Connection, campaign: Campaign, rater: Rater, *, at: datetime | None = None) -> int:
    """Extend the leases of a rater who is still reading (a heartbeat); return how many tasks it still holds."""
    at = at or now()
    _enter(connection, campaign, rater)
    return sum(_renew(connection, campaign, task, rater, at) for task in _unanswered(connection, campaign, rater))


def assignment(connection: Connection, task_id: str, rater: Rater) -> Assignment:
    """Return a rater's task. Raises DataError for one that does not exist or is somebody else's: both look alike."""
    query = _TASKS.where(t.assignments.c.id == task_id, t.assignments.c.rater_id == rater.id)
    row = connection.execute(query).one_or_none() if task_id.isprintable() else None
    if row is None:
        raise DataError(
            f"There is no task {task_id[:40]!r} of yours. Expected one you were given. Ask for the next one."
        )
    return _assignment(row)


def last_answered(connection: Connection, campaign: Campaign, rater: Rater) -> Assignment | None:
    """Return the task a rater answered last, for taking the answer back."""
    latest = (
        sa.select(t.judgements.c.assignment_id)
        .where(t.judgements.c.campaign_id == campaign.id, t.judgements.c.rater_id == rater.id)
        .order_by(t.judgements.c.id.desc())
        .limit(1)
    )
    row = connection.execute(_TASKS.where(t.assignments.c.id == latest.scalar_subquery())).one_or_none()
    return _assignment(row) if row is not None else None


def num_answered(connection: Connection, campaign: Campaign, rater: Rater) -> int:
    """Count the tasks a rater has answered in a campaign, of whatever purpose; a ruling as adjudicator is none.

    All that a labeller may know of progress: a calibration item leaves the campaign's own where it was, and so would
    be known.
    """
    is_no_ruling = t.assignments.c.purpose != "adjudication"
    return count(connection, _is_of(campaign, rater), t.assignments.c.is_answered, is_no_ruling)


def open_adjudication(connection: Connection, campaign: Campaign, item_id: str, rater: Rater) -> Assignment:
    """Give an adjudicator the task of ruling on an item. Raises DataError if the campaign has no such item."""
    item = connection.execute(sa.select(t.items).where(is_item(campaign, item_id))).one_or_none()
    if item is None:
        raise DataError(f"Campaign {campaign.name!r} has no item {item_id}. Give the id of one of its items.")
    _enter(connection, campaign, rater)
    present = _TASKS.where(
        t.assignments.c.item_id == item.id,
        t.assignments.c.rater_id == rater.id,
        t.assignments.c.purpose == "adjudication",
    )
    row = connection.execute(present).one_or_none()
    return _assignment(row) if row is not None else _assign(connection, campaign, rater, item, "adjudication", now())


def _enter(connection: Connection, campaign: Campaign, rater: Rater) -> None:
    share_campaign(connection, campaign)
    lock_rater(connection, campaign, rater)


# ------------------------------------------------------------------------------------------------------------ leases
def _renew(connection: Connection, campaign: Campaign, task: Assignment, rater: Rater, at: datetime) -> bool:
    """Extend a task's lease; if its slot was lost, take another free one of the item. False if there is none."""
    if task.purpose != "vote":
        return True
    until = at + timedelta(minutes=campaign.settings.lease_minutes)
    own = sa.select(t.slots.c.number).where(t.slots.c.assignment_id == task.id, ~t.slots.c.is_done)
    # Skipped while somebody takes it, its lease having expired: it is lost then.
    is_own = t.slots.c.number == own.with_for_update(skip_locked=True).scalar_subquery()
    of_item = t.slots.c.item_id == int(task.item_id)
    if connection.execute(t.slots.update().where(of_item, is_own).values(expires_at=until)).rowcount:
        return True
    return take_slot(connection, task, kind=rater.kind, at=at, until=until)


def take_slot(
    connection: Connection, task: Assignment, *, kind: str, at: datetime, until: datetime | None, is_done: bool = False
) -> bool:
    """Put a task into a free slot of its item; False if there is none. until: None for a slot taken for good."""
    query = sa.select(t.slots.c.number).where(
        t.slots.c.item_id == int(task.item_id), is_free(at), t.slots.c.reserved_for.in_(("", kind))
    )
    query = query.order_by(t.slots.c.number).limit(1).with_for_update(skip_locked=True)
    number = connection.execute(query).scalar_one_or_none()
    if number is None:
        return False
    _occupy(connection, int(task.item_id), number, task.id, until=until, is_done=is_done)
    return True


def _occupy(
    connection: Connection, item_id: int, number: int, task_id: str, *, until: datetime | None, is_done: bool = False
) -> None:
    slot = (t.slots.c.item_id == item_id) & (t.slots.c.number == number)
    connection.execute(t.slots.update().where(slot).values(assignment_id=task_id, expires_at=until, is_done=is_done))


def is_free(at: datetime) -> sa.ColumnElement[bool]:
    """Return the condition under which a slot is to be had: nobody's, or of a task whose lease has run out."""
    return ~t.slots.c.is_done & (t.slots.c.assignment_id.is_(None) | (t.slots.c.expires_at < at))


# -------------------------------------------------------------------------------------------------------- fresh tasks
def _give(connection: Connection, campaign: Campaign, rater: Rater, at: datetime) -> Assignment | None:
    num_tasks = count(connection, _is_of(campaign, rater))
    vote = _waiting_slot(connection, campaign, rater, at)
    if vote is None:  # no gold and no repeat for their own sake: when the items are used up, the rater is done
        return None
    purpose = next_purpose(campaign.settings, seed=campaign.seed, rater=rater.name, num_tasks=num_tasks)
    if purpose == "gold" and (gold := _waiting_gold(connection, campaign, rater)) is not None:
        return _assign(connection, campaign, rater, gold, "gold", at)
    if purpose == "repeat" and (repeat := _waiting_repeat(connection, campaign, rater, num_tasks)) is not None:
        return _assign(connection, campaign, rater, repeat, "repeat", at, earlier=repeat.earlier)
    item, number = vote
    task = _assign(connection, campaign, rater, item, "vote", at)
    _occupy(connection, item.id, number, task.id, until=at + timedelta(minutes=campaign.settings.lease_minutes))
    return task


def _assign(
    connection: Connection,
    campaign: Campaign,
    rater: Rater,
    item: sa.Row[Any],
    purpose: Purpose,
    at: datetime,
    *,
    earlier: Sequence[int] | None = None,
) -> Assignment:
    permutation = presented_order(
        len(item.completions), seed=campaign.seed, rater=rater.name, item_id=item.id, earlier=earlier
    )
    values = {
        "id": secrets.token_urlsafe(16),
        "campaign_id": campaign.id,
        "item_id": item.id,
        "rater_id": rater.id,
        "purpose": purpose,
        "permutation": permutation,
        "created_at": at,
        "is_answered": False,
    }
    connection.execute(t.assignments.insert().values(values))
    comparison = item_from_row(item).comparison
    return Assignment(
        values["id"], campaign.id, str(item.id), rater.id, purpose, comparison, permutation, is_answered=False
    )


def _waiting_gold(connection: Connection, campaign: Campaign, rater: Rater) -> sa.Row[Any] | None:
    """Return a calibration item the rater has not had, in an order of the rater's own."""
    is_waiting = (
        (t.items.c.campaign_id == campaign.id) & t.items.c.is_gold & (t.items.c.hold == "") & _not_had_by(rater)
    )
    waiting = connection.execute(sa.select(t.items.c.id).where(is_waiting).order_by(t.items.c.id)).scalars().all()
    if not waiting:
        return None
    chosen = random.Random(f"{campaign.seed} gold {rater.name} {len(waiting)}").choice(waiting)
    return connection.execute(sa.select(t.items).where(t.items.c.id == chosen)).one()


def _waiting_repeat(connection: Connection, campaign: Campaign, rater: Rater, num_tasks: int) -> sa.Row[Any] | None:
    """Return the rater's oldest answered item that may be shown again, with the order of its first showing."""
    if num_tasks < campaign.settings.repeat_gap:
        return None
    mine = _is_of(campaign, rater)
    repeated = sa.select(t.assignments.c.item_id).where(mine, t.assignments.c.purpose == "repeat")
    recent = (
        sa.select(t.assignments.c.item_id)
        .where(mine)
        .order_by(t.assignments.c.created_at.desc(), t.assignments.c.id)
        .limit(campaign.settings.repeat_gap)
    )
    later = t.judgements.alias()
    is_in_force = ~sa.exists().where(later.c.supersedes == t.judgements.c.id)
    query = (
        sa.select(t.items, t.assignments.c.permutation.label("earlier"))
        .join(t.assignments, t.assignments.c.item_id == t.items.c.id)
        .join(t.judgements, t.judgements.c.assignment_id == t.assignments.c.id)
        .where(
            mine,
            t.assignments.c.purpose == "vote",
            t.judgements.c.outcome == "ranked",
            is_in_force,
            t.items.c.id.not_in(repeated),
            t.items.c.id.not_in(recent),
        )
        .order_by(t.assignments.c.created_at, t.assignments.c.id)
        .limit(1)
    )
    return connection.execute(query).first()


def _waiting_slot(
    connection: Connection, campaign: Campaign, rater: Rater, at: datetime
) -> tuple[sa.Row[Any], int] | None:
    """Find a free slot for the rater: items that were begun are finished first, then the policy begins another."""
    is_begun = (t.slots.c.campaign_id == campaign.id) & t.slots.c.begun_at.is_not(None)
    begun = _free_slot(connection, rater, at, is_begun)
    if begun is not None:
        return begun
    lock_beginning(connection, campaign)
    begun = _free_slot(connection, rater, at, is_begun)  # by whom we have just waited for
    if begun is not None:
        return begun
    chosen = _begin_item(connection, campaign, rater, at)
    return _free_slot(connection, rater, at, t.slots.c.item_id == chosen) if chosen is not None else None


def _free_slot(
    connection: Connection, rater: Rater, at: datetime, which: sa.ColumnElement[bool]
) -> tuple[sa.Row[Any], int] | None:
    query = (
        sa.select(t.items, t.slots.c.number)
        .join(t.slots, t.slots.c.item_id == t.items.c.id)
        .where(
            is_free(at), t.slots.c.reserved_for.in_(("", rater.kind)), t.items.c.hold == "", which, _not_had_by(rater)
        )
        .order_by(t.slots.c.begun_at, t.slots.c.item_id, t.slots.c.number)
        .limit(1)
        .with_for_update(of=t.slots, skip_locked=True)
    )
    row = connection.execute(query).first()
    return (row, row.number) if row is not None else None


def _begin_item(connection: Connection, campaign: Campaign, rater: Rater, at: datetime) -> int | None:
    """Have the sampling policy choose an item that nobody has had yet, and log how likely that was."""
    ours = (t.items.c.campaign_id == campaign.id) & ~t.items.c.is_gold & (t.items.c.hold == "")
    target = campaign.settings.target_items
    if target and count(connection, ours, t.items.c.begun_at.is_not(None)) >= target:
        return None
    waits = ours & t.items.c.begun_at.is_(None) & _not_had_by(rater)
    if campaign.settings.people_share:  # otherwise anybody may have any item
        is_for_rater = (t.slots.c.item_id == t.items.c.id) & (t.slots.c.reserved_for == rater.kind)
        waits &= sa.exists().where(is_for_rater)
    num_waiting = count(connection, waits)
    if num_waiting == 0:
        return None
    chance = random.Random(f"{campaign.seed} begin {num_waiting} {rater.name}")
    if campaign.settings.sampling == "random":  # of ten thousand items, only one is read
        index, propensity = pick_place(num_waiting, chance=chance)
        query = sa.select(t.items.c.id).where(waits).order_by(t.items.c.id).offset(index).limit(1)
        pick = Pick(connection.execute(query).scalar_one(), "control", propensity)
    else:
        waiting = connection.execute(sa.select(t.items.c.id, t.items.c.priority).where(waits)).all()
        pick = pick_item(dict(waiting), campaign.settings, chance=chance)
    values = {"begun_at": at, "arm": pick.arm, "propensity": pick.propensity}
    connection.execute(t.items.update().where(t.items.c.id == pick.item_id).values(values))
    connection.execute(t.slots.update().where(t.slots.c.item_id == pick.item_id).values(begun_at=at))
    return pick.item_id


def _is_of(campaign: Campaign, rater: Rater) -> sa.ColumnElement[bool]:
    return (t.assignments.c.campaign_id == campaign.id) & (t.assignments.c.rater_id == rater.id)


def _not_had_by(rater: Rater) -> sa.ColumnElement[bool]:
    return t.items.c.id.not_in(sa.select(t.assignments.c.item_id).where(t.assignments.c.rater_id == rater.id))


# -------------------------------------------------------------------------------------------------------------- rows
_TASKS = sa.select(
    t.assignments.c.id.label("task_id"),
    t.assignments.c.rater_id,
    t.assignments.c.purpose,
    t.assignments.c.permutation,
    t.assignments.c.is_answered,
    t.items,
).join(t.items, t.items.c.id == t.assignments.c.item_id)


def _unanswered(connection: Connection, campaign: Campaign, rater: Rater) -> list[Assignment]:
    query = _TASKS.where(
        _is_of(campaign, rater),
        ~t.assignments.c.is_answered,
        t.assignments.c.purpose != "adjudication",
        t.items.c.hold == "",
    ).order_by(t.assignments.c.created_at, t.assignments.c.id)
    return [_assignment(row) for row in connection.execute(query)]


def _assignment(row: sa.Row[Any]) -> Assignment:
    return Assignment(
        id=row.task_id,
        campaign_id=row.campaign_id,
        item_id=str(row.id),
        rater_id=row.rater_id,
        purpose=row.purpose,
        comparison=item_from_row(row).comparison,
        permutation=row.permutation,
        is_answered=row.is_answered,
    )
