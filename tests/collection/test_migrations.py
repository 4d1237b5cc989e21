"""The schema's history: every step works on an empty and on a filled database, and ends at the tables as declared."""

import json
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from collection.made_campaigns import answer, claim_one, make_campaign, make_rater
from kleash.collection.migrations import VERSIONS, revisions, upgrade
from kleash.collection.store import tables as t
from kleash.collection.store.campaigns import campaign_named
from kleash.collection.store.database import Database

REVISIONS = revisions()


def at_revision(url, revision, monkeypatch):
    """Open a database as the version of KLeash did whose last migration was `revision`."""

    def migrate(self):
        with self.write() as connection:
            upgrade(connection, revision, shown_url=self.shown_url)

    with monkeypatch.context() as patch:
        patch.setattr(Database, "_migrate", migrate)
        return Database(url)


def revision_of(database):
    with database.read() as connection:
        return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one()


def differences(database):
    """What alembic would change to make the database what `tables.metadata` says, down to types and defaults."""
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return compare_metadata(context, t.metadata)


def test_all_migrations_together_make_the_tables_as_declared(empty_url):
    database = Database(empty_url)
    assert revision_of(database) == REVISIONS[-1]
    assert differences(database) == []
    database.close()


def test_a_change_of_the_tables_without_a_migration_would_be_found(database):
    with database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE slots DROP COLUMN expires_at")
        connection.exec_driver_sql("DROP INDEX ix_judgements_rater_id")
    assert {difference[0] for difference in differences(database)} == {"add_column", "add_index"}


def test_the_database_has_the_constraints_that_the_rules_rest_on(database):
    with database.read() as connection:
        inspector = sa.inspect(connection)
        for table in t.metadata.sorted_tables:
            declared = {
                tuple(column.name for column in constraint.columns)
                for constraint in table.constraints
                if isinstance(constraint, sa.UniqueConstraint)
            }
            present = {tuple(each["column_names"]) for each in inspector.get_unique_constraints(table.name)}
            assert present == declared, table.name
            targets = {(key.parent.name, key.column.table.name) for key in table.foreign_keys}
            found = {
                (each["constrained_columns"][0], each["referred_table"])
                for each in inspector.get_foreign_keys(table.name)
            }
            assert found == targets, table.name
    assert ("item_id", "rater_id", "purpose") in {
        tuple(each["column_names"]) for each in sa.inspect(database.engine).get_unique_constraints("assignments")
    }


def test_every_migration_applies_to_the_one_before_it(empty_url, monkeypatch):
    for revision in REVISIONS:
        database = at_revision(empty_url, revision, monkeypatch)
        assert revision_of(database) == revision
        database.close()
    database = Database(empty_url)
    assert differences(database) == []
    database.close()


def fill(database):
    """Put a campaign with one begun and one waiting item into a database of the first revision, in plain SQL."""
    tables = sa.MetaData()
    tables.reflect(database.engine)
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    if database.is_sqlite:
        now = now.replace(tzinfo=None)

    def insert(connection, table, **values):
        connection.execute(tables.tables[table].insert().values(values))

    with database.write() as connection:
        insert(connection, "campaigns", name="trial", state="open", settings="{}", seed="s", created_at=now)
        insert(connection, "rubrics", campaign_id=1, version="v", text='"text"', created_at=now)
        insert(connection, "raters", name="ann", kind="person", demotion='""', created_at=now)
        for number, begun_at in [(1, now), (2, None)]:
            insert(
                connection,
                "items",
                campaign_id=1,
                comparison_id=f"c{number}",
                prompt=json.dumps(f"prompt {number}"),
                slices="{}",
                completions='["a", "b"]',
                sources="[]",
                gold_ranks="[]",
                is_gold=False,
                hold="",
                overlap=2,
                priority=0.0,
                begun_at=begun_at,
            )
            for slot in range(2):
                insert(connection, "slots", item_id=number, number=slot, campaign_id=1, reserved_for="", is_done=False)
        task = {"id": "task", "campaign_id": 1, "item_id": 1, "rater_id": 1, "purpose": "vote", "permutation": "[0, 1]"}
        insert(connection, "assignments", **task, created_at=now, is_answered=True)
        verdict = {"outcome": "ranked", "ranks": "[1, 2]", "aspects": "{}", "flags": "[]", "rationale": '"why"'}
        insert(
            connection,
            "judgements",
            campaign_id=1,
            item_id=1,
            rater_id=1,
            assignment_id="task",
            client_key="k",
            permutation="[0, 1]",
            **verdict,
            skip_reason='""',
            rubric_version="v",
            is_surplus=False,
            given_at=now,
        )
        slots = tables.tables["slots"]
        connection.execute(
            slots.update().where(slots.c.item_id == 1, slots.c.number == 0).values(assignment_id="task", is_done=True)
        )


def rows_of(database):
    """Every row of every table, without the columns that came later than the first revision."""
    tables = sa.MetaData()
    tables.reflect(database.engine)
    with database.read() as connection:
        return {
            table.name: [dict(row._mapping) for row in connection.execute(table.select())]
            for table in tables.sorted_tables
            if table.name != "alembic_version"
        }


def test_no_migration_loses_or_changes_a_row(empty_url, monkeypatch):
    database = at_revision(empty_url, REVISIONS[0], monkeypatch)
    fill(database)
    before = rows_of(database)
    database.close()
    for revision in REVISIONS[1:]:
        database = at_revision(empty_url, revision, monkeypatch)
        after = rows_of(database)
        for name, rows in before.items():
            assert len(after[name]) == len(rows)
            for row, later in zip(rows, after[name], strict=True):
                assert {key: later[key] for key in row} == row
        database.close()


def test_work_goes_on_after_the_migrations(empty_url, monkeypatch):
    database = at_revision(empty_url, REVISIONS[0], monkeypatch)
    fill(database)
    database.close()
    database = Database(empty_url)
    bob = make_rater(database, "bob")
    with database.read() as connection:
        campaign = campaign_named(connection, "trial")
    first = claim_one(database, campaign, bob)
    assert first.item_id == "1", "the item that was begun before the migration comes first"
    answer(database, campaign, first, bob)
    assert claim_one(database, campaign, bob).item_id == "2"
    assert make_campaign(database, name="another").id == 2
    database.close()


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_migration_file_is_named_and_chained_by_its_number(revision):
    [path] = VERSIONS.glob(f"{revision}_*.py")
    lines = path.read_text().splitlines()
    before = REVISIONS[REVISIONS.index(revision) - 1] if revision != REVISIONS[0] else None
    assert f'revision = "{revision}"' in lines
    assert (f'down_revision = "{before}"' if before else "down_revision = None") in lines
