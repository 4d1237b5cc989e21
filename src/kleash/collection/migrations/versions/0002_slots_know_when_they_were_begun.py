"""Slots know when their item was begun: the next free one, and the items that wait, are found through an index."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("slots", sa.Column("begun_at", sa.DateTime(timezone=True), nullable=True))
    op.execute("UPDATE slots SET begun_at = (SELECT items.begun_at FROM items WHERE items.id = slots.item_id)")
    op.drop_index(op.f("ix_slots_campaign_id_is_done"), "slots")
    op.create_index(
        op.f("ix_slots_campaign_id_is_done_begun_at_item_id_number"),
        "slots",
        ["campaign_id", "is_done", "begun_at", "item_id", "number"],
    )
    op.drop_index(op.f("ix_items_campaign_id_is_gold_begun_at"), "items")
    op.create_index(
        op.f("ix_items_campaign_id_is_gold_hold_begun_at"), "items", ["campaign_id", "is_gold", "hold", "begun_at"]
    )
