"""AI judges' calls: every request and reply is kept, and the same question is not paid for twice."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from kleash.collection.store import tables as t
from kleash.collection.store.database import Database, printable
from kleash.collection.store.events import now
from kleash.records import JudgeCall

_FIELDS = tuple(field.name for field in dataclasses.fields(JudgeCall))


class StoredCalls:
    """A `kleash.protocols.CallLog` in the label database; each call is saved at once, from whatever thread."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def find_call(self, key: str) -> JudgeCall | None:
        with self.database.read() as connection:
            row = connection.execute(sa.select(t.judge_calls).where(t.judge_calls.c.key == key)).one_or_none()
        return _call(row) if row is not None else None

    def add_call(self, call: JudgeCall) -> None:
        """Save a call; it replaces an earlier one of the same key that brought no reply, and no other."""
        values = {**dataclasses.asdict(call), "model": printable(call.model), "made_at": now()}
        insert = sqlite.insert if self.database.is_sqlite else postgresql.insert
        statement = insert(t.judge_calls).values(values)
        brought_no_reply = t.judge_calls.c.status.in_(("failed", "refused"))
        with self.database.write() as connection:
            connection.execute(
                statement.on_conflict_do_update(index_elements=["key"], set_=values, where=brought_no_reply)
            )


def judge_calls(connection: sa.Connection, comparison_ids: Sequence[str] = ()) -> list[tuple[JudgeCall, datetime]]:
    """Return calls with the time they were made, oldest first; only those on the given comparisons, if any."""
    query = sa.select(t.judge_calls).order_by(t.judge_calls.c.made_at, t.judge_calls.c.key)
    wanted = set(comparison_ids)
    return [(_call(row), row.made_at) for row in connection.execute(query) if not wanted or row.comparison_id in wanted]


def _call(row: sa.Row[tuple[object, ...]]) -> JudgeCall:
    return JudgeCall(**{name: getattr(row, name) for name in _FIELDS})
