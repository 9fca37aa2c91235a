"""What a container lacks of its role."""

import sqlalchemy as sa
from alembic import op

from rexec.server.store.types import Json

revision = "0004_degraded"
down_revision = "0003_accounts"


def upgrade() -> None:
    op.add_column("containers", sa.Column("degraded", Json, nullable=False, server_default="[]"))
