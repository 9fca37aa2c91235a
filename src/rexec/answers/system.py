"""The server itself."""

from __future__ import annotations

from typing import Any, ClassVar

from rexec.answers.answer import Answer


class Health(Answer):
    example: ClassVar[Any] = {"status": "ok"}

    status: str


class Ready(Answer):
    """Each part: `ok`, or what is wrong with it."""

    example: ClassVar[Any] = {"status": "ready", "engine": "ok", "database": "ok"}

    status: str
    engine: str
    database: str


class NotReady(Ready):
    example: ClassVar[Any] = {
        "status": "not ready", "engine": "the container engine is not connected", "database": "ok",
        "error": "not ready", "code": "unavailable", "request_id": "8f14e45fceea167a",
    }  # fmt: skip

    error: str
    code: str
    request_id: str


class Version(Answer):
    example: ClassVar[Any] = {"version": "0.1.0", "api": 1, "name": "rexec"}

    version: str
    api: int
    name: str


class Description(Answer):
    """OpenAPI 3.1."""

    example: ClassVar[Any] = {"openapi": "3.1.0", "info": {"title": "Rexec", "version": "1"}, "paths": {}}

    openapi: str
    info: dict[str, Any]
    paths: dict[str, Any]


class Tier(Answer):
    """Null: no limit."""

    example: ClassVar[Any] = {
        "name": "free", "containers": 5, "memory_mb": 2048, "memory_mb_max": 4096, "cpu_millis": 2000,
        "cpu_millis_max": 4000, "disk_mb": 10240, "disk_mb_max": 16384, "session_seconds": 180000,
        "creates_per_minute": 30, "requests_per_minute": 1200, "sockets": 50, "terminals": 20,
        "idle_terminal_seconds": 86400, "idle_seconds": None,
    }  # fmt: skip

    name: str
    containers: int | None
    memory_mb: int
    memory_mb_max: int
    cpu_millis: int
    cpu_millis_max: int
    disk_mb: int
    disk_mb_max: int
    session_seconds: int | None
    creates_per_minute: int | None
    requests_per_minute: int | None
    sockets: int
    terminals: int
    idle_terminal_seconds: int
    idle_seconds: int | None


class Tiers(Answer):
    example: ClassVar[Any] = {"tiers": {"free": {"containers": 5, "memory_mb": 2048, "memory_mb_max": 4096}}}

    tiers: dict[str, dict[str, Any]]
