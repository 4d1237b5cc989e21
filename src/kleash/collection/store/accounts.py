"""Accounts: who may sign in and in which role; their passwords, sessions and invite links.

Passwords are kept as argon2 hashes, tokens as digests: whoever reads the database can sign in as nobody. A hash takes
long on purpose, so the functions that check one take the `Database` and do so between two transactions, not in one.
How often a password may be tried is in `throttle.py`.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Literal, get_args

import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy.engine import Connection

from kleash.collection.store import tables as t
from kleash.collection.store.database import Database, insert_row
from kleash.collection.store.events import log_event, now
from kleash.collection.store.raters import Rater, rater_from_row
from kleash.collection.store.throttle import SignInRefused, Try, clear_tries, register_try
from kleash.errors import DataError

AccountRole = Literal["labeller", "adjudicator", "admin"]

COMMAND_LINE = "command line"
PASSWORD_LENGTH = range(10, 1001)
# A session lives so long after its last use, and an invite link after it was made.
SESSION_LIFETIME = timedelta(hours=12)
INVITE_LIFETIME = timedelta(days=7)
# Not every page view needs to write to the database.
_RENEWAL_INTERVAL = timedelta(minutes=10)

_HASHER = PasswordHasher()
# Each hash fills 64 MiB for some 50 ms: a crowd that signs in at once queues up for so many places.
_HASHING = threading.BoundedSemaphore(4)


@dataclass(frozen=True)
class Account:
    """A person who may sign in, unless the account is no longer active."""

    rater: Rater
    role: AccountRole
    is_active: bool
    created_at: datetime


@dataclass(frozen=True)
class Session:
    """A signed-in browser. Its secret token is with the browser alone.

    csrf_token: goes into every form and, as header X-CSRF-Token, into every script's POST.
    """

    rater: Rater
    role: AccountRole
    csrf_token: str
    expires_at: datetime


# ---------------------------------------------------------------------------------------------------------- accounts
def create_account(connection: Connection, name: str, password: str, role: AccountRole, *, actor: str) -> Account:
    """Add a person with a password and a role.

    Raises DataError for a name that is taken or cannot be shown, a password too short or too long, an unknown role.
    """
    name = tidy_name(name)
    _check_role(role)
    # PostgreSQL refuses to compare with what it could not store, so this comes before any query.
    if not name or not name.isprintable() or len(name) > 200:
        raise DataError(
            f"{name[:200]!r} cannot be a name. Expected 1 to 200 characters that can be shown. Choose another one."
        )
    is_taken = connection.execute(sa.select(t.raters.c.id).where(t.raters.c.name == name)).first() is not None
    if is_taken or name == COMMAND_LINE:
        raise _name_taken(name)
    password_hash, created_at = _hash(password), now()
    try:
        rater_id = insert_row(connection, t.raters, name=name, kind="person", demotion="", created_at=created_at)
    except sa.exc.IntegrityError:  # taken by somebody else just now
        raise _name_taken(name) from None
    values = {"password_hash": password_hash, "role": role, "is_active": True, "created_at": created_at}
    connection.execute(t.accounts.insert().values(rater_id=rater_id, **values))
    log_event(connection, actor, "account created", name, after=role)
    return Account(Rater(rater_id, name, "person"), role, True, created_at)


def accounts(connection: Connection) -> list[Account]:
    """Return all accounts in order of name."""
    return [_account(row) for row in connection.execute(_ACCOUNTS.order_by(t.raters.c.name))]


def set_role(connection: Connection, name: str, role: AccountRole, *, actor: str) -> None:
    """Give somebody another role, which counts from their next request on. Raises DataError for the last admin's."""
    _check_role(role)
    account = _account_named(connection, name)
    if role != "admin":
        _check_admin_remains(connection, account)
    connection.execute(_update(account).values(role=role))
    log_event(connection, actor, "role changed", account.rater.name, before=account.role, after=role)


def set_active(connection: Connection, name: str, is_active: bool, *, actor: str) -> None:
    """Let somebody sign in no longer, ending their sessions, or again. Raises DataError for the last admin."""
    account = _account_named(connection, name)
    if not is_active:
        _check_admin_remains(connection, account)
        _end_sessions(connection, account.rater)
    connection.execute(_update(account).values(is_active=is_active))
    action = "account activated" if is_active else "account deactivated"
    log_event(connection, actor, action, account.rater.name)


def reset_password(connection: Connection, name: str, password: str, *, actor: str) -> None:
    """Give somebody who forgot theirs another password, and end their sessions."""
    account = _account_named(connection, name)
    connection.execute(_update(account).values(password_hash=_hash(password)))
    _end_sessions(connection, account.rater)
    log_event(connection, actor, "password reset", account.rater.name)


def tidy_name(name: str) -> str:
    """Return a name as it is stored: look-alike spellings of the same letters become one."""
    return unicodedata.normalize("NFKC", name[:1000]).strip()


# ------------------------------------------------------------------------------------------------ passwords, sessions
def log_in(database: Database, name: str, password: str, *, address: str, at: datetime | None = None) -> str:
    """Check a password and open a session; return its token.

    address: where the request comes from. Raises SignInRefused, which does not tell an unknown name from a wrong
    password, neither in its words nor in its time; and which says how long to wait after too many tries.
    """
    at = at or now()
    proof = _prove(database, tidy_name(name), password, address=address, at=at)
    with database.write() as connection:
        account = _accept(connection, proof, at)
        if _HASHER.check_needs_rehash(proof.password_hash):
            connection.execute(_update(account).values(password_hash=_hash(password)))
        log_event(connection, account.rater.name, "signed in", account.rater.name)
        return open_session(connection, account.rater, at=at)


def change_password(
    database: Database, rater: Rater, password: str, new_password: str, *, address: str, at: datetime | None = None
) -> str:
    """Replace a password by its owner, ending all sessions; return the token of a fresh one.

    Raises SignInRefused if the present password is wrong, DataError if the new one cannot be used.
    """
    at = at or now()
    new_hash = _hash(new_password)
    proof = _prove(database, rater.name, password, address=address, at=at)
    with database.write() as connection:
        account = _accept(connection, proof, at)
        connection.execute(_update(account).values(password_hash=new_hash))
        _end_sessions(connection, rater)
        log_event(connection, rater.name, "password changed", rater.name)
        return open_session(connection, rater, at=at)


def open_session(connection: Connection, rater: Rater, *, at: datetime | None = None) -> str:
    """Sign a person in without a password; return the session's token, which is stored nowhere."""
    at = at or now()
    connection.execute(t.sessions.delete().where(t.sessions.c.expires_at <= at))
    token = secrets.token_urlsafe(32)
    values = {"csrf_token": secrets.token_urlsafe(32), "expires_at": at + SESSION_LIFETIME}
    connection.execute(t.sessions.insert().values(token_digest=_digest(token), rater_id=rater.id, **values))
    return token


def session(database: Database, token: str, *, at: datetime | None = None) -> Session | None:
    """Return the session that a token opens and keep it alive; None if it ended, expired or never was."""
    at = at or now()
    is_this = t.sessions.c.token_digest == _digest(token)
    query = (
        sa.select(t.sessions.c.csrf_token, t.sessions.c.expires_at, t.accounts.c.role, t.raters)
        .join_from(t.sessions, t.accounts, t.accounts.c.rater_id == t.sessions.c.rater_id)
        .join(t.raters, t.raters.c.id == t.sessions.c.rater_id)
        .where(is_this, t.sessions.c.expires_at > at, t.accounts.c.is_active)
    )
    with database.read() as connection:
        row = connection.execute(query).one_or_none()
    if row is None:
        return None
    if row.expires_at < at + SESSION_LIFETIME - _RENEWAL_INTERVAL:
        with database.write() as connection:
            connection.execute(t.sessions.update().where(is_this).values(expires_at=at + SESSION_LIFETIME))
    return Session(rater_from_row(row), row.role, row.csrf_token, row.expires_at)


def log_out(connection: Connection, token: str) -> None:
    """End a session; one that has ended already is no error."""
    connection.execute(t.sessions.delete().where(t.sessions.c.token_digest == _digest(token)))


# ----------------------------------------------------------------------------------------------------------- invites
def create_invite(
    connection: Connection,
    role: AccountRole,
    *,
    actor: str,
    lifetime: timedelta = INVITE_LIFETIME,
    at: datetime | None = None,
) -> str:
    """Return the token of an invite, for the link /invite/TOKEN; it works once and cannot be shown again."""
    _check_role(role)
    token = secrets.token_urlsafe(32)
    expires_at = (at or now()) + lifetime
    connection.execute(t.invites.insert().values(token_digest=_digest(token), role=role, expires_at=expires_at))
    log_event(connection, actor, "invite made", role, after={"expires_at": expires_at.isoformat()})
    return token


def invited_role(connection: Connection, token: str, *, at: datetime | None = None) -> AccountRole:
    """Return the role that an invite gives. Raises DataError if it was used, has expired or never was."""
    role: AccountRole | None = connection.execute(
        sa.select(t.invites.c.role).where(_is_open(token, at))
    ).scalar_one_or_none()
    if role is None:
        raise _no_invite()
    return role


def accept_invite(connection: Connection, token: str, name: str, password: str, *, at: datetime | None = None) -> str:
    """Make the account that an invite is for, and sign in; return the session's token.

    Raises DataError, and the transaction must then be rolled back, if the invite is not open (of two who accept it at
    once, one gets it) or the name or the password cannot be used.
    """
    role = invited_role(connection, token, at=at)
    account = create_account(connection, name, password, role, actor=tidy_name(name))
    used = t.invites.update().where(_is_open(token, at)).values(used_by=account.rater.id)
    if not connection.execute(used).rowcount:
        raise _no_invite()
    log_event(connection, account.rater.name, "invite used", role)
    return open_session(connection, account.rater, at=at)


# ---------------------------------------------------------------------------------------------------------- passwords
@dataclass(frozen=True)
class _Proof:
    """A password that was right a moment ago."""

    name: str
    password_hash: str
    tried: Try


def _prove(database: Database, name: str, password: str, *, address: str, at: datetime) -> _Proof:
    """Check a password between two transactions. The try counts as a failure until `_accept` takes it back."""
    with database.write() as connection:
        tried = register_try(connection, name=name, address=address, at=at)
        is_active = (t.raters.c.name == name) & t.accounts.c.is_active
        row = connection.execute(_ACCOUNTS.where(is_active)).one_or_none() if name.isprintable() else None
    with _HASHING:
        is_right = _is_right(row.password_hash if row is not None else _nobodys_hash(), password)
    if row is None or not is_right:
        raise _wrong()
    return _Proof(name, row.password_hash, tried)


def _accept(connection: Connection, proof: _Proof, at: datetime) -> Account:
    """Return the account, unless it was closed or its password changed since the proof."""
    query = _ACCOUNTS.where(t.raters.c.name == proof.name, t.accounts.c.is_active).with_for_update(of=t.accounts)
    row = connection.execute(query).one_or_none()
    if row is None or row.password_hash != proof.password_hash:
        raise _wrong()
    clear_tries(connection, proof.tried, at=at)
    return _account(row)


def _is_right(password_hash: str, password: str) -> bool:
    try:
        return _HASHER.verify(password_hash, password.encode("utf-8", "surrogatepass"))
    except (VerificationError, InvalidHashError):
        return False


def _hash(password: str) -> str:
    if len(password) not in PASSWORD_LENGTH:
        raise DataError(
            f"The password has {len(password)} characters. Expected {PASSWORD_LENGTH[0]} to {PASSWORD_LENGTH[-1]}. "
            f"Choose a {'longer' if len(password) < PASSWORD_LENGTH[0] else 'shorter'} one."
        )
    with _HASHING:
        return _HASHER.hash(password.encode("utf-8", "surrogatepass"))


@cache
def _nobodys_hash() -> str:
    """Return a hash that no password fits, to spend as much time on names that do not exist."""
    return _HASHER.hash(secrets.token_bytes(32))


def _wrong() -> SignInRefused:
    return SignInRefused(
        "Name or password is wrong. Expected those of an active account. "
        "Try again, or ask an administrator to reset the password."
    )


def _digest(token: str) -> str:
    # Tokens are random enough that nobody finds one by trying, so the digest may be a fast one.
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


# -------------------------------------------------------------------------------------------------------------- rows
_ACCOUNTS = sa.select(t.accounts, t.raters.c.id, t.raters.c.name, t.raters.c.kind, t.raters.c.demotion).join_from(
    t.accounts, t.raters, t.raters.c.id == t.accounts.c.rater_id
)


def _account(row: sa.Row[Any]) -> Account:
    return Account(rater_from_row(row), row.role, row.is_active, row.created_at)


def _account_named(connection: Connection, name: str) -> Account:
    name = tidy_name(name)
    row = connection.execute(_ACCOUNTS.where(t.raters.c.name == name)).one_or_none() if name.isprintable() else None
    if row is None:
        raise DataError(f"There is no account {name[:200]!r}. Expected somebody who can sign in. Correct the name.")
    return _account(row)


def _update(account: Account) -> sa.Update:
    return t.accounts.update().where(t.accounts.c.rater_id == account.rater.id)


def _end_sessions(connection: Connection, rater: Rater) -> None:
    connection.execute(t.sessions.delete().where(t.sessions.c.rater_id == rater.id))


def _check_role(role: str) -> None:
    if role not in get_args(AccountRole):
        raise DataError(
            f"{role!r} is no role. Expected one of {', '.join(get_args(AccountRole))}. Choose one of these."
        )


def _check_admin_remains(connection: Connection, account: Account) -> None:
    # The rows are locked: two admins who demote each other at once would leave none.
    is_admin = (t.accounts.c.role == "admin") & t.accounts.c.is_active
    admins = connection.execute(sa.select(t.accounts.c.rater_id).where(is_admin).with_for_update()).scalars().all()
    if list(admins) == [account.rater.id]:
        raise DataError(
            f"{account.rater.name!r} is the only administrator. Somebody must be able to manage accounts. "
            "Make somebody else an admin first."
        )


def _is_open(token: str, at: datetime | None) -> sa.ColumnElement[bool]:
    is_unused = t.invites.c.used_by.is_(None) & (t.invites.c.expires_at > (at or now()))
    return (t.invites.c.token_digest == _digest(token)) & is_unused


def _no_invite() -> DataError:
    return DataError(
        "This invite link does not work: it was used, has expired, or is mistyped. Expected a link that nobody used "
        "yet. Ask for a fresh one, or sign in if you have an account."
    )


def _name_taken(name: str) -> DataError:
    return DataError(f"The name {name[:200]!r} is taken. Every rater has a name of their own. Choose another one.")
