"""The tables. A change here needs a migration in `collection/migrations/versions`; a test compares the two.

Judgements and events are append-only: no function of the store updates or deletes their rows.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcTime(TypeDecorator[datetime]):
    """A moment in UTC: SQLite forgets time zones, so it is stored without one and read back with UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.astimezone(UTC) if dialect.name == "postgresql" else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


class Json(TypeDecorator[Any]):
    """Any JSON value, also a plain string, as ASCII text; lists come back as tuples, which is how records hold them.

    Model output may hold null characters and lone surrogates, which PostgreSQL's own types refuse; as escapes within
    ASCII they go in and come out as they were.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else json.dumps(value, sort_keys=True)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else _with_tuples(json.loads(value))


def _with_tuples(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _with_tuples(value) for name, value in content.items()}
    return tuple(map(_with_tuples, content)) if isinstance(content, list) else content


def _key() -> Column[int]:
    return Column("id", Integer, primary_key=True)


campaigns = Table(
    "campaigns",
    metadata,
    _key(),
    Column("name", String(200), nullable=False, unique=True),
    Column("state", String(20), nullable=False),
    Column("settings", Json, nullable=False),
    Column("seed", String(80), nullable=False),
    Column("created_at", UtcTime, nullable=False),
)

rubrics = Table(
    "rubrics",
    metadata,
    _key(),
    Column("campaign_id", ForeignKey("campaigns.id"), nullable=False),
    Column("version", String(64), nullable=False),
    Column("text", Json, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Index(None, "campaign_id"),
)

items = Table(
    "items",
    metadata,
    _key(),
    Column("campaign_id", ForeignKey("campaigns.id"), nullable=False),
    Column("comparison_id", String(64), nullable=False),
    Column("prompt", Json, nullable=False),
    Column("slices", Json, nullable=False),
    Column("completions", Json, nullable=False),
    Column("sources", Json, nullable=False),
    Column("gold_ranks", Json, nullable=False),
    Column("is_gold", Boolean, nullable=False),
    # Why it is not given out, such as "names a model"; empty for an item that is.
    Column("hold", String(200), nullable=False),
    # The number of slots it has now.
    Column("overlap", Integer, nullable=False),
    # What the sampling policy goes by: uncertainty, or how suspicious; larger comes first.
    Column("priority", Float, nullable=False),
    # How it came to be given out; null until it is.
    Column("arm", String(20)),
    Column("propensity", Float),
    Column("begun_at", UtcTime),
    # What its answers are to be judged by beside the rubric; null for nothing.
    Column("criteria", Json),
    UniqueConstraint("campaign_id", "comparison_id"),
    Index(None, "campaign_id", "is_gold", "hold", "begun_at"),
)

raters = Table(
    "raters",
    metadata,
    _key(),
    Column("name", String(200), nullable=False, unique=True),
    Column("kind", String(20), nullable=False),
    # Why an AI judge no longer counts ("left its band: ..."); empty for everybody else.
    Column("demotion", Json, nullable=False),
    Column("created_at", UtcTime, nullable=False),
)

# One row per rater an item may still have or has: the (n+1)th judgement has no slot to take.
slots = Table(
    "slots",
    metadata,
    Column("item_id", ForeignKey("items.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("campaign_id", ForeignKey("campaigns.id"), nullable=False),
    # "person" keeps a slot from AI judges; empty = anybody.
    Column("reserved_for", String(20), nullable=False),
    Column("assignment_id", ForeignKey("assignments.id"), unique=True),
    Column("expires_at", UtcTime),
    Column("is_done", Boolean, nullable=False),
    # The item's own `begun_at`, here for the index by which claims find the next free slot.
    Column("begun_at", UtcTime),
    Index(None, "campaign_id", "is_done", "begun_at", "item_id", "number"),
)

assignments = Table(
    "assignments",
    metadata,
    # A random token: all that a browser learns of a task.
    Column("id", String(40), primary_key=True),
    Column("campaign_id", ForeignKey("campaigns.id"), nullable=False),
    Column("item_id", ForeignKey("items.id"), nullable=False),
    Column("rater_id", ForeignKey("raters.id"), nullable=False),
    Column("purpose", String(20), nullable=False),
    Column("permutation", Json, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("is_answered", Boolean, nullable=False),
    UniqueConstraint("item_id", "rater_id", "purpose"),
    Index(None, "rater_id", "campaign_id", "is_answered"),
)

judgements = Table(
    "judgements",
    metadata,
    _key(),
    Column("campaign_id", ForeignKey("campaigns.id"), nullable=False),
    Column("item_id", ForeignKey("items.id"), nullable=False),
    Column("rater_id", ForeignKey("raters.id"), nullable=False),
    Column("assignment_id", ForeignKey("assignments.id"), nullable=False),
    # Chosen by the browser for each verdict, so that sending it twice stores it once.
    Column("client_key", String(80), nullable=False),
    # The row this one replaces; a row that is replaced stays, and is no longer in force.
    Column("supersedes", ForeignKey("judgements.id"), unique=True),
    Column("permutation", Json, nullable=False),
    Column("outcome", String(20), nullable=False),
    Column("ranks", Json, nullable=False),
    Column("strength", String(20)),
    Column("aspects", Json, nullable=False),
    Column("flags", Json, nullable=False),
    Column("rationale", Json, nullable=False),
    Column("skip_reason", Json, nullable=False),
    Column("rubric_version", String(64), nullable=False),
    Column("seconds", Float),
    Column("is_surplus", Boolean, nullable=False),
    Column("given_at", UtcTime, nullable=False),
    UniqueConstraint("assignment_id", "client_key"),
    Index(None, "campaign_id"),
    Index(None, "item_id"),
    Index(None, "rater_id"),
)

judge_calls = Table(
    "judge_calls",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("comparison_id", String(64), nullable=False),
    Column("judge", String(200), nullable=False),
    Column("model", String(200), nullable=False),
    Column("prompt_digest", String(64), nullable=False),
    Column("rubric_version", String(64), nullable=False),
    Column("permutation", Json, nullable=False),
    Column("status", String(20), nullable=False),
    Column("reply", Json, nullable=False),
    Column("prompt_tokens", Integer, nullable=False),
    Column("reply_tokens", Integer, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("made_at", UtcTime, nullable=False),
    Index(None, "judge"),
)

# Which judgements went into which frozen preferences artifact.
exports = Table(
    "exports",
    metadata,
    _key(),
    Column("campaign_id", ForeignKey("campaigns.id"), nullable=False),
    Column("artifact_id", String(64), nullable=False),
    Column("path", Json, nullable=False),
    Column("made_at", UtcTime, nullable=False),
    Index(None, "campaign_id"),
)

exported_judgements = Table(
    "exported_judgements",
    metadata,
    Column("export_id", ForeignKey("exports.id"), primary_key=True),
    Column("judgement_id", ForeignKey("judgements.id"), primary_key=True),
    Index(None, "judgement_id"),
)

accounts = Table(
    "accounts",
    metadata,
    Column("rater_id", ForeignKey("raters.id"), primary_key=True),
    Column("password_hash", String(200), nullable=False),
    Column("role", String(20), nullable=False),
    Column("is_active", Boolean, nullable=False),
    Column("created_at", UtcTime, nullable=False),
)

invites = Table(
    "invites",
    metadata,
    Column("token_digest", String(64), primary_key=True),
    Column("role", String(20), nullable=False),
    Column("expires_at", UtcTime, nullable=False),
    Column("used_by", ForeignKey("raters.id")),
)

sessions = Table(
    "sessions",
    metadata,
    Column("token_digest", String(64), primary_key=True),
    Column("rater_id", ForeignKey("raters.id"), nullable=False),
    Column("csrf_token", String(64), nullable=False),
    Column("expires_at", UtcTime, nullable=False),
    Index(None, "rater_id"),
)

login_failures = Table(
    "login_failures",
    metadata,
    _key(),
    # Whom it was aimed at, or from where: "name:..." or "address:...".
    Column("subject", String(300), nullable=False),
    Column("failed_at", UtcTime, nullable=False),
    Index(None, "subject", "failed_at"),
)

# Who changed what: append-only.
events = Table(
    "events",
    metadata,
    _key(),
    Column("at", UtcTime, nullable=False),
    Column("actor", String(200), nullable=False),
    Column("action", String(60), nullable=False),
    Column("campaign_id", ForeignKey("campaigns.id")),
    Column("subject", Json, nullable=False),
    Column("before", Json),
    Column("after", Json),
    Index(None, "campaign_id"),
)
