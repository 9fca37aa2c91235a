"""Rows that a test fills with just what it is about."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from rexec.server.ports.records import ContainerRow, Enforced, Limits, Stage, Status, Target, UserRow

NOW = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def user(**wanted: Any) -> UserRow:
    key = secrets.token_hex(8)
    row = UserRow(key, f"user-{key}", None, "free", False, False, NOW, None, None, 0)
    return replace(row, **wanted)


def container(owner: UserRow, **wanted: Any) -> ContainerRow:
    key = secrets.token_hex(8)
    row = ContainerRow(
        id=key, user_id=owner.id, name=f"c-{key}", image="debian:bookworm", custom_image=None, role=None, shell={},
        limits=Limits(512, 500, 1024), environment=b"\x00sealed", environment_names=("A", "B"), labels={}, user="root",
        status=Status.CREATING, target=Target.RUNNING, stage=Stage.VALIDATING, progress=0, reason=None, message=None,
        enforced=Enforced(memory=True), degraded=("no nvm",), engine="docker", host="here", engine_key=secrets.token_hex(8), engine_id=None,
        ip_address=None, created_at=NOW, started_at=None, last_used_at=None, expires_at=None, deleted_at=None,
        settled_at=None, attempts=0, version=1, claimed_by=None, claimed_until=None,
    )  # fmt: skip
    return replace(row, **wanted)
