"""Open the label database, bring its schema up to date, and give out transactions. SQLite by default, or PostgreSQL."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from kleash.collection.migrations import revisions, upgrade
from kleash.durable import PARTIAL
from kleash.errors import RunError, SettingsError

# Long enough for fifty labellers' writes to queue up behind one another.
BUSY_TIMEOUT_MS = 20_000
# As many connections as a web server has threads.
_POOL: dict[str, Any] = {"pool_size": 10, "max_overflow": 30}
_WRITES = "kleash_writes"
_PRESENT_REVISION = "SELECT version_num FROM alembic_version"


class Database:
    """A label database. `url`: a path of an SQLite file, or a PostgreSQL URL.

    Raises SettingsError for a URL that is neither, RunError when the database cannot be opened, holds something else
    or is from a later version of KLeash.
    """

    def __init__(self, url: str | Path) -> None:
        self.url = _full_url(str(url))
        self.engine = _engine(self.url)
        self._turn = threading.RLock()
        try:
            with _clear_database_errors(self.shown_url):
                self._migrate()
        except Exception:
            self.close()
            raise

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @property
    def shown_url(self) -> str:
        """The URL without its password."""
        return sa.make_url(self.url).render_as_string(hide_password=True)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that may write; committed at the end of the block, rolled back on an error.

        SQLite takes its write lock at once (BEGIN IMMEDIATE): a transaction that reads first and writes later would be
        refused, whatever the timeout, when another one wrote in between. Threads queue for it here: SQLite itself only
        looks again every now and then, and a labeller in a crowd would wait for seconds.
        """
        with (
            self._turn if self.is_sqlite else nullcontext(),
            self.engine.connect().execution_options(**{_WRITES: True}) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that only reads: one consistent picture."""
        # In PostgreSQL every statement would otherwise see what was committed a moment ago.
        options = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        with self.engine.connect().execution_options(**options) as connection, connection.begin():
            yield connection

    def close(self) -> None:
        self.engine.dispose()

    def back_up(self, path: Path) -> None:
        """Copy an SQLite database, also while it is in use. Raises SettingsError for PostgreSQL, which has pg_dump."""
        source = self._sqlite_file("back up", "pg_dump")
        if path.exists():
            raise RunError(f"{path} exists already. A backup never overwrites. Choose another name, or remove it.")
        partial = path.with_name(path.name + PARTIAL)
        partial.unlink(missing_ok=True)
        try:
            with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(partial)) as copy:
                live.backup(copy)
                # One file, without WAL beside it: it can be read where nothing can be written.
                copy.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.Error as error:
            partial.unlink(missing_ok=True)
            raise RunError(
                f"Cannot write the backup {path}: {error}. Choose a folder that exists, is writable and has room."
            ) from None
        partial.rename(path)

    def restore(self, path: Path) -> None:
        """Replace an SQLite database's content by a backup's, as one transaction.

        Raises RunError, with the database untouched, for a file that is no backup, is damaged or is from a later
        version of KLeash, and when there is no room for its content.
        """
        target = self._sqlite_file("restore", "pg_restore")
        if not path.is_file():
            raise RunError(f"There is no backup at {path}. Give a file that `kleash collect backup` wrote.")
        if fault_of(path):
            raise RunError(
                f"{path} is no backup of a label database, is damaged, or is from a later version of KLeash. "
                "Give a file that `kleash collect backup` wrote."
            )
        try:
            with closing(sqlite3.connect(path)) as backup, closing(sqlite3.connect(target)) as live:
                backup.backup(live)
        except sqlite3.Error as error:
            raise RunError(
                f"Cannot restore {path}: {error}. The label database is as it was. Make room for the backup's content."
            ) from None
        self._migrate()

    def _sqlite_file(self, what: str, tool: str) -> str:
        if not self.is_sqlite:
            raise SettingsError(f"Cannot {what} {self.shown_url} here: PostgreSQL brings its own tools. Use {tool}.")
        return str(sa.make_url(self.url).database)

    def _migrate(self) -> None:
        with self.engine.connect() as connection:
            tables = sa.inspect(connection).get_table_names()
            if "alembic_version" in tables:
                present = connection.execute(sa.text(_PRESENT_REVISION)).scalar()
                if present == revisions()[-1]:
                    return
            elif tables:
                raise RunError(
                    f"The database {self.shown_url} holds something else: the table {tables[0]}. "
                    "Expected an empty database or one of KLeash's. Give another --store."
                )
        with self.write() as connection:
            upgrade(connection, shown_url=self.shown_url)


def insert_row(connection: Connection, table: sa.Table, **values: Any) -> int:
    """Insert one row and return its number."""
    key = connection.execute(table.insert().values(values)).inserted_primary_key
    assert key is not None
    return int(key[0])


def count(connection: Connection, *conditions: sa.ColumnElement[bool]) -> int:
    """Count the rows for which all conditions hold."""
    return int(connection.execute(sa.select(sa.func.count()).where(*conditions)).scalar_one())


def printable(text: str, *, max_characters: int = 200) -> str:
    """Make a text that came from outside fit a short column; PostgreSQL refuses null characters and longer texts."""
    return "".join(letter if letter.isprintable() else " " for letter in text)[:max_characters]


def fault_of(path: Path) -> str:
    """Say why an SQLite file is no whole label database that this version reads; "" if it is. Its rows are not read."""
    try:
        with closing(sqlite3.connect(path)) as database:
            fault = str(database.execute("PRAGMA integrity_check").fetchone()[0])
            revision = database.execute(_PRESENT_REVISION).fetchone()
            database.execute("SELECT 1 FROM judgements LIMIT 1")
    except sqlite3.DatabaseError as error:
        return str(error)
    if fault != "ok":
        return fault
    return "" if revision is not None and revision[0] in revisions() else "it is from a later version of KLeash"


def _full_url(url: str) -> str:
    if url.startswith(("postgresql://", "postgres://")):
        return "postgresql+psycopg://" + url.partition("://")[2]
    if url.startswith(("sqlite:///", "postgresql+psycopg://")):
        return url
    if "://" in url:
        raise SettingsError(
            f"Unknown kind of database: {url.partition('://')[0]}. Expected a file's path or postgresql://... "
            "Give one of these as --store."
        )
    return f"sqlite:///{url}"


def _engine(url: str) -> Engine:
    try:
        if url.startswith("sqlite"):
            Path(str(sa.make_url(url).database)).parent.mkdir(parents=True, exist_ok=True)
            settings = {"timeout": BUSY_TIMEOUT_MS / 1000, "check_same_thread": False}
            engine = sa.create_engine(url, connect_args=settings, **_POOL)
            sa.event.listen(engine, "connect", _prepare_sqlite)
            sa.event.listen(engine, "begin", _begin_sqlite)
            return engine
        return sa.create_engine(url, pool_pre_ping=True, **_POOL)
    except ModuleNotFoundError:
        raise SettingsError(
            "PostgreSQL needs the package psycopg, which is not installed. Run pip install 'kleash[postgres]'."
        ) from None
    except OSError as error:
        raise RunError(
            f"Cannot open the label database {url}: {error}. Give a path in a folder you may write."
        ) from None


def _prepare_sqlite(connection: Any, record: object) -> None:
    connection.isolation_level = None  # the driver must not begin transactions behind our back
    for pragma in (
        f"busy_timeout = {BUSY_TIMEOUT_MS}",
        "journal_mode = WAL",
        "synchronous = NORMAL",
        "foreign_keys = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _clear_database_errors(shown_url: str) -> Iterator[None]:
    try:
        yield
    except sa.exc.OperationalError as error:
        raise RunError(
            f"Cannot open the label database {shown_url}: {' '.join(str(error.orig).split())}. "
            "Check that the path is writable or the server is running, and that the password is right."
        ) from None
    except sa.exc.DatabaseError as error:
        raise RunError(
            f"{shown_url} is no label database: {error.orig}. Give another --store, or restore a backup."
        ) from None
