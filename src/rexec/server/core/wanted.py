"""What a caller may wish of a container, and the row that a wish becomes."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from rexec.server.core.catalogue import shell_options
from rexec.server.core.progress import MESSAGES
from rexec.server.ports.records import ContainerRow, Enforced, Limits, Stage, Status, Target


@dataclass(frozen=True, slots=True)
class NewContainer:
    """A wish for a container; None takes the default. `environment` is in the clear."""

    image: str
    custom_image: str | None = None
    name: str | None = None
    role: str | None = None
    shell: Mapping[str, Any] = field(default_factory=dict)
    memory_mb: int | None = None
    cpu_millis: int | None = None
    disk_mb: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    user: Literal["root", "user"] = "root"


@dataclass(frozen=True, slots=True)
class Changes:
    name: str | None = None
    labels: Mapping[str, str] | None = None
    memory_mb: int | None = None
    cpu_millis: int | None = None


def new_row(
    wanted: NewContainer, key: str, *, user_id: str, name: str, image: str, limits: Limits, environment: bytes,
    enforced: Enforced, engine: str, host: str, created_at: datetime, expires_at: datetime | None,
) -> ContainerRow:  # fmt: skip
    """A creation that has yet to begin. `environment` is sealed for `key`; `image` is in the catalogue's spelling."""
    return ContainerRow(
        id=key,
        user_id=user_id,
        name=name,
        image=image,
        custom_image=wanted.custom_image,
        role=wanted.role,
        shell=shell_options(wanted.shell, image, wanted.role),
        limits=limits,
        environment=environment,
        environment_names=tuple(wanted.environment),
        labels=dict(wanted.labels),
        user=wanted.user,
        status=Status.CREATING,
        target=Target.RUNNING,
        stage=Stage.VALIDATING,
        progress=0,
        reason=None,
        message=MESSAGES[Stage.VALIDATING],
        enforced=enforced,
        degraded=(),
        engine=engine,
        host=host,
        engine_key=secrets.token_hex(8),
        engine_id=None,
        ip_address=None,
        created_at=created_at,
        started_at=None,
        last_used_at=None,
        expires_at=expires_at,
        deleted_at=None,
        settled_at=None,
        attempts=0,
        version=1,
        claimed_by=None,
        claimed_until=None,
    )
