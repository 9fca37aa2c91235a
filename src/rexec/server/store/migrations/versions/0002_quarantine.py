"""Since when unknown engine objects have been noticed."""

import sqlalchemy as sa
from alembic import op

from rexec.server.store.types import UtcTime

revision = "0002_quarantine"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "quarantine",
        sa.Column("engine_key", sa.String(length=64), nullable=False),
        sa.Column("since", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("engine_key", name="pk_quarantine"),
    )
