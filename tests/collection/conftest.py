"""A label database for each test, once in SQLite and once in a PostgreSQL server that lives as long as the session."""

import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import sqlalchemy as sa

from kleash.collection.store.database import Database

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="session")
def postgresql_server():
    """Start a PostgreSQL server and return its URL; whoever has PostgreSQL not installed sees the tests fail."""
    # Not in pytest's own temporary folder, which the server's user may not enter.
    folder = Path(tempfile.mkdtemp(prefix="kleash-tests-")) / "server"
    folder.parent.chmod(0o711)
    started = subprocess.run([SCRIPTS / "start_postgres", folder], capture_output=True, text=True)
    assert started.returncode == 0, f"{started.stderr}\nNo PostgreSQL server: run scripts/install_postgres first."
    yield started.stdout.strip()
    subprocess.run([SCRIPTS / "stop_postgres", folder], check=True)
    folder.parent.rmdir()


@contextmanager
def postgresql_database(server_url, template="template0"):
    """Make an empty database, or a copy of `template`, and give its URL; it is dropped at the end of the block."""
    url = sa.make_url(server_url)
    name = f"labels_{uuid4().hex}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield url.set(database=name).render_as_string(hide_password=False)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory):
    path = tmp_path_factory.mktemp("migrated") / "labels.db"
    Database(path).close()
    return path


@pytest.fixture(scope="session")
def migrated_postgresql(postgresql_server):
    with postgresql_database(postgresql_server) as url:
        Database(url).close()
        yield sa.make_url(url).database


@pytest.fixture(params=["sqlite", "postgresql"])
def dialect(request):
    return request.param


@pytest.fixture
def empty_url(dialect, request, tmp_path):
    """The URL of an empty database, to be opened for the first time by the test."""
    if dialect == "sqlite":
        yield str(tmp_path / "labels.db")
        return
    with postgresql_database(request.getfixturevalue("postgresql_server")) as url:
        yield url


@pytest.fixture
def database_url(dialect, request, tmp_path):
    """The URL of a label database without content; its schema is a copy, which is faster than all migrations."""
    if dialect == "sqlite":
        yield shutil.copy(request.getfixturevalue("migrated_sqlite"), tmp_path / "labels.db").as_posix()
        return
    template = request.getfixturevalue("migrated_postgresql")
    with postgresql_database(request.getfixturevalue("postgresql_server"), template) as url:
        yield url


@pytest.fixture
def database(database_url):
    """An open label database without content."""
    database = Database(database_url)
    yield database
    database.close()
