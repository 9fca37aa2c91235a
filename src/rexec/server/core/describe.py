"""A container as its owner sees it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from rexec.server.core.clock import rfc3339
from rexec.server.ports.records import ContainerRow, Status

MASK = "***"


def describe(row: ContainerRow, now: datetime) -> dict[str, Any]:
    """Every public key of one container; those that have no value and are optional are left out."""
    used = row.last_used_at or row.started_at
    shown: dict[str, Any] = {
        "id": row.id,
        "db_id": row.id,
        "user_id": row.user_id,
        "name": row.name,
        "image": row.image,
        "status": str(row.status),
        "stage": str(row.stage),
        "progress": row.progress,
        "created_at": rfc3339(row.created_at),
        "started_at": rfc3339(row.started_at) if row.started_at else None,
        "last_used_at": rfc3339(row.last_used_at) if row.last_used_at else None,
        "idle_seconds": max(0, int((now - used).total_seconds())) if used and row.status is Status.RUNNING else 0,
        "resources": {
            "memory_mb": row.limits.memory_mb,
            "cpu_shares": row.limits.cpu_millis,
            "disk_mb": row.limits.disk_mb,
        },
        "enforced": asdict(row.enforced),
        "degraded": list(row.degraded),
        "labels": row.labels,
        "environment": dict.fromkeys(row.environment_names, MASK),
        "shell": row.shell,
        "user": row.user,
        "reason": row.reason,
        "message": row.message,
        "container_id": row.engine_id,
        "ip_address": row.ip_address,
    }
    if row.custom_image is not None:
        shown["custom_image"] = row.custom_image
    if row.role is not None:
        shown["role"] = row.role
    if row.expires_at is not None:
        shown["expires_at"] = rfc3339(row.expires_at)
        shown["session_limit_seconds"] = max(0, int((row.expires_at - now).total_seconds()))
    return shown
