"""The time, asked in one place so that a test can set it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

Clock: TypeAlias = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


def rfc3339(at: datetime) -> str:
    """As it is on the wire: UTC, microseconds, `Z`."""
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")
