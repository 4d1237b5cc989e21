"""Take judgements in and give them out as ballots. Append-only: a change of mind is a row that supersedes another."""

from __future__ import annotations

import dataclasses
import secrets
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kleash.collection.assignment import Purpose, wants_another_rater
from kleash.collection.campaign import Campaign
from kleash.collection.recorded import RecordedJudgement
from kleash.collection.store import tables as t
from kleash.collection.store.assignments import Assignment, assignment, take_slot
from kleash.collection.store.database import insert_row
from kleash.collection.store.events import log_event, now
from kleash.collection.store.locks import lock_campaign, lock_item, lock_rater, share_campaign
from kleash.collection.store.raters import Rater, counts, rater_named
from kleash.errors import DataError
from kleash.records import Judgement, Outcome, Strength


@dataclass(frozen=True)
class NewJudgement:
    """What a rater says about a task, in the comparison's own order (the store knows what was shown where)."""

    outcome: Outcome
    ranks: tuple[int, ...] = ()
    strength: Strength | None = None
    aspects: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    rationale: str = ""
    skip_reason: str = ""
    seconds: float | None = None
    rubric_version: str = ""


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
    verdict: NewJudgement,
    *,
    client_key: str,
    at: datetime | None = None,
) -> Receipt:
    """Store a verdict on a task. The same client key again stores nothing; another one supersedes the earlier verdict.

    Nothing is refused for being late: a verdict whose slot went to somebody else is kept as surplus.
    Raises DataError for ranks that do not fit the number of answers, or a key or rubric version that no database keeps.
    """
    at = at or now()
    if not client_key or len(client_key) > 80 or not client_key.isprintable():
        raise DataError(
            f"The client key {client_key[:100]!r} cannot be kept. Expected 1 to 80 printable characters. "
            "Send a key that was drawn for this verdict."
        )
    check_verdict(verdict, len(task.comparison.completions))
    share_campaign(connection, campaign)
    lock_rater(connection, campaign, rater)
    lock_item(connection, int(task.item_id))
    mine = t.judgements.c.assignment_id == task.id
    earlier = connection.execute(sa.select(t.judgements).where(mine).order_by(t.judgements.c.id)).all()
    for row in earlier:
        if row.client_key == client_key:
            return Receipt(row.id, row.is_surplus, is_again=True)
    is_surplus = task.purpose == "vote" and not _seat(connection, task, verdict, kind=rater.kind, at=at)
    values = {
        "campaign_id": campaign.id,
        "item_id": int(task.item_id),
        "rater_id": rater.id,
        "assignment_id": task.id,
        "client_key": client_key,
        "supersedes": earlier[-1].id if earlier else None,
        "permutation": list(task.permutation),
        "is_surplus": is_surplus,
        "given_at": at,
        **verdict_columns(verdict),
    }
    judgement_id = insert_row(connection, t.judgements, **values)
    connection.execute(t.assignments.update().where(t.assignments.c.id == task.id).values(is_answered=True))
    if earlier:
        log_event(
            connection,
            "verdict changed",
            actor=rater.name,
            campaign_id=campaign.id,
            subject=task.item_id,
            before={"outcome": earlier[-1].outcome, "ranks": earlier[-1].ranks},
            after={"outcome": verdict.outcome, "ranks": list(verdict.ranks)},
        )
    if task.purpose == "vote":
        _widen_where_raters_disagree(connection, campaign, int(task.item_id))
    return Receipt(judgement_id, is_surplus, is_again=False)


def record(
    connection: Connection, campaign: Campaign, judgements: Iterable[Judgement], *, at: datetime | None = None
) -> int:
    """Store judgements that were made elsewhere (simulated labellers, AI judges, a file); return how many were added.

    A rater's judgement of an item it has judged already is not stored again, so that a killed run just records anew;
    a task that the rater holds is answered by it.
    Raises DataError for a judgement of a comparison that is not in the campaign.
    """
    at = at or now()
    given = list(judgements)
    lock_campaign(connection, campaign)
    query = sa.select(t.items).where(t.items.c.campaign_id == campaign.id)
    items: dict[str, sa.Row[Any]] = {row.comparison_id: row for row in connection.execute(query)}
    for judgement in given:
        if judgement.comparison_id not in items:
            raise DataError(
                f"Comparison {judgement.comparison_id} is not in campaign {campaign.name!r}. "
                "A judgement needs its comparison. Add the comparison first."
            )
        check_verdict(verdict_of(judgement, campaign), len(items[judgement.comparison_id].completions))
    # In order of name, as everybody does who adds several: no two processes wait for each other's.
    names = sorted({(judgement.rater, judgement.rater_kind) for judgement in given})
    raters = {name: rater_named(connection, name, kind) for name, kind in names}
    tasks = _tasks_by_item_and_rater(connection, campaign)
    fresh: list[tuple[sa.Row[Any], Rater, Judgement]] = []
    num_answered = 0
    for judgement in given:
        item, rater = items[judgement.comparison_id], raters[judgement.rater]
        task_id = tasks.get((item.id, rater.id))
        if task_id is None:
            fresh.append((item, rater, judgement))
        elif task_id:
            task = dataclasses.replace(assignment(connection, task_id, rater), permutation=judgement.permutation)
            verdict = verdict_of(judgement, campaign)
            submit(connection, campaign, task, rater, verdict, client_key=_RECORDED, at=at)
            num_answered += 1
        tasks[item.id, rater.id] = ""
    _record_fresh(connection, campaign, fresh, at)
    return num_answered + len(fresh)


def ballots(connection: Connection, campaign: Campaign, *, includes_demoted: bool = False) -> list[RecordedJudgement]:
    """Return every judgement in force, in the order they were given; without what demotions took out unless asked."""
    query = _IN_FORCE.where(t.judgements.c.campaign_id == campaign.id).order_by(t.judgements.c.id)
    if not includes_demoted:
        query = query.where(counts(connection))
    return [_ballot(row) for row in connection.execute(query)]


def judgement_in_force(connection: Connection, task: Assignment) -> RecordedJudgement | None:
    """Return what a rater last said about a task."""
    row = connection.execute(_IN_FORCE.where(t.judgements.c.assignment_id == task.id)).one_or_none()
    return _ballot(row) if row is not None else None


def earlier_verdicts(connection: Connection, ballot_id: str) -> list[RecordedJudgement]:
    """Return what a rater had said before on the same task, the first verdict first."""
    task = sa.select(t.judgements.c.assignment_id).where(t.judgements.c.id == int(ballot_id)).scalar_subquery()
    query = _JUDGEMENTS.where(t.judgements.c.assignment_id == task, t.judgements.c.id < int(ballot_id))
    return [_ballot(row) for row in connection.execute(query.order_by(t.judgements.c.id))]


def record_export(
    connection: Connection, campaign: Campaign, *, artifact_id: str, path: str, ballot_ids: Iterable[str], actor: str
) -> None:
    """Remember which judgements went into a frozen artifact, for lineage."""
    values = {"campaign_id": campaign.id, "artifact_id": artifact_id, "path": path, "made_at": now()}
    export_id = insert_row(connection, t.exports, **values)
    rows = [{"export_id": export_id, "judgement_id": int(ballot_id)} for ballot_id in ballot_ids]
    if rows:
        connection.execute(t.exported_judgements.insert(), rows)
    log_event(
        connection,
        "exported",
        actor=actor,
        campaign_id=campaign.id,
        subject=artifact_id,
        after={"path": path, "judgements": len(rows)},
    )


def exports_of(connection: Connection, ballot_id: str) -> list[tuple[str, str]]:
    """Return (artifact id, path) of every artifact a judgement went into."""
    query = (
        sa.select(t.exports.c.artifact_id, t.exports.c.path)
        .join(t.exported_judgements, t.exported_judgements.c.export_id == t.exports.c.id)
        .where(t.exported_judgements.c.judgement_id == int(ballot_id))
        .order_by(t.exports.c.id)
    )
    return [(row.artifact_id, row.path) for row in connection.execute(query)]


# --------------------------------------------------------------------------------------------------------- recording
_RECORDED = "recorded"


def _tasks_by_item_and_rater(connection: Connection, campaign: Campaign) -> dict[tuple[int, int], str]:
    """Return the task of each item and rater in a campaign; empty for one that is answered."""
    query = sa.select(t.assignments).where(
        t.assignments.c.campaign_id == campaign.id, t.assignments.c.purpose.in_(("vote", "gold"))
    )
    return {(row.item_id, row.rater_id): "" if row.is_answered else row.id for row in connection.execute(query)}


def _record_fresh(
    connection: Connection, campaign: Campaign, fresh: Sequence[tuple[sa.Row[Any], Rater, Judgement]], at: datetime
) -> None:
    """Store judgements for which there was no task, each in a free slot of its item or as surplus."""
    if not fresh:
        return
    free = _free_slots(connection, campaign, at)
    tasks: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    taken: list[dict[str, Any]] = []
    for item, rater, judgement in fresh:
        task_id = secrets.token_urlsafe(16)
        needs_slot = judgement.outcome != "skipped" and not item.is_gold
        slot = _take_free(free[item.id], rater.kind) if needs_slot else None
        if slot is not None:
            taken.append({"its_item": item.id, "its_number": slot, "its_task": task_id})
        shared = {
            "campaign_id": campaign.id,
            "item_id": item.id,
            "rater_id": rater.id,
            "permutation": list(judgement.permutation),
        }
        purpose: Purpose = "gold" if item.is_gold else "vote"
        tasks.append({**shared, "id": task_id, "purpose": purpose, "created_at": at, "is_answered": True})
        rows.append(
            {
                **shared,
                "assignment_id": task_id,
                "client_key": _RECORDED,
                "is_surplus": needs_slot and slot is None,
                "given_at": at,
                **verdict_columns(verdict_of(judgement, campaign)),
            }
        )
    connection.execute(t.assignments.insert(), tasks)
    connection.execute(t.judgements.insert(), rows)
    if taken:
        _fill_slots(connection, campaign, taken, at)


def _fill_slots(connection: Connection, campaign: Campaign, taken: Sequence[dict[str, Any]], at: datetime) -> None:
    index = (t.slots.c.item_id == sa.bindparam("its_item")) & (t.slots.c.number == sa.bindparam("its_number"))
    occupied = t.slots.update().where(index)
    occupied = occupied.values(assignment_id=sa.bindparam("its_task"), expires_at=None, is_done=True)
    connection.execute(occupied, taken)
    mark_begun(connection, campaign, at)
    for item_id in sorted({row["its_item"] for row in taken}):
        _widen_where_raters_disagree(connection, campaign, item_id)


def mark_begun(connection: Connection, campaign: Campaign, at: datetime) -> None:
    """Mark the items that have a judgement in a slot as begun, so that claims finish them before they begin others."""
    judged = sa.select(t.slots.c.item_id).where(t.slots.c.campaign_id == campaign.id, t.slots.c.is_done)
    for table, key in [(t.slots, t.slots.c.item_id), (t.items, t.items.c.id)]:
        connection.execute(table.update().where(key.in_(judged), table.c.begun_at.is_(None)).values(begun_at=at))


# ------------------------------------------------------------------------------------------------------------- seats
def _seat(connection: Connection, task: Assignment, verdict: NewJudgement, *, kind: str, at: datetime) -> bool:
    """Fill the task's slot, or another free one of its item; a skip gives it back. False if the item is full."""
    own = t.slots.c.assignment_id == task.id
    if verdict.outcome == "skipped":
        connection.execute(t.slots.update().where(own).values(assignment_id=None, expires_at=None, is_done=False))
        return True
    if connection.execute(t.slots.update().where(own).values(is_done=True, expires_at=None)).rowcount:
        return True
    return take_slot(connection, task, kind=kind, at=at, until=None, is_done=True)


def _widen_where_raters_disagree(connection: Connection, campaign: Campaign, item_id: int) -> None:
    if not campaign.settings.max_overlap:
        return
    slots = connection.execute(sa.select(t.slots).where(t.slots.c.item_id == item_id)).all()
    if not all(slot.is_done for slot in slots):
        return
    votes = [_ballot(row) for row in connection.execute(_IN_FORCE.where(t.judgements.c.item_id == item_id))]
    verdicts = [ballot.judgement for ballot in votes if ballot.is_vote]
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


def _free_slots(connection: Connection, campaign: Campaign, at: datetime) -> dict[int, list[tuple[int, str]]]:
    """Return each item's free slots as (number, for whom)."""
    is_free = ~t.slots.c.is_done & (t.slots.c.assignment_id.is_(None) | (t.slots.c.expires_at < at))
    query = sa.select(t.slots).where(t.slots.c.campaign_id == campaign.id, is_free)
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


def check_verdict(verdict: NewJudgement, num_completions: int) -> None:
    """Raise DataError for ranks that do not fit the number of answers, or a rubric version no database keeps."""
    for name, ranks in {"ranks": verdict.ranks, **verdict.aspects}.items():
        fits = len(ranks) == num_completions and all(1 <= rank <= num_completions for rank in ranks)
        if not fits and (name != "ranks" or verdict.outcome == "ranked"):
            raise DataError(
                f"{name} is {list(ranks)[:20]} for {num_completions} answers. Expected one rank for each, 1 = best, "
                f"at most {num_completions}. Rank all answers; equal ranks are ties."
            )
    if len(verdict.rubric_version) > 64 or not verdict.rubric_version.isprintable():
        raise DataError(
            f"The rubric version {verdict.rubric_version[:80]!r} cannot be kept. Expected at most 64 printable "
            "characters. Leave it out for the present one."
        )
    if verdict.outcome != "ranked" and verdict.ranks:
        raise DataError(f"A verdict of {verdict.outcome} has ranks {list(verdict.ranks)[:20]}. Leave them out.")


def verdict_of(judgement: Judgement, campaign: Campaign) -> NewJudgement:
    """Return what a judgement says, under the campaign's present rubric unless it names one."""
    return NewJudgement(
        outcome=judgement.outcome,
        ranks=judgement.ranks,
        strength=judgement.strength,
        aspects=judgement.aspects,
        flags=judgement.flags,
        rationale=judgement.rationale,
        seconds=judgement.seconds,
        rubric_version=judgement.rubric_version or campaign.rubric_version,
    )


def verdict_columns(verdict: NewJudgement) -> dict[str, Any]:
    """Return a verdict as columns of the judgements table."""
    return {
        "outcome": verdict.outcome,
        "ranks": list(verdict.ranks),
        "strength": verdict.strength,
        "aspects": {name: list(ranks) for name, ranks in verdict.aspects.items()},
        "flags": list(verdict.flags),
        "rationale": verdict.rationale,
        "skip_reason": verdict.skip_reason,
        "rubric_version": verdict.rubric_version,
        "seconds": verdict.seconds,
    }


def _ballot(row: sa.Row[Any]) -> RecordedJudgement:
    return RecordedJudgement(
        id=str(row.id),
        item_id=str(row.item_id),
        judgement=Judgement(
            comparison_id=row.comparison_id,
            rater=row.rater,
            rater_kind=row.rater_kind,
            permutation=tuple(row.permutation),
            outcome=row.outcome,
            ranks=tuple(row.ranks),
            strength=row.strength,
            aspects={name: tuple(ranks) for name, ranks in row.aspects.items()},
            rubric_version=row.rubric_version,
            seconds=row.seconds,
            rationale=row.rationale,
            flags=tuple(row.flags),
        ),
        given_at=row.given_at,
        is_repeat=row.purpose == "repeat",
        is_surplus=row.is_surplus,
        is_adjudication=row.purpose == "adjudication",
        skip_reason=row.skip_reason,
    )
