"""Bring a label database up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError

from kleash.errors import RunError

if TYPE_CHECKING:
    from kleash.collection.store.database import Database


def upgrade(database: Database, revision: str = "head") -> None:
    """Apply every migration up to `revision` in one transaction; two processes that start at once take turns.

    Raises RunError for a database that a later version of KLeash wrote.
    """
    config = Config()
    config.set_main_option("script_location", "kleash.collection:migrations")
    scripts = ScriptDirectory.from_config(config)

    def steps(present: Any, context: Any) -> Any:
        return scripts._upgrade_revs(revision, present)

    with database.write() as connection:
        if not database.is_sqlite:
            # Any number will do, as long as nobody else uses it: the two that start at once must ask for the same.
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7105327)")
        try:
            with EnvironmentContext(config, scripts, fn=steps) as environment:
                environment.configure(connection=connection, transactional_ddl=False)
                environment.run_migrations()
        except CommandError as error:
            raise RunError(
                f"The label database {database.shown_url} cannot be brought up to date: {error}. It was probably "
                "written by a later version of KLeash. Update KLeash."
            ) from None
