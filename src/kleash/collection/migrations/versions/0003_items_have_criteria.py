"""Items may have criteria of their own beside the campaign's rubric."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("items", sa.Column("criteria", sa.Text(), nullable=True))
