"""The schema's history from the first version on: one file per change, applied when a database is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy.engine import Connection

from kleash.errors import RunError

VERSIONS = Path(__file__).parent / "versions"


def revisions() -> list[str]:
    """Return the names of all migrations, the first one first: their files' names begin with ascending numbers."""
    return sorted(path.name[:4] for path in VERSIONS.glob("[0-9]*.py"))


def upgrade(connection: Connection, revision: str = "head", *, shown_url: str) -> None:
    """Apply every migration up to `revision` in the open transaction; two processes that start at once take turns.

    shown_url: what an error calls the database. Raises RunError for one that a later version of KLeash wrote.
    """
    # Alembic is slow to import; a database that is up to date does without it.
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory
    from alembic.util.exc import CommandError

    config = Config()
    config.set_main_option("script_location", "kleash.collection:migrations")
    scripts = ScriptDirectory.from_config(config)

    def steps(present: Any, context: Any) -> Any:
        return scripts._upgrade_revs(revision, present)

    if connection.dialect.name == "postgresql":
        # Any number will do, as long as nobody else uses it: the two that start at once must ask for the same.
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7105327)")
    try:
        with EnvironmentContext(config, scripts, fn=steps) as environment:
            environment.configure(connection=connection, transactional_ddl=False)
            environment.run_migrations()
    except CommandError as error:
        raise RunError(
            f"The label database {shown_url} cannot be brought up to date: {error}. It was probably "
            "written by a later version of KLeash. Update KLeash."
        ) from None
