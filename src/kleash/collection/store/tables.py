"""The tables. A change here needs a migration in `collection/migrations/versions`; a test compares the two.

Judgements and events are append-only: no function of the store updates or deletes their rows.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcTime(TypeDecorator[datetime]):
    """A moment in UTC: SQLite forgets time zones, so it is stored without one and read back with UTC."""

    impl = sa.DateTime(timezone=True)
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

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else json.dumps(value, sort_keys=True)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else _with_tuples(json.loads(value))


def _with_tuples(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _with_tuples(value) for name, value in content.items()}
    return tuple(map(_with_tuples, content)) if isinstance(content, list) else content


def _key() -> sa.Column[int]:
    return sa.Column("id", sa.Integer, primary_key=True)


campaigns = sa.Table(
    "campaigns",
    metadata,
    _key(),
    sa.Column("name", sa.String(200), nullable=False, unique=True),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("settings", Json, nullable=False),
    sa.Column("seed", sa.String(80), nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
)

rubrics = sa.Table(
    "rubrics",
    metadata,
    _key(),
    sa.Column("campaign_id", sa.ForeignKey("campaigns.id"), nullable=False),
    sa.Column("version", sa.String(64), nullable=False),
    sa.Column("text", Json, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Index(None, "campaign_id"),
)

items = sa.Table(
    "items",
    metadata,
    _key(),
    sa.Column("campaign_id", sa.ForeignKey("campaigns.id"), nullable=False),
    sa.Column("comparison_id", sa.String(64), nullable=False),
    sa.Column("prompt", Json, nullable=False),
    sa.Column("slices", Json, nullable=False),
    sa.Column("completions", Json, nullable=False),
    sa.Column("sources", Json, nullable=False),
    sa.Column("gold_ranks", Json, nullable=False),
    sa.Column("is_gold", sa.Boolean, nullable=False),
    # Why it is not given out, such as "names a model"; empty for an item that is.
    sa.Column("hold", sa.String(200), nullable=False),
    # The number of slots it has now.
    sa.Column("overlap", sa.Integer, nullable=False),
    # What the sampling policy goes by: uncertainty, or how suspicious; larger comes first.
    sa.Column("priority", sa.Float, nullable=False),
    # How it came to be given out; null until it is.
    sa.Column("arm", sa.String(20)),
    sa.Column("propensity", sa.Float),
    sa.Column("begun_at", UtcTime),
    # What its answers are to be judged by beside the rubric; null for nothing.
    sa.Column("criteria", Json),
    sa.UniqueConstraint("campaign_id", "comparison_id"),
    sa.Index(None, "campaign_id", "is_gold", "hold", "begun_at"),
)

raters = sa.Table(
    "raters",
    metadata,
    _key(),
    sa.Column("name", sa.String(200), nullable=False, unique=True),
    sa.Column("kind", sa.String(20), nullable=False),
    # Why an AI judge no longer counts ("left its band: ..."); empty for everybody else.
    sa.Column("demotion", Json, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
)

# One row per rater an item may still have or has: the (n+1)th judgement has no slot to take.
slots = sa.Table(
    "slots",
    metadata,
    sa.Column("item_id", sa.ForeignKey("items.id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("campaign_id", sa.ForeignKey("campaigns.id"), nullable=False),
    # "person" keeps a slot from AI judges; empty = anybody.
    sa.Column("reserved_for", sa.String(20), nullable=False),
    sa.Column("assignment_id", sa.ForeignKey("assignments.id"), unique=True),
    sa.Column("expires_at", UtcTime),
    sa.Column("is_done", sa.Boolean, nullable=False),
    # The item's own `begun_at`, here for the index by which claims find the next free slot.
    sa.Column("begun_at", UtcTime),
    sa.Index(None, "campaign_id", "is_done", "begun_at", "item_id", "number"),
)

assignments = sa.Table(
    "assignments",
    metadata,
    # A random token: all that a browser learns of a task.
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("campaign_id", sa.ForeignKey("campaigns.id"), nullable=False),
    sa.Column("item_id", sa.ForeignKey("items.id"), nullable=False),
    sa.Column("rater_id", sa.ForeignKey("raters.id"), nullable=False),
    sa.Column("purpose", sa.String(20), nullable=False),
    sa.Column("permutation", Json, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("is_answered", sa.Boolean, nullable=False),
    sa.UniqueConstraint("item_id", "rater_id", "purpose"),
    sa.Index(None, "rater_id", "campaign_id", "is_answered"),
)

judgements = sa.Table(
    "judgements",
    metadata,
    _key(),
    sa.Column("campaign_id", sa.ForeignKey("campaigns.id"), nullable=False),
    sa.Column("item_id", sa.ForeignKey("items.id"), nullable=False),
    sa.Column("rater_id", sa.ForeignKey("raters.id"), nullable=False),
    sa.Column("assignment_id", sa.ForeignKey("assignments.id"), nullable=False),
    # Chosen by the browser for each verdict, so that sending it twice stores it once.
    sa.Column("client_key", sa.String(80), nullable=False),
    # The row this one replaces; a row that is replaced stays, and is no longer in force.
    sa.Column("supersedes", sa.ForeignKey("judgements.id"), unique=True),
    sa.Column("permutation", Json, nullable=False),
    sa.Column("outcome", sa.String(20), nullable=False),
    sa.Column("ranks", Json, nullable=False),
    sa.Column("strength", sa.String(20)),
    sa.Column("aspects", Json, nullable=False),
    sa.Column("flags", Json, nullable=False),
    sa.Column("rationale", Json, nullable=False),
    sa.Column("skip_reason", Json, nullable=False),
    sa.Column("rubric_version", sa.String(64), nullable=False),
    sa.Column("seconds", sa.Float),
    sa.Column("is_surplus", sa.Boolean, nullable=False),
    sa.Column("given_at", UtcTime, nullable=False),
    sa.UniqueConstraint("assignment_id", "client_key"),
    sa.Index(None, "campaign_id"),
    sa.Index(None, "item_id"),
    sa.Index(None, "rater_id"),
)

judge_calls = sa.Table(
    "judge_calls",
    metadata,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("comparison_id", sa.String(64), nullable=False),
    sa.Column("judge", sa.String(200), nullable=False),
    sa.Column("model", sa.String(200), nullable=False),
    sa.Column("prompt_digest", sa.String(64), nullable=False),
    sa.Column("rubric_version", sa.String(64), nullable=False),
    sa.Column("permutation", Json, nullable=False),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("reply", Json, nullable=False),
    sa.Column("prompt_tokens", sa.Integer, nullable=False),
    sa.Column("reply_tokens", sa.Integer, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("made_at", UtcTime, nullable=False),
    sa.Index(None, "judge"),
)

# Which judgements went into which frozen preferences artifact.
exports = sa.Table(
    "exports",
    metadata,
    _key(),
    sa.Column("campaign_id", sa.ForeignKey("campaigns.id"), nullable=False),
    sa.Column("artifact_id", sa.String(64), nullable=False),
    sa.Column("path", Json, nullable=False),
    sa.Column("made_at", UtcTime, nullable=False),
    sa.Index(None, "campaign_id"),
)

exported_judgements = sa.Table(
    "exported_judgements",
    metadata,
    sa.Column("export_id", sa.ForeignKey("exports.id"), primary_key=True),
    sa.Column("judgement_id", sa.ForeignKey("judgements.id"), primary_key=True),
    sa.Index(None, "judgement_id"),
)

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("rater_id", sa.ForeignKey("raters.id"), primary_key=True),
    sa.Column("password_hash", sa.String(200), nullable=False),
    sa.Column("role", sa.String(20), nullable=False),
    sa.Column("is_active", sa.Boolean, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
)

invites = sa.Table(
    "invites",
    metadata,
    sa.Column("token_digest", sa.String(64), primary_key=True),
    sa.Column("role", sa.String(20), nullable=False),
    sa.Column("expires_at", UtcTime, nullable=False),
    sa.Column("used_by", sa.ForeignKey("raters.id")),
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("token_digest", sa.String(64), primary_key=True),
    sa.Column("rater_id", sa.ForeignKey("raters.id"), nullable=False),
    sa.Column("csrf_token", sa.String(64), nullable=False),
    sa.Column("expires_at", UtcTime, nullable=False),
    sa.Index(None, "rater_id"),
)

login_failures = sa.Table(
    "login_failures",
    metadata,
    _key(),
    # Whom it was aimed at, or from where: "name:..." or "address:...".
    sa.Column("subject", sa.String(300), nullable=False),
    sa.Column("failed_at", UtcTime, nullable=False),
    sa.Index(None, "subject", "failed_at"),
)

# Who changed what: append-only.
events = sa.Table(
    "events",
    metadata,
    _key(),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("actor", sa.String(200), nullable=False),
    sa.Column("action", sa.String(60), nullable=False),
    sa.Column("campaign_id", sa.ForeignKey("campaigns.id")),
    sa.Column("subject", Json, nullable=False),
    sa.Column("before", Json),
    sa.Column("after", Json),
    sa.Index(None, "campaign_id"),
)
