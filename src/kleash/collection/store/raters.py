"""Raters: people, AI judges, rules and simulated labellers in one table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kleash.collection.store import tables as t
from kleash.collection.store.database import insert_row
from kleash.collection.store.events import log_event, now
from kleash.errors import DataError
from kleash.records import RaterKind


@dataclass(frozen=True)
class Rater:
    """Somebody or something that judges.

    demotion: why an AI judge's verdicts no longer count; empty when they do.  counts_before: the first judgement that
    does not count, where the earlier ones still do; None when none does.
    """

    id: int
    name: str
    kind: RaterKind
    demotion: str = ""
    counts_before: int | None = None


def rater_named(connection: Connection, name: str, kind: RaterKind) -> Rater:
    """Return the rater of this name, adding it if there is none.

    Raises DataError for a name that no page could show, or one that belongs to another kind of rater.
    """
    if not _is_name(name) or kind not in get_args(RaterKind):
        raise DataError(
            f"{name[:220]!r} ({kind}) cannot be a rater. A name has 1 to 200 printable characters, and the kind is one "
            f"of {', '.join(get_args(RaterKind))}. Choose another name."
        )
    query = sa.select(t.raters).where(t.raters.c.name == name)
    row = connection.execute(query).one_or_none()
    if row is None:
        try:
            with connection.begin_nested():
                insert_row(connection, t.raters, name=name, kind=kind, demotion="", created_at=now())
        except sa.exc.IntegrityError:  # another process has just added it
            pass
        row = connection.execute(query).one()
    if row.kind != kind:
        raise DataError(f"Rater {name!r} is of kind {row.kind}, not {kind}. A name has one owner. Choose another name.")
    return rater_from_row(row)


def raters(connection: Connection, campaign_id: int | None = None) -> list[Rater]:
    """Return all raters, or those who have judged in a campaign, in order of name."""
    query = sa.select(t.raters).order_by(t.raters.c.name)
    if campaign_id is not None:
        judged = sa.select(t.judgements.c.rater_id).where(t.judgements.c.campaign_id == campaign_id)
        query = query.where(t.raters.c.id.in_(judged))
    return [rater_from_row(row) for row in connection.execute(query)]


def demote(connection: Connection, name: str, reason: str, *, actor: str, counts_before: int | None = None) -> None:
    """Take a rater's verdicts out of every count and export from now on; an empty reason takes it back in.

    counts_before: the first judgement to be taken out, which leaves those before it in; None takes all out.
    """
    query = sa.select(t.raters).where(t.raters.c.name == name)
    row = connection.execute(query).one_or_none() if _is_name(name) else None
    if row is None:
        raise DataError(f"There is no rater {name[:220]!r}. Give the name of one that has judged.")
    after = reason if counts_before is None else {"reason": reason, "counts_before": counts_before}
    connection.execute(t.raters.update().where(t.raters.c.id == row.id).values(demotion=after))
    log_event(connection, actor, "rater demoted", name, before=row.demotion, after=after)


def counts(connection: Connection) -> sa.ColumnElement[bool]:
    """Return the condition on raters and judgements under which a judgement counts."""
    demoted = connection.execute(sa.select(t.raters).where(t.raters.c.demotion != ""))
    earlier = [
        (rater.id, rater.counts_before) for rater in map(rater_from_row, demoted) if rater.counts_before is not None
    ]
    return sa.or_(
        t.raters.c.demotion == "",
        *((t.raters.c.id == rater_id) & (t.judgements.c.id < first) for rater_id, first in earlier),
    )


def rater_from_row(row: sa.Row[Any]) -> Rater:
    """Rebuild a rater from its row in the table."""
    demotion = row.demotion if isinstance(row.demotion, dict) else {"reason": row.demotion}
    return Rater(row.id, row.name, row.kind, demotion["reason"], demotion.get("counts_before"))


def _is_name(name: str) -> bool:
    return bool(name.strip()) and name.isprintable() and len(name) <= 200
