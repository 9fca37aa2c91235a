"""Accounts that can be deleted, sockets counted over servers, retries that outlive a server."""

import sqlalchemy as sa
from alembic import op

from rexec.server.store.types import Json, UtcTime

revision = "0003_accounts"
down_revision = "0002_quarantine"


def upgrade() -> None:
    op.add_column("users", sa.Column("deleted_at", UtcTime(), nullable=True))
    registered = sa.text("NOT is_guest AND deleted_at IS NULL")
    op.create_index(
        "uq_users_registered_name", "users", ["username"], unique=True,
        sqlite_where=registered, postgresql_where=registered,
    )  # fmt: skip
    op.add_column("sessions", sa.Column("token_id", sa.String(length=64), nullable=True))
    op.create_index("ix_sessions_token_id", "sessions", ["token_id"], unique=False)
    op.add_column("idempotency", sa.Column("claimed_by", sa.String(length=64), nullable=True))
    op.add_column("idempotency", sa.Column("claimed_until", UtcTime(), nullable=True))
    op.create_table(
        "sockets",
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("server", sa.String(length=64), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("expires_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "server", name="pk_sockets"),
    )
    op.create_index("ix_sockets_server", "sockets", ["server"], unique=False)
    op.create_table(
        "tiers",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("changes", Json, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_tiers"),
    )
