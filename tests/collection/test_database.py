"""Opening, backing up and restoring a label database, and what its columns give back."""

import json
import multiprocessing
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import assume, given
from hypothesis import strategies as st

from collection.made_campaigns import make_campaign, make_rater
from kleash.collection.migrations import revisions
from kleash.collection.store import tables as t
from kleash.collection.store.campaigns import campaign_named, campaigns
from kleash.collection.store.database import Database
from kleash.errors import RunError, SettingsError


def content(path):
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


# -------------------------------------------------------------------------------------------------------------- opening
def test_an_empty_database_is_made_ready_and_opened_again(empty_url):
    database = Database(empty_url)
    make_campaign(database, name="kept")
    database.close()
    again = Database(empty_url)
    with again.read() as connection:
        assert [campaign.name for campaign in campaigns(connection)] == ["kept"]
    again.close()


def test_a_file_in_a_folder_that_does_not_exist_is_made_with_it(tmp_path):
    Database(tmp_path / "a" / "b" / "labels.db").close()
    assert (tmp_path / "a" / "b" / "labels.db").is_file()


@pytest.mark.parametrize("scheme", ["postgresql://", "postgres://", "postgresql+psycopg://"])
def test_every_way_to_write_a_postgresql_url_will_do(postgresql_server, migrated_postgresql, scheme):
    url = sa.make_url(postgresql_server).set(database=migrated_postgresql).render_as_string(hide_password=False)
    database = Database(scheme + url.partition("://")[2])
    assert not database.is_sqlite
    assert "kleash:***@" in database.shown_url
    database.close()


def test_another_kind_of_database_is_refused():
    with pytest.raises(SettingsError, match=r"Unknown kind of database: mysql.*Expected a file's path or postgresql"):
        Database("mysql://me@somewhere/labels")


def test_postgresql_without_its_driver_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(SettingsError, match=r"needs the package psycopg.*Run pip install 'kleash\[postgres\]'"):
        Database("postgresql://me@somewhere/labels")


def test_a_wrong_password_is_said_without_showing_it(postgresql_server):
    url = sa.make_url(postgresql_server).set(password="wrong-one").render_as_string(hide_password=False)
    with pytest.raises(
        RunError, match=r"Cannot open the label database .*password.* that the password is right"
    ) as told:
        Database(url)
    assert "wrong-one" not in str(told.value)


def test_a_server_that_is_not_there_is_said(tmp_path):
    with pytest.raises(RunError, match=r"Cannot open the label database .* the server is running"):
        Database(f"postgresql://kleash@/labels?host={tmp_path}")


def test_a_file_that_is_no_database_is_said_and_left_as_it_was(tmp_path):
    path = tmp_path / "labels.db"
    path.write_text("prompt,answer\n" * 200)
    with pytest.raises(RunError, match=r"labels.db is no label database: file is not a database. Give another --store"):
        Database(path)
    assert path.read_text() == "prompt,answer\n" * 200


def test_a_folder_in_place_of_the_file_is_said(tmp_path):
    with pytest.raises(RunError, match=r"Cannot open the label database .*unable to open database file"):
        Database(tmp_path)


def test_a_database_of_something_else_is_refused_and_left_as_it_was(empty_url, dialect):
    engine = sa.create_engine(empty_url if dialect == "postgresql" else f"sqlite:///{empty_url}")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE cookies (id INTEGER PRIMARY KEY)")
    with pytest.raises(
        RunError, match=r"holds something else: the table cookies.*Expected an empty database or one of"
    ):
        Database(empty_url)
    assert sa.inspect(engine).get_table_names() == ["cookies"]
    engine.dispose()


@pytest.mark.parametrize("folder", ["", "further/down"])
def test_a_folder_that_is_not_writable_is_said(tmp_path, unprivileged, folder):
    index = tmp_path / "locked"
    index.mkdir()
    for parent in [index, *index.parents][:-1]:
        if parent.stat().st_uid == index.stat().st_uid and parent.parent != parent:
            parent.chmod(parent.stat().st_mode | 0o111)
    with (
        unprivileged(index),
        pytest.raises(RunError, match=r"Cannot open the label database .*(writable|you may write)"),
    ):
        Database(index / folder / "labels.db")


def test_a_database_from_a_later_version_is_refused_and_left_as_it_was(empty_url):
    Database(empty_url).close()
    engine = sa.create_engine(empty_url if "://" in empty_url else f"sqlite:///{empty_url}")
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(RunError, match=r"cannot be brought up to date.*9999.*a later version of KLeash. Update KLeash"):
        Database(empty_url)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == "9999"
    engine.dispose()


def test_a_current_database_is_opened_without_alembic_and_torch(tmp_path, migrated_sqlite):
    path = shutil.copy(migrated_sqlite, tmp_path / "labels.db")
    program = (
        "import sys; from kleash.collection.store.database import Database; "
        f"Database({str(path)!r}).close(); print([m for m in ('alembic', 'torch', 'mako') if m in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def open_one(url):
    Database(url).close()


@pytest.mark.slow
def test_processes_that_open_an_empty_database_at_once_all_succeed(empty_url):
    processes = [multiprocessing.get_context("spawn").Process(target=open_one, args=(empty_url,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    database = Database(empty_url)
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").all() == [(revisions()[-1],)]
    database.close()


# --------------------------------------------------------------------------------------------------------- transactions
def test_an_error_rolls_everything_back(database):
    values = {"name": "ann", "kind": "person", "demotion": "", "created_at": datetime.now(UTC)}

    def write_twice():
        with database.write() as connection:
            connection.execute(t.raters.insert().values(values))
            connection.execute(t.raters.insert().values(values))

    with pytest.raises(sa.exc.IntegrityError):
        write_twice()
    with database.read() as connection:
        assert connection.execute(sa.select(t.raters)).all() == []


def test_a_reader_sees_one_picture_while_others_write(database):
    make_rater(database, "ann")
    count = sa.select(sa.func.count()).select_from(t.raters)
    with database.read() as connection:
        before = connection.execute(count).scalar_one()
        make_rater(database, "bob")
        assert connection.execute(count).scalar_one() == before == 1
    with database.read() as connection:
        assert connection.execute(count).scalar_one() == 2


def test_a_writer_that_reads_first_is_never_refused_for_another_that_wrote_meanwhile(database):
    def enter(name):
        with database.write() as connection:
            connection.execute(sa.select(t.raters)).all()
            connection.execute(
                t.raters.insert().values(name=name, kind="person", demotion="", created_at=datetime.now(UTC))
            )

    threads = [threading.Thread(target=enter, args=(f"rater {number}",)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as connection:
        assert len(connection.execute(sa.select(t.raters)).all()) == 12


def test_a_row_cannot_refer_to_one_that_is_not_there(database):
    values = {"campaign_id": 7, "version": "v", "text": "", "created_at": datetime.now(UTC)}
    with pytest.raises(sa.exc.IntegrityError), database.write() as connection:
        connection.execute(t.rubrics.insert().values(values))


# -------------------------------------------------------------------------------------------------------------- columns
PAIR = st.tuples(st.characters(min_codepoint=0xD800, max_codepoint=0xDBFF), st.characters())


@given(
    st.recursive(
        st.text(st.characters()) | st.integers() | st.booleans() | st.none(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
    )
)
def test_any_json_becomes_plain_ascii_and_comes_back_its_lists_as_tuples(value):
    # Two surrogates that make a pair are one character in JSON: json.loads itself joins them.
    text = json.dumps(value, ensure_ascii=False)
    assume(text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass") == text)
    column = t.Json()
    stored = column.process_bind_param(value, None)
    assert stored is None or (stored.isascii() and "\x00" not in stored)
    found = column.process_result_value(stored, None)
    assert not isinstance(found, list)
    assert json.loads(json.dumps(found)) == value


def test_times_come_back_in_utc_to_the_microsecond(database):
    given_at = datetime(2026, 11, 23, 1, 2, 3, 456789, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    with database.write() as connection:
        connection.execute(t.raters.insert().values(name="ann", kind="person", demotion="", created_at=given_at))
        back = connection.execute(sa.select(t.raters.c.created_at)).scalar_one()
        found = connection.execute(sa.select(t.raters.c.name).where(t.raters.c.created_at <= given_at)).scalar_one()
    assert back == given_at
    assert back.utcoffset() == timedelta(0)
    assert found == "ann"


# -------------------------------------------------------------------------------------------------- backup and restore
@pytest.fixture
def labels(tmp_path, migrated_sqlite):
    database = Database(shutil.copy(migrated_sqlite, tmp_path / "labels.db"))
    yield database
    database.close()


def test_a_backup_restored_is_the_database_as_it_was(labels, tmp_path):
    make_campaign(labels, name="before")
    labels.back_up(tmp_path / "backup.db")
    make_campaign(labels, name="after")
    labels.restore(tmp_path / "backup.db")
    with labels.read() as connection:
        assert [campaign.name for campaign in campaigns(connection)] == ["before"]
    assert content(tmp_path / "labels.db") == content(tmp_path / "backup.db")
    make_campaign(labels, name="later")


def test_a_backup_is_one_file_that_can_be_read_where_nothing_can_be_written(labels, tmp_path, unprivileged):
    make_campaign(labels, name="before")
    vault = tmp_path / "vault"
    vault.mkdir()
    labels.back_up(vault / "backup.db")
    assert [path.name for path in vault.iterdir()] == ["backup.db"]
    with closing(sqlite3.connect(f"file:{vault / 'backup.db'}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    labels.restore(vault / "backup.db")
    assert [path.name for path in vault.iterdir()] == ["backup.db"]
    with labels.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def test_a_backup_taken_while_others_write_is_one_picture(labels, tmp_path):
    stop = threading.Event()

    def write_pairs():
        number = 0
        while not stop.is_set():
            with labels.write() as connection:
                for half in "ab":
                    connection.execute(
                        t.raters.insert().values(
                            name=f"{number}{half}", kind="person", demotion="x" * 5000, created_at=datetime.now(UTC)
                        )
                    )
            number += 1

    writer = threading.Thread(target=write_pairs)
    writer.start()
    try:
        for number in range(5):
            labels.back_up(tmp_path / f"backup {number}.db")
    finally:
        stop.set()
        writer.join()
    for number in range(5):
        with closing(sqlite3.connect(tmp_path / f"backup {number}.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert connection.execute("SELECT count(*) % 2 FROM raters").fetchone() == (0,)


def test_a_backup_never_overwrites(labels, tmp_path):
    labels.back_up(tmp_path / "backup.db")
    with pytest.raises(RunError, match=r"backup.db exists already. A backup never overwrites. Choose another name"):
        labels.back_up(tmp_path / "backup.db")


def test_a_backup_that_cannot_be_written_leaves_nothing_behind(labels, tmp_path, file_size_limit):
    make_campaign(labels, num_items=200)
    with pytest.raises(RunError, match=r"Cannot write the backup .*nowhere/backup.db: .*Choose a folder that exists"):
        labels.back_up(tmp_path / "nowhere" / "backup.db")
    with file_size_limit(20_000), pytest.raises(RunError, match=r"Cannot write the backup .*backup.db: "):
        labels.back_up(tmp_path / "backup.db")
    assert not list(tmp_path.glob("backup*"))


def damaged(backup):
    content = bytearray(backup.read_bytes())
    content[4096 : 4096 * 6] = b"\xff" * 4096 * 5
    backup.write_bytes(content)


def cut_short(backup):
    backup.write_bytes(backup.read_bytes()[:-5000])


def no_database(backup):
    backup.write_text("not a database")


def empty(backup):
    backup.write_bytes(b"")


def of_something_else(backup):
    backup.unlink()
    with closing(sqlite3.connect(backup)) as connection:
        connection.execute("CREATE TABLE judgements (id INTEGER)")


def from_a_later_version(backup):
    with closing(sqlite3.connect(backup)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()


@pytest.mark.parametrize("spoil", [damaged, cut_short, no_database, empty, of_something_else, from_a_later_version])
def test_what_is_no_backup_is_refused_and_the_database_untouched(labels, tmp_path, spoil):
    make_campaign(labels, name="kept")
    labels.back_up(tmp_path / "backup.db")
    spoil(tmp_path / "backup.db")
    before = content(tmp_path / "labels.db")
    with pytest.raises(RunError, match=r"backup.db is no backup .*Give a file that `kleash collect backup` wrote"):
        labels.restore(tmp_path / "backup.db")
    assert content(tmp_path / "labels.db") == before
    with labels.read() as connection:
        assert campaign_named(connection, "kept")


def test_a_backup_for_whose_content_there_is_no_room_leaves_the_database_as_it_was(labels, tmp_path, file_size_limit):
    make_campaign(labels, num_items=400, name="large")
    labels.back_up(tmp_path / "large.db")
    small = Database(tmp_path / "small.db")
    make_campaign(small, name="kept")
    before = content(tmp_path / "small.db")
    with (
        file_size_limit(300_000),
        pytest.raises(RunError, match=r"Cannot restore .*large.db: .* is as it was. Make room"),
    ):
        small.restore(tmp_path / "large.db")
    assert content(tmp_path / "small.db") == before
    small.close()


def test_a_backup_that_is_not_there_is_said(labels, tmp_path):
    with pytest.raises(RunError, match=r"There is no backup at .*none.db. Give a file"):
        labels.restore(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize(("action", "tool"), [("back_up", "pg_dump"), ("restore", "pg_restore")])
def test_postgresql_is_backed_up_by_its_own_tools(postgresql_server, migrated_postgresql, tmp_path, action, tool):
    url = sa.make_url(postgresql_server).set(database=migrated_postgresql).render_as_string(hide_password=False)
    database = Database(url)
    with pytest.raises(SettingsError, match=rf"Cannot {action.replace('_', ' ')} .*\*\*\*.* Use {tool}"):
        getattr(database, action)(Path(tmp_path / "backup"))
    database.close()
