"""Every table. The migrations in `migrations/versions` lead here; a test compares the two."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)

from rexec.server.store.types import Json, UtcTime

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

users = Table(
    "users",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("username", String(64), nullable=False),
    Column("email", String(320)),
    Column("tier", String(32), nullable=False),
    Column("is_admin", Boolean, nullable=False),
    Column("is_guest", Boolean, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime),
    Column("disabled_at", UtcTime),
    Column("last_seq", BigInteger, nullable=False),
    Column("deleted_at", UtcTime),
    Index("ix_users_username", "username"),
    Index(
        "uq_users_registered_name",
        "username",
        unique=True,
        sqlite_where=text("NOT is_guest AND deleted_at IS NULL"),
        postgresql_where=text("NOT is_guest AND deleted_at IS NULL"),
    ),
)

containers = Table(
    "containers",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("user_id", String(64), ForeignKey("users.id"), nullable=False),
    Column("name", String(64), nullable=False),
    Column("image", String(255), nullable=False),
    Column("custom_image", Text),
    Column("role", String(64)),
    Column("shell", Json, nullable=False),
    Column("memory_mb", Integer, nullable=False),
    Column("cpu_millis", Integer, nullable=False),
    Column("disk_mb", Integer, nullable=False),
    Column("pids", Integer, nullable=False),
    Column("environment", LargeBinary, nullable=False),
    Column("environment_names", Json, nullable=False),
    Column("labels", Json, nullable=False),
    Column("user", String(16), nullable=False),
    Column("status", String(16), nullable=False),
    Column("target", String(16), nullable=False),
    Column("stage", String(16), nullable=False),
    Column("progress", Integer, nullable=False),
    Column("reason", String(64)),
    Column("message", Text),
    Column("enforced", Json, nullable=False),
    Column("degraded", Json, nullable=False, server_default="[]"),
    Column("engine", String(32), nullable=False),
    Column("host", String(255), nullable=False),
    Column("engine_key", String(64), nullable=False),
    Column("engine_id", String(128)),
    Column("ip_address", String(64)),
    Column("created_at", UtcTime, nullable=False),
    Column("started_at", UtcTime),
    Column("last_used_at", UtcTime),
    Column("expires_at", UtcTime),
    Column("deleted_at", UtcTime),
    Column("settled_at", UtcTime),
    Column("attempts", Integer, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("claimed_by", String(64)),
    Column("claimed_until", UtcTime),
    Index(
        "uq_containers_living_name",
        "user_id",
        "name",
        unique=True,
        sqlite_where=text("deleted_at IS NULL"),
        postgresql_where=text("deleted_at IS NULL"),
    ),
    Index("ix_containers_user_id_created_at", "user_id", "created_at", "id"),
    Index("uq_containers_engine_key", "engine_key", unique=True),
    Index("ix_containers_engine_id", "engine_id"),
    Index("ix_containers_status", "status", "target"),
    Index("ix_containers_expires_at", "expires_at"),
)

events = Table(
    "events",
    metadata,
    Column("user_id", String(64), ForeignKey("users.id"), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("type", String(64), nullable=False),
    Column("container_id", String(64)),
    Column("data", Json, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Index("ix_events_container_id_seq", "container_id", "seq"),
    Index("ix_events_created_at", "created_at"),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("user_id", String(64), ForeignKey("users.id"), nullable=False),
    Column("name", String(255), nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("prefix", String(32), nullable=False),
    Column("scopes", Json, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime),
    Column("last_used_at", UtcTime),
    Column("revoked_at", UtcTime),
    Index("uq_tokens_digest", "digest", unique=True),
    Index("ix_tokens_user_id", "user_id"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("user_id", String(64), ForeignKey("users.id"), nullable=False),
    Column("refresh_digest", LargeBinary, nullable=False),
    Column("scopes", Json, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
    Column("last_used_at", UtcTime, nullable=False),
    Column("revoked_at", UtcTime),
    Column("user_agent", Text),
    Column("token_id", String(64)),
    Index("ix_sessions_user_id", "user_id"),
    Index("ix_sessions_token_id", "token_id"),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("user_id", String(64), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("path", Text, nullable=False),
    Column("body_digest", LargeBinary, nullable=False),
    Column("status", Integer),
    Column("answer", Json),
    Column("secret", Boolean, nullable=False),
    Column("subject", String(64)),
    Column("created_at", UtcTime, nullable=False),
    Column("claimed_by", String(64)),
    Column("claimed_until", UtcTime),
    Index("ix_idempotency_created_at", "created_at"),
)

keys = Table(
    "keys",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("engine_key", String(64), primary_key=True),
    Column("since", UtcTime, nullable=False),
)

counters = Table(
    "counters",
    metadata,
    Column("key", String(255), primary_key=True),
    Column("window", BigInteger, primary_key=True, autoincrement=False),
    Column("count", Integer, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
    Index("ix_counters_expires_at", "expires_at"),
)

sockets = Table(
    "sockets",
    metadata,
    Column("user_id", String(64), primary_key=True),
    Column("server", String(64), primary_key=True),
    Column("count", Integer, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
    Index("ix_sockets_server", "server"),
)

tiers = Table(
    "tiers",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("changes", Json, nullable=False),
)
