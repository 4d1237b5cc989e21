"""Accounts, sessions and invites as the store keeps them."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher

from collection.web import PASSWORD, add_account
from kleash.collection.store import accounts
from kleash.collection.store import tables as t
from kleash.collection.store.events import events
from kleash.collection.store.raters import rater_named
from kleash.collection.store.throttle import SignInRefused
from kleash.errors import DataError

START = datetime(2026, 3, 1, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)


def create(database, name="ann", role="labeller", password=PASSWORD):
    with database.write() as connection:
        return accounts.create_account(connection, name, password, role, actor="tests")


def create_without_password(database, name="ann", role="labeller"):
    with database.write() as connection:
        rater = rater_named(connection, name, "person")
        add_account(connection, rater, role)
        return rater


def open_session(database, rater, at=START):
    with database.write() as connection:
        return accounts.open_session(connection, rater, at=at)


def log_in(database, name="ann", password=PASSWORD, at=START):
    return accounts.log_in(database, name, password, address="192.0.2.1", at=at)


def invite(database, role="labeller", at=None):
    with database.write() as connection:
        return accounts.create_invite(connection, role, actor="tests", at=at)


def accept(database, token, name="ann", password=PASSWORD, at=None):
    with database.write() as connection:
        return accounts.accept_invite(connection, token, name, password, at=at)


def audit(database):
    with database.read() as connection:
        return [(event.action, event.actor, event.subject) for event in reversed(events(connection))]


# ----------------------------------------------------------------------------------------------------------- signing in
def test_the_right_password_opens_a_session_of_the_person(database):
    account = create(database, "ann", "adjudicator")
    session = accounts.session(database, log_in(database), at=START)
    assert (session.rater, session.role) == (account.rater, "adjudicator")
    assert session.rater.kind == "person"


def test_wrong_passwords_unknown_names_and_closed_accounts_look_alike(database):
    create(database)
    create(database, "gone")
    with database.write() as connection:
        accounts.set_active(connection, "gone", False, actor="tests")
    messages = set()
    for name, password in [
        ("ann", "not it"),
        ("ann", ""),
        ("nobody", PASSWORD),
        ("gone", PASSWORD),
        ("", ""),
        ("a\x00", "\x00"),
        ("\ud800", "\ud800"),
        ("\u202e" * 10_000, "x" * 10_000),
    ]:
        with pytest.raises(SignInRefused) as refused:
            log_in(database, name, password)
        assert refused.value.wait_seconds == 0
        messages.add(str(refused.value))
    assert len(messages) == 1
    assert "Name or password is wrong" in messages.pop()


def test_names_are_the_same_in_every_spelling_of_their_letters(database):
    create(database, " Zoe\u0301 ")
    session = accounts.session(database, log_in(database, "Zo\u00e9"), at=START)
    assert session.rater.name == "Zo\u00e9"


def test_guessing_ends_in_a_wait_even_for_the_right_password(database):
    create(database)
    for _ in range(5):
        with pytest.raises(SignInRefused, match="wrong"):
            log_in(database, password="a guess")
    with pytest.raises(SignInRefused, match="Try again in 5 seconds"):
        log_in(database)
    log_in(database, at=START + timedelta(seconds=5))
    with pytest.raises(SignInRefused, match="wrong"):
        log_in(database, password="a slip", at=START + timedelta(seconds=6))


def test_nothing_in_the_database_lets_its_reader_sign_in(database):
    create(database)
    secrets = [PASSWORD, log_in(database), invite(database)]
    with database.read() as connection:
        rows = [repr(row) for table in t.metadata.sorted_tables for row in connection.execute(sa.select(table))]
    assert any("argon2id" in row for row in rows)
    assert not [row for row in rows for secret in secrets if secret in row]


def test_an_old_hash_is_made_anew_at_sign_in(database):
    old_hash = PasswordHasher(time_cost=1, memory_cost=64).hash(PASSWORD)
    with database.write() as connection:
        add_account(connection, rater_named(connection, "ann", "person"), password_hash=old_hash)
    log_in(database)
    with database.read() as connection:
        present_hash = connection.execute(sa.select(t.accounts.c.password_hash)).scalar_one()
    assert not PasswordHasher().check_needs_rehash(present_hash)
    log_in(database)


class ChangingInBetween:
    """A database in which somebody else does something while a password is being checked."""

    def __init__(self, database, change):
        self.database = database
        self.change = change
        self.num_writes = 0

    @contextmanager
    def write(self):
        self.num_writes += 1
        with self.database.write() as connection:
            if self.num_writes == 2:
                self.change(connection)
            yield connection


@pytest.mark.parametrize(
    "change",
    [
        lambda connection: accounts.set_active(connection, "ann", False, actor="tests"),
        lambda connection: accounts.reset_password(connection, "ann", "another password", actor="tests"),
    ],
)
def test_an_account_that_changes_while_its_password_is_checked_is_not_opened(database, change):
    create(database)
    with pytest.raises(SignInRefused, match="Name or password is wrong"):
        log_in(ChangingInBetween(database, change))


# ------------------------------------------------------------------------------------------------------------ sessions
def test_a_session_ends_twelve_hours_after_its_last_use(database):
    token = open_session(database, create_without_password(database))
    for num_hours in (0, 11, 22, 33):
        assert accounts.session(database, token, at=START + num_hours * HOUR) is not None
    assert accounts.session(database, token, at=START + 45 * HOUR) is None
    assert accounts.session(database, token, at=START + 34 * HOUR) is not None


def test_a_session_in_use_is_not_written_at_every_look(database):
    token = open_session(database, create_without_password(database))
    before = accounts.session(database, token, at=START).expires_at
    accounts.session(database, token, at=START + timedelta(minutes=9))
    assert accounts.session(database, token, at=START + timedelta(minutes=9)).expires_at == before
    accounts.session(database, token, at=START + timedelta(minutes=11))
    assert accounts.session(database, token, at=START + timedelta(minutes=11)).expires_at > before


def test_expired_sessions_are_swept_out_when_another_is_opened(database):
    rater = create_without_password(database)
    open_session(database, rater)
    open_session(database, rater, at=START + 13 * HOUR)
    with database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(t.sessions)).scalar_one() == 1


def test_logging_out_ends_this_session_and_no_other(database):
    rater = create_without_password(database)
    first, second = open_session(database, rater), open_session(database, rater)
    with database.write() as connection:
        accounts.log_out(connection, first)
        accounts.log_out(connection, "never was one")
    assert accounts.session(database, first, at=START) is None
    assert accounts.session(database, second, at=START) is not None


@pytest.mark.parametrize("token", ["", "x", "\x00", "\ud800", "x" * 100_000])
def test_an_invented_token_opens_nothing(database, token):
    open_session(database, create_without_password(database))
    assert accounts.session(database, token, at=START) is None


def test_a_closed_account_loses_its_sessions_for_good(database):
    token = open_session(database, create_without_password(database))
    with database.write() as connection:
        accounts.set_active(connection, "ann", False, actor="tests")
    assert accounts.session(database, token, at=START) is None
    with database.write() as connection:
        accounts.set_active(connection, "ann", True, actor="tests")
    assert accounts.session(database, token, at=START) is None
    assert [event[0] for event in audit(database)] == ["account deactivated", "account activated"]


def test_a_role_counts_at_once_in_open_sessions(database):
    token = open_session(database, create_without_password(database))
    with database.write() as connection:
        accounts.set_role(connection, "ann", "adjudicator", actor="tests")
    assert accounts.session(database, token, at=START).role == "adjudicator"


# ----------------------------------------------------------------------------------------------------------- passwords
def test_changing_the_password_ends_every_session_but_a_fresh_one(database):
    rater = create(database).rater
    old = log_in(database)
    change = {"address": "192.0.2.1", "at": START}
    fresh = accounts.change_password(database, rater, PASSWORD, "another password", **change)
    assert accounts.session(database, old, at=START) is None
    assert accounts.session(database, fresh, at=START).rater == rater
    with pytest.raises(SignInRefused, match="wrong"):
        log_in(database)
    log_in(database, password="another password")
    with pytest.raises(SignInRefused, match="wrong"):
        accounts.change_password(database, rater, PASSWORD, "a third password", **change)
    with pytest.raises(DataError, match=r"has 9 characters. Expected 10 to 1000. Choose a longer"):
        accounts.change_password(database, rater, "another password", "too short", **change)


def test_guessing_the_present_password_is_throttled_too(database):
    rater = create(database).rater
    change = {"address": "192.0.2.1", "at": START}
    for _ in range(5):
        with pytest.raises(SignInRefused, match="wrong"):
            accounts.change_password(database, rater, "a guess", "another password", **change)
    with pytest.raises(SignInRefused, match="Try again in 5 seconds"):
        accounts.change_password(database, rater, PASSWORD, "another password", **change)


def test_a_reset_password_ends_sessions_and_opens_the_account(database):
    token = open_session(database, create_without_password(database))
    with database.write() as connection:
        accounts.reset_password(connection, "ann", PASSWORD, actor="tests")
    assert accounts.session(database, token, at=START) is None
    log_in(database)


# ------------------------------------------------------------------------------------------------------------ accounts
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "cannot be a name. Expected 1 to 200 characters"),
        ("   ", "cannot be a name. Expected 1 to 200 characters"),
        ("a\x00b", "cannot be a name. Expected 1 to 200 characters"),
        ("a\nb", "cannot be a name. Expected 1 to 200 characters"),
        ("\u202eann", "cannot be a name. Expected 1 to 200 characters"),
        ("\ud800", "cannot be a name. Expected 1 to 200 characters"),
        ("a" * 201, "cannot be a name. Expected 1 to 200 characters"),
        ("a" * 10_000, "cannot be a name. Expected 1 to 200 characters"),
        ("ann", "The name 'ann' is taken.*Choose another"),
        (" ann ", "The name 'ann' is taken"),
        ("\uff41nn", "The name 'ann' is taken"),
        ("judge", "The name 'judge' is taken"),
        ("command line", "The name 'command line' is taken"),
    ],
)
def test_names_that_cannot_be_used(database, name, message):
    create_without_password(database)
    with database.write() as connection:
        rater_named(connection, "judge", "ai")
    with pytest.raises(DataError, match=message):
        create(database, name)


@pytest.mark.parametrize("name", ["עדה", "علي", "李雷", "O'Brien <b>", "a" * 200])
def test_names_in_any_script_can_be_used(database, name):
    assert create(database, name).rater.name == name


def test_passwords_of_the_wrong_length_are_refused(database):
    with pytest.raises(DataError, match=r"has 9 characters. Expected 10 to 1000. Choose a longer one"):
        create(database, password="123456789")
    with pytest.raises(DataError, match=r"has 1001 characters. Expected 10 to 1000. Choose a shorter one"):
        create(database, password="1" * 1001)
    with database.read() as connection:
        assert accounts.accounts(connection) == []


def test_roles_that_there_are_not(database):
    with pytest.raises(DataError, match=r"'root' is no role. Expected one of labeller, adjudicator, admin"):
        create(database, role="root")
    with pytest.raises(DataError, match="'' is no role"):
        invite(database, role="")
    create_without_password(database)
    with database.write() as connection, pytest.raises(DataError, match="'boss' is no role"):
        accounts.set_role(connection, "ann", "boss", actor="tests")


@pytest.mark.parametrize("name", ["nobody", "", "a\x00b", "\ud800", "judge"])
def test_an_account_that_there_is_not(database, name):
    with database.write() as connection:
        rater_named(connection, "judge", "ai")
        for act in (
            lambda: accounts.set_role(connection, name, "admin", actor="tests"),
            lambda: accounts.set_active(connection, name, False, actor="tests"),
            lambda: accounts.reset_password(connection, name, PASSWORD, actor="tests"),
        ):
            with pytest.raises(DataError, match=r"There is no account .* Correct the name"):
                act()


def test_the_last_admin_stays_one(database):
    create_without_password(database, "ann", "admin")
    create_without_password(database, "ben", "admin")
    with database.write() as connection:
        accounts.set_role(connection, "ben", "labeller", actor="ann")
        for act in (
            lambda: accounts.set_role(connection, "ann", "adjudicator", actor="ann"),
            lambda: accounts.set_active(connection, "ann", False, actor="ann"),
        ):
            with pytest.raises(DataError, match=r"'ann' is the only administrator.*Make somebody else an admin first"):
                act()
        accounts.set_role(connection, "ann", "admin", actor="ann")


def test_two_admins_who_demote_each_other_leave_one(database):
    create_without_password(database, "ann", "admin")
    create_without_password(database, "ben", "admin")

    def demote(name):
        try:
            with database.write() as connection:
                accounts.set_role(connection, name, "labeller", actor="tests")
        except DataError:
            return "refused"
        return "done"

    with ThreadPoolExecutor(2) as threads:
        outcomes = list(threads.map(demote, ["ann", "ben"]))
    assert sorted(outcomes) == ["done", "refused"]


def test_accounts_are_listed_by_name_and_changes_are_in_the_audit_log(database):
    create(database, "ben", "admin")
    token = invite(database, "adjudicator")
    accept(database, token, "ann")
    log_in(database, "ann")
    with database.write() as connection:
        accounts.set_role(connection, "ann", "labeller", actor="ben")
        accounts.reset_password(connection, "ann", PASSWORD, actor="ben")
        listed = [(account.rater.name, account.role, account.is_active) for account in accounts.accounts(connection)]
        event = next(event for event in events(connection) if event.action == "role changed")
    assert listed == [("ann", "labeller", True), ("ben", "admin", True)]
    assert (event.before, event.after) == ("adjudicator", "labeller")
    assert audit(database) == [
        ("account created", "tests", "ben"),
        ("invite made", "tests", "adjudicator"),
        ("account created", "ann", "ann"),
        ("invite used", "ann", "adjudicator"),
        ("signed in", "ann", "ann"),
        ("role changed", "ben", "ann"),
        ("password reset", "ben", "ann"),
    ]


# ------------------------------------------------------------------------------------------------------------- invites
def test_an_invite_makes_one_account_with_its_role_and_signs_it_in(database):
    token = invite(database, "adjudicator")
    with database.read() as connection:
        assert accounts.invited_role(connection, token) == "adjudicator"
    session = accounts.session(database, accept(database, token))
    assert (session.rater.name, session.role) == ("ann", "adjudicator")
    with pytest.raises(DataError, match=r"This invite link does not work.*Ask for a fresh one"):
        accept(database, token, "ben")
    with database.read() as connection, pytest.raises(DataError, match="This invite link does not work"):
        accounts.invited_role(connection, token)


@pytest.mark.parametrize("token", ["", "x", "\x00", "\ud800", "x" * 100_000])
def test_an_invented_invite_does_not_work(database, token):
    invite(database)
    with pytest.raises(DataError, match="This invite link does not work"):
        accept(database, token)


def test_an_invite_expires_after_a_week(database):
    token = invite(database, at=START)
    with pytest.raises(DataError, match="This invite link does not work"):
        accept(database, token, at=START + timedelta(days=7))
    assert accept(database, token, at=START + timedelta(days=6))


def test_an_invite_survives_a_name_that_is_taken_and_a_bad_password(database):
    create_without_password(database, "ann")
    token = invite(database)
    with pytest.raises(DataError, match="is taken"):
        accept(database, token, "ann")
    with pytest.raises(DataError, match="characters"):
        accept(database, token, "ben", "short")
    accept(database, token, "ben")


def test_of_two_who_accept_an_invite_at_once_one_gets_it(database):
    token = invite(database)

    def try_to_accept(name):
        try:
            accept(database, token, name)
        except DataError as error:
            return str(error)[:27]
        return "accepted"

    with ThreadPoolExecutor(2) as threads:
        outcomes = list(threads.map(try_to_accept, ["ann", "ben"]))
    assert sorted(outcomes) == ["This invite link does not w", "accepted"]
    with database.read() as connection:
        assert len(accounts.accounts(connection)) == 1
        num_raters = connection.execute(sa.select(sa.func.count()).select_from(t.raters)).scalar_one()
    assert num_raters == 1, "the loser leaves no rater behind"


def test_of_two_who_take_a_name_at_once_one_gets_it(database):
    tokens = [invite(database), invite(database)]

    def try_to_accept(token):
        try:
            accept(database, token)
        except DataError as error:
            return str(error)[:23]
        return "accepted"

    with ThreadPoolExecutor(2) as threads:
        outcomes = list(threads.map(try_to_accept, tokens))
    assert sorted(outcomes) == ["The name 'ann' is taken", "accepted"]
