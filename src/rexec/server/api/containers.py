"""Containers: create, look, change, move, delete."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from rexec.errors import Invalid
from rexec.models import ChangeContainer, CreateContainer, Renew
from rexec.server.api.idempotent import once
from rexec.server.api.problems import Json
from rexec.server.api.routing import P, S, operation
from rexec.server.core.containers import Changes, NewContainer
from rexec.server.core.services import Services
from rexec.server.ports.records import ContainerRow, Principal, Status
from rexec.server.ports.store import ContainerFilter, Transaction

router = APIRouter(tags=["containers"])
_BASE = "/api/containers"
_ONE = "/api/containers/{reference}"
CREATING = "Container is being created. This may take a moment if the image needs to be pulled."
_LONGEST_WAIT = 300
_PAGE = 1000
_READ, _WRITE = "containers:read", "containers:write"
EXAMPLE = {
    "id": "550e8400-e29b-41d4-a716-446655440000", "db_id": "550e8400-e29b-41d4-a716-446655440000",
    "user_id": "usr_5f2b8c1d9e", "name": "swift-lion-742", "image": "debian:bookworm", "status": "creating",
    "created_at": "2030-01-15T10:30:00.000000Z", "async": True, "message": CREATING,
    "resources": {"memory_mb": 2048, "cpu_shares": 2000, "disk_mb": 10240}, "labels": {}, "environment": {},
    "enforced": {"memory": True, "cpu": True, "pids": True, "disk": False},
}  # fmt: skip


def _wish(body: CreateContainer) -> NewContainer:
    return NewContainer(
        image=body.image,
        custom_image=body.custom_image,
        name=body.name,
        role=body.role,
        shell=body.shell.model_dump(exclude_none=True),
        memory_mb=body.memory_mb,
        cpu_millis=body.cpu_shares,
        disk_mb=body.disk_mb,
        environment=body.environment,
        labels=body.labels,
        user=body.user,
    )


def _accepted(services: Services, row: ContainerRow) -> dict[str, Any]:
    return {**services.containers.describe(row), "async": True, "message": CREATING}


async def make(
    request: Request, services: Services, principal: Principal, body: CreateContainer, key: str | None
) -> ContainerRow:
    """Admit and write down; counted against the creates of a minute when it is admitted."""

    async def before_commit(tx: Transaction, row: ContainerRow) -> None:
        limit = None if principal.is_admin else services.tiers.of(principal.tier).creates_per_minute
        if limit is not None:
            await services.rate_limits.spend_in(tx, f"creates:{principal.user_id}", limit)
        if key is not None:
            await services.idempotency.tie(tx, principal, key, row.id)

    return await services.containers.create(principal, _wish(body), before_commit=before_commit)


@operation(router, "POST", _BASE, scope=_WRITE, ok=(202, 200), creates=True, example=EXAMPLE)
async def create(
    request: Request, services: S, principal: P, body: CreateContainer,
    wait: Annotated[float | None, Query(ge=0, le=_LONGEST_WAIT)] = None,
) -> Response:  # fmt: skip
    """Create a container.

    Answers at once; progress comes over `/ws/events`. With `wait`, holds the answer until it is ready or failed (200),
    or the time is over (202)."""

    async def work() -> tuple[int, dict[str, Any]]:
        row = await make(request, services, principal, body, request.headers.get("idempotency-key"))
        if wait:
            seen = await services.containers.wait(row.id, lambda now: now.status is not Status.CREATING, wait)
            if seen is not None and seen.status is not Status.CREATING:
                return 200, services.containers.describe(seen)
        return 202, _accepted(services, row)

    async def replay(subject: str) -> dict[str, Any]:
        return _accepted(services, await services.containers.find(principal, subject))

    return await once(request, services, principal, work, replay=replay)


@operation(router, "GET", _BASE, scope=_READ, example={"containers": [EXAMPLE], "count": 1, "limit": 5})
async def page(
    request: Request, services: S, principal: P,
    limit: Annotated[int, Query(ge=1, le=_PAGE)] = _PAGE,
    cursor: str | None = None,
    status: Annotated[list[Status] | None, Query()] = None,
    label: Annotated[list[str] | None, Query()] = None,
    name: str | None = None,
    everyone: Annotated[bool, Query(alias="all")] = False,
    format: str | None = None,
) -> Response:  # fmt: skip
    """List one's containers, newest first."""
    wanted = ContainerFilter(
        statuses=status or (), labels=_labels(label or []), name=name, limit=limit + 1, before=_before(cursor)
    )
    rows = await services.containers.page(principal, wanted, everyone=everyone)
    shown = [services.containers.describe(row) for row in rows[:limit]]
    if format == "array" or "profile=array" in request.headers.get("accept", "").replace('"', ""):
        return Json(shown)
    body: dict[str, Any] = {"containers": shown, "count": len(shown), "limit": services.containers.limit(principal)}
    if len(rows) > limit:
        body["next_cursor"] = _cursor(rows[limit - 1])
    return Json(body)


@operation(router, "GET", _ONE, scope=_READ, example=EXAMPLE)
async def get(services: S, principal: P, reference: str) -> Response:
    """Show one container."""
    return Json(services.containers.describe(await services.containers.find(principal, reference)))


@operation(router, "PATCH", _ONE, scope=_WRITE, example=EXAMPLE)
async def change(services: S, principal: P, reference: str, body: ChangeContainer) -> Response:
    """Rename, relabel, resize."""
    changes = Changes(body.name, body.labels, body.memory_mb, body.cpu_shares)
    return Json(services.containers.describe(await services.containers.change(principal, reference, changes)))


@operation(router, "DELETE", _ONE, scope=_WRITE)
async def delete(services: S, principal: P, reference: str) -> Response:
    """Delete a container, whatever its state."""
    row = await services.containers.delete(principal, reference)
    return Json({"message": "container deleted", "id": row.id, "db_id": row.id, "name": row.name})


Timeout = Annotated[float, Query(gt=0, le=_LONGEST_WAIT)]


@operation(router, "POST", _ONE + "/start", scope=_WRITE)
async def start(services: S, principal: P, reference: str, timeout: Timeout = 60) -> Response:
    """Start a container and wait until it runs."""
    row, outcome = await services.containers.start(principal, reference, timeout)
    if outcome.recreated:
        lost = {"recreated": True, "data_kept": outcome.data_kept}
        return Json({**_moved(row, "container recreated and started"), **lost})
    return Json(_moved(row, "container started"))


@operation(router, "POST", _ONE + "/stop", scope=_WRITE)
async def stop(services: S, principal: P, reference: str, timeout: Timeout = 60) -> Response:
    """Stop a container; its data stays."""
    return Json(_moved(await services.containers.stop(principal, reference, timeout), "container stopped"))


@operation(router, "POST", _ONE + "/pause", scope=_WRITE)
async def pause(services: S, principal: P, reference: str, timeout: Timeout = 60) -> Response:
    """Freeze a container; the next use wakes it."""
    return Json(_moved(await services.containers.pause(principal, reference, timeout), "container paused"))


@operation(router, "POST", _ONE + "/resume", scope=_WRITE)
async def resume(services: S, principal: P, reference: str, timeout: Timeout = 60) -> Response:
    """Wake a paused container."""
    return Json(_moved(await services.containers.resume(principal, reference, timeout), "container resumed"))


@operation(router, "POST", _ONE + "/renew", scope=_WRITE, example=EXAMPLE)
async def renew(services: S, principal: P, reference: str, body: Renew | None = None) -> Response:
    """Put off the end of a container's session."""
    row = await services.containers.renew(principal, reference, body.seconds if body else None)
    return Json(services.containers.describe(row))


@operation(router, "GET", _ONE + "/logs", scope=_READ, media="text/plain")
async def logs(
    services: S, principal: P, reference: str, tail: Annotated[int, Query(ge=0, le=10_000)] = 500
) -> Response:
    """The last lines that the container's first process wrote."""
    return Response(await services.containers.logs(principal, reference, tail), media_type="text/plain")


@operation(router, "GET", _ONE + "/events", scope=_READ)
async def history(
    services: S, principal: P, reference: str,
    after: Annotated[int, Query(ge=0, lt=1 << 62)] = 0, limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> Response:  # fmt: skip
    """What happened to one container."""
    row = await services.containers.find(principal, reference)
    messages = await services.events.history(row.id, after, limit)
    return Json({"events": [message.json() for message in messages], "count": len(messages)})


def _moved(row: ContainerRow, message: str) -> dict[str, Any]:
    return {"message": message, "id": row.id, "name": row.name, "status": str(row.status)}


def _labels(texts: list[str]) -> dict[str, str]:
    wrong = [text for text in texts if "=" not in text]
    if wrong:
        raise Invalid("label must be key=value", details=[{"field": "label", "message": "must be key=value"}])
    return dict(text.split("=", 1) for text in texts)


def _cursor(row: ContainerRow) -> str:
    return base64.urlsafe_b64encode(json.dumps([row.created_at.isoformat(), row.id]).encode()).decode()


def _before(cursor: str | None) -> tuple[datetime, str] | None:
    if cursor is None:
        return None
    try:
        at, last = json.loads(base64.urlsafe_b64decode(cursor))
        return _aware(datetime.fromisoformat(at)), str(last)
    except (binascii.Error, ValueError, TypeError) as error:
        raise Invalid("not a cursor of this list", details=[{"field": "cursor", "message": "unknown"}]) from error


def _aware(at: datetime) -> datetime:
    if at.tzinfo is None:
        raise ValueError("a cursor without a zone")
    return at
