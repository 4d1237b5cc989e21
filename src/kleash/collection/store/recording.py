"""Store judgements that were made elsewhere: by programs, in a file, or in another database that was exported.

Here they are held against the comparisons they speak of; a page's verdicts are checked where their places are turned,
in `tasks.py`.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kleash.collection.assignment import Purpose
from kleash.collection.campaign import Campaign
from kleash.collection.recorded import RecordedJudgement
from kleash.collection.store import tables as t
from kleash.collection.store.assignments import assignment, is_free
from kleash.collection.store.events import log_event, now
from kleash.collection.store.judgements import judgement_columns, submit, widen_where_raters_disagree
from kleash.collection.store.locks import lock_campaign
from kleash.collection.store.raters import Rater, rater_named
from kleash.errors import DataError
from kleash.records import UNANSWERED, Judgement

_RECORDED, _RESTORED, _ASKED_AGAIN = "recorded", "restored", "asked again"


def record(
    connection: Connection, campaign: Campaign, judgements: Iterable[Judgement], *, at: datetime | None = None
) -> int:
    """Store judgements that were made elsewhere (simulated labellers, AI judges, a file); return how many were added.

    A rater's judgement of an item it has judged already is not stored again, so that a killed run just records anew;
    a task that the rater holds is answered by it. Outages are not stored; one that an earlier version stored gives way.
    Raises DataError for a judgement of a comparison that is not in the campaign, or that does not fit its answers.
    """
    at = at or now()
    named = [replace(each, rubric_version=each.rubric_version or campaign.rubric_version) for each in judgements]
    named = [judgement for judgement in named if not judgement.is_unanswered]
    lock_campaign(connection, campaign)
    items = _items_by_comparison(connection, campaign)
    for judgement in named:
        if judgement.comparison_id not in items:
            raise DataError(
                f"Comparison {judgement.comparison_id} is not in campaign {campaign.name!r}. "
                "A judgement needs its comparison. Add the comparison first."
            )
        _check(judgement, len(items[judgement.comparison_id].completions))
    raters = _raters_by_name(connection, named)
    tasks, outages = _tasks_by_item_and_rater(connection, campaign), _outages(connection, campaign)
    fresh: list[tuple[sa.Row[Any], Rater, Judgement]] = []
    num_answered = 0
    for judgement in named:
        item, rater = items[judgement.comparison_id], raters[judgement.rater]
        place = (item.id, rater.id)
        task_id = tasks.get(place)
        if task_id is None:
            fresh.append((item, rater, judgement))
        elif task_id := task_id or outages.pop(place, ""):
            task = assignment(connection, task_id, rater)
            key = _RECORDED if tasks[place] else _ASKED_AGAIN
            submit(connection, campaign, task, rater, judgement, client_key=key, at=at)
            num_answered += 1
        tasks[item.id, rater.id] = ""
    _record_fresh(connection, campaign, fresh, at)
    return num_answered + len(fresh)


def restore(connection: Connection, campaign: Campaign, recorded: Sequence[RecordedJudgement], *, actor: str) -> int:
    """Store an export's judgements as they are in a campaign that has none yet; return their number.

    recorded: their ids say nothing here.  Each counted vote gets a slot; an item gets as many as it needs.
    Raises DataError for a judgement of a comparison that is not in the campaign, that does not fit its answers, or
    that is its rater's second one of an item for the same purpose.
    """
    lock_campaign(connection, campaign)
    items = _items_by_comparison(connection, campaign)
    raters = _raters_by_name(connection, [entry.judgement for entry in recorded])
    seen: set[tuple[int, str, Purpose]] = set()
    votes_of: dict[int, list[str]] = defaultdict(list)
    rows = _Rows()
    for entry in recorded:
        judgement = entry.judgement
        item = items.get(judgement.comparison_id)
        purpose = _purpose(entry, is_gold=item is not None and item.is_gold)
        if item is None or (item.id, judgement.rater, purpose) in seen:
            trouble = "is not in the campaign" if item is None else "has two verdicts of one rater"
            raise DataError(
                f"Comparison {judgement.comparison_id}, judged by {judgement.rater!r}, {trouble}. Expected the files "
                "of one export, unchanged. Export the campaign again."
            )
        _check(judgement, len(item.completions))
        seen.add((item.id, judgement.rater, purpose))
        circumstances = {"is_surplus": entry.is_surplus, "given_at": entry.given_at, "skip_reason": entry.skip_reason}
        task_id = rows.add(
            campaign, item, raters[judgement.rater], judgement, purpose, client_key=_RESTORED, **circumstances
        )
        if purpose == "vote" and entry.is_vote:
            votes_of[item.id].append(task_id)
    rows.insert(connection)
    _fill_restored_slots(connection, campaign, votes_of)
    log_event(connection, actor, "restored", campaign.name, campaign.id, after={"ballots": len(recorded)})
    return len(recorded)


# ---------------------------------------------------------------------------------------------------------------- slots
def _tasks_by_item_and_rater(connection: Connection, campaign: Campaign) -> dict[tuple[int, int], str]:
    """Return the task of each item and rater in a campaign; empty for one that is answered."""
    query = sa.select(t.assignments).where(
        t.assignments.c.campaign_id == campaign.id, t.assignments.c.purpose.in_(("vote", "gold"))
    )
    return {(row.item_id, row.rater_id): "" if row.is_answered else row.id for row in connection.execute(query)}


def _outages(connection: Connection, campaign: Campaign) -> dict[tuple[int, int], str]:
    """Return the tasks on which the last thing recorded is that an endpoint gave no answer."""
    last: dict[str, sa.Row[Any]] = {}
    query = sa.select(t.judgements).where(t.judgements.c.campaign_id == campaign.id).order_by(t.judgements.c.id)
    for row in connection.execute(query):
        last[row.assignment_id] = row
    return {
        (row.item_id, row.rater_id): task_id
        for task_id, row in last.items()
        if row.outcome == "skipped" and set(UNANSWERED) & set(row.flags)
    }


def _record_fresh(
    connection: Connection, campaign: Campaign, fresh: Sequence[tuple[sa.Row[Any], Rater, Judgement]], at: datetime
) -> None:
    """Store judgements for which there was no task, each in a free slot of its item or as surplus."""
    if not fresh:
        return
    free = _free_slots(connection, campaign, at)
    rows = _Rows()
    taken: list[dict[str, Any]] = []
    for item, rater, judgement in fresh:
        needs_slot = judgement.outcome != "skipped" and not item.is_gold
        slot = _take_free(free[item.id], rater.kind) if needs_slot else None
        circumstances = {"is_surplus": needs_slot and slot is None, "given_at": at}
        purpose: Purpose = "gold" if item.is_gold else "vote"
        task_id = rows.add(campaign, item, rater, judgement, purpose, client_key=_RECORDED, **circumstances)
        if slot is not None:
            taken.append({"its_item": item.id, "its_number": slot, "its_task": task_id})
    rows.insert(connection)
    if taken:
        _fill_slots(connection, campaign, taken, at)


def _fill_slots(connection: Connection, campaign: Campaign, taken: Sequence[dict[str, Any]], at: datetime) -> None:
    index = (t.slots.c.item_id == sa.bindparam("its_item")) & (t.slots.c.number == sa.bindparam("its_number"))
    occupied = t.slots.update().where(index)
    occupied = occupied.values(assignment_id=sa.bindparam("its_task"), expires_at=None, is_done=True)
    connection.execute(occupied, taken)
    _mark_begun(connection, campaign, at)
    for item_id in sorted({row["its_item"] for row in taken}):
        widen_where_raters_disagree(connection, campaign, item_id)


def _mark_begun(connection: Connection, campaign: Campaign, at: datetime) -> None:
    """Mark the items that have a judgement in a slot as begun, so that claims finish them before they begin others."""
    judged = sa.select(t.slots.c.item_id).where(t.slots.c.campaign_id == campaign.id, t.slots.c.is_done)
    for table, key in [(t.slots, t.slots.c.item_id), (t.items, t.items.c.id)]:
        connection.execute(table.update().where(key.in_(judged), table.c.begun_at.is_(None)).values(begun_at=at))


def _free_slots(connection: Connection, campaign: Campaign, at: datetime) -> dict[int, list[tuple[int, str]]]:
    """Return each item's free slots as (number, for whom)."""
    query = sa.select(t.slots).where(t.slots.c.campaign_id == campaign.id, is_free(at))
    free: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for row in connection.execute(query.order_by(t.slots.c.item_id, t.slots.c.number)):
        free[row.item_id].append((row.number, row.reserved_for))
    return free


def _take_free(slots: list[tuple[int, str]], kind: str) -> int | None:
    # Simulated labellers stand in for people, also in the places kept for them.
    own = ("", "person", kind) if kind == "simulated" else ("", kind)
    for position, (number, reserved_for) in enumerate(slots):
        if reserved_for in own:
            del slots[position]
            return number
    return None


def _fill_restored_slots(connection: Connection, campaign: Campaign, votes_of: Mapping[int, Sequence[str]]) -> None:
    """Replace the slots of each judged item: one per vote, and free ones up to its overlap."""
    if not votes_of:
        return
    overlaps = {row.id: row.overlap for row in connection.execute(sa.select(t.items.c.id, t.items.c.overlap))}
    slots = []
    for item_id, task_ids in votes_of.items():
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
    for item_id in votes_of:
        connection.execute(t.slots.delete().where(t.slots.c.item_id == item_id))
    connection.execute(t.slots.insert(), slots)
    _mark_begun(connection, campaign, now())


# -------------------------------------------------------------------------------------------------------------- rows
@dataclass(frozen=True)
class _Rows:
    """Judgements on their way into the database, each with a task of its own that it answers."""

    tasks: list[dict[str, Any]] = field(default_factory=list)
    judgements: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self,
        campaign: Campaign,
        item: sa.Row[Any],
        rater: Rater,
        judgement: Judgement,
        purpose: Purpose,
        **circumstances: Any,
    ) -> str:
        """Add a judgement and return the id of its task. circumstances: the columns of what it does not say itself."""
        task_id = secrets.token_urlsafe(16)
        shared = {"campaign_id": campaign.id, "item_id": item.id, "rater_id": rater.id}
        task = {"purpose": purpose, "permutation": judgement.permutation, "created_at": circumstances["given_at"]}
        self.tasks.append({**shared, **task, "id": task_id, "is_answered": True})
        self.judgements.append({**shared, "assignment_id": task_id, **judgement_columns(judgement), **circumstances})
        return task_id

    def insert(self, connection: Connection) -> None:
        if self.tasks:
            connection.execute(t.assignments.insert(), self.tasks)
            connection.execute(t.judgements.insert(), self.judgements)


def _items_by_comparison(connection: Connection, campaign: Campaign) -> dict[str, sa.Row[Any]]:
    query = sa.select(t.items).where(t.items.c.campaign_id == campaign.id)
    return {row.comparison_id: row for row in connection.execute(query)}


def _raters_by_name(connection: Connection, judgements: Iterable[Judgement]) -> dict[str, Rater]:
    # In order of name, as everybody does who adds several: no two processes wait for each other's.
    names = sorted({(judgement.rater, judgement.rater_kind) for judgement in judgements})
    return {name: rater_named(connection, name, kind) for name, kind in names}


def _purpose(entry: RecordedJudgement, *, is_gold: bool) -> Purpose:
    if entry.is_repeat:
        return "repeat"
    return "adjudication" if entry.is_adjudication else "gold" if is_gold else "vote"


def _check(judgement: Judgement, num_completions: int) -> None:
    """Raise DataError for ranks that do not fit the number of answers, or a rubric version no database keeps."""
    for name, ranks in {"ranks": judgement.ranks, **judgement.aspects}.items():
        fits = len(ranks) == num_completions and all(1 <= rank <= num_completions for rank in ranks)
        if not fits and (name != "ranks" or judgement.outcome == "ranked"):
            raise DataError(
                f"{name} is {list(ranks)[:20]} for {num_completions} answers. Expected one rank for each, 1 = best, "
                f"at most {num_completions}. Rank all answers; equal ranks are ties."
            )
    if len(judgement.rubric_version) > 64 or not judgement.rubric_version.isprintable():
        raise DataError(
            f"The rubric version {judgement.rubric_version[:80]!r} cannot be kept. Expected at most 64 printable "
            "characters. Leave it out for the present one."
        )
    if judgement.outcome != "ranked" and judgement.ranks:
        raise DataError(f"A verdict of {judgement.outcome} has ranks {list(judgement.ranks)[:20]}. Leave them out.")
