"""Slow down whoever guesses passwords: tries are counted per name and per address, and cost ever longer waits."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kleash.collection.store import tables as t
from kleash.collection.store.database import insert_row
from kleash.errors import KleashError

# Failures of the last day count. So many are free; an office of labellers may share one address.
_MEMORY = timedelta(days=1)
_FREE_TRIES = {"name": 5, "address": 100}
_FIRST_WAIT_SECONDS = 5.0
_LONGEST_WAIT_SECONDS = 900.0


class SignInRefused(KleashError):
    """A sign-in that did not succeed. wait_seconds: how long until another try is looked at; 0 = try at once."""

    def __init__(self, message: str, wait_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds


@dataclass(frozen=True)
class Try:
    """One attempt to sign in, as counted. row_ids: its rows, one per subject."""

    subjects: tuple[str, ...]
    row_ids: tuple[int, ...]


def register_try(connection: Connection, *, name: str, address: str, at: datetime) -> Try:
    """Count an attempt, as failed until `clear_tries` says otherwise: a hundred at once do not slip through together.

    Raises SignInRefused, and counts nothing, when the name or the address has to wait.
    """
    subjects = (f"name:{ascii(name)[:200]}", f"address:{_network(address)[:200]}")
    for subject in subjects:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(subject))))
        wait_seconds = _wait_seconds(connection, subject, at)
        if wait_seconds > 0:
            shown = f"{wait_seconds:.0f} seconds" if wait_seconds < 90 else f"{wait_seconds / 60:.0f} minutes"
            raise SignInRefused(
                "Too many failed sign-ins. After several wrong passwords each further try has to wait. "
                f"Try again in {shown}.",
                wait_seconds,
            )
    ids = tuple(insert_row(connection, t.login_failures, subject=subject, failed_at=at) for subject in subjects)
    return Try(subjects, ids)


def clear_tries(connection: Connection, tried: Try, *, at: datetime) -> None:
    """Take back an attempt that succeeded, and forget the failures of its name.

    Those of its address stay: else an attacker with an account of their own could start over at will.
    """
    subject, row_id = t.login_failures.c.subject, t.login_failures.c.id
    is_spent = subject.in_([name for name in tried.subjects if name.startswith("name:")]) | row_id.in_(tried.row_ids)
    connection.execute(t.login_failures.delete().where(is_spent | (t.login_failures.c.failed_at < at - _MEMORY)))


def _wait_seconds(connection: Connection, subject: str, at: datetime) -> float:
    is_recent = (t.login_failures.c.subject == subject) & (t.login_failures.c.failed_at >= at - _MEMORY)
    query = sa.select(sa.func.count(), sa.func.max(t.login_failures.c.failed_at)).where(is_recent)
    num_failures, latest = connection.execute(query).one()
    num_too_many = num_failures - _FREE_TRIES[subject.partition(":")[0]]
    if num_too_many < 0:
        return 0.0
    delay_seconds = min(_FIRST_WAIT_SECONDS * 2.0 ** min(num_too_many, 30), _LONGEST_WAIT_SECONDS)
    return float(delay_seconds - (at - latest).total_seconds())


def _network(address: str) -> str:
    """Return an address, or its /64 network: whoever has one IPv6 address usually has that many of them."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ascii(address)
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else str(parsed)
