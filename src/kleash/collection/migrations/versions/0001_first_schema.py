"""The first schema."""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None

_CALLED_IN_SQLITE = {"SERIAL": "INTEGER", "TIMESTAMP WITH TIME ZONE": "DATETIME"}


def upgrade() -> None:
    text = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    if op.get_context().dialect.name == "sqlite":
        for name, own_name in _CALLED_IN_SQLITE.items():
            text = text.replace(name, own_name)
    for statement in text.split(";"):
        if statement.strip():
            op.execute(statement)
