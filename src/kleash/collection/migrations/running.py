"""Bring a label database up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
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
    with database.write() as connection:
        if not database.is_sqlite:
            # Any number will do, as long as nobody else uses it: the two that start at once must ask for the same.
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7105327)")
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, revision)
        except CommandError as error:
            raise RunError(
                f"The label database {database.shown_url} cannot be brought up to date: {error}. It was probably "
                "written by a later version of KLeash. Update KLeash."
            ) from None
