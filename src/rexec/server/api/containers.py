"""Containers: create, look, change, move, delete."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from rexec.answers import containers as told
from rexec.answers.answer import Raw, Shape
from rexec.answers.refusals import MOVES
from rexec.models import ChangeContainer, CreateContainer, Renew
from rexec.server.api import paging
from rexec.server.api.idempotent import once
from rexec.server.api.leaving import unless
from rexec.server.api.problems import Json
from rexec.server.api.routing import P, S, Whole, operation
from rexec.server.core.services import Services
from rexec.server.core.wanted import Changes, NewContainer
from rexec.server.ports.records import ContainerRow, Principal, Status
from rexec.server.ports.store import ContainerFilter, Transaction

router = APIRouter(tags=["containers"])
_BASE = "/api/containers"
_ONE = "/api/containers/{reference}"
_LONGEST_WAIT = 300
_PAGE = 1000
_READ, _WRITE = "containers:read", "containers:write"
_PAGES: Shape = told.Containers | list[told.Container]
_STATUS = Literal["creating", "running", "paused", "stopping", "stopped", "starting", "error"]
_FORMAT = Literal["object", "array"]


def _wish(body: CreateContainer) -> NewContainer:
    return NewContainer(
        image=body.image,
        custom_image=body.custom_image,
        name=body.name,
        role=body.role,
        shell=body.shell.model_dump(exclude_none=True) if body.shell else {},
        memory_mb=body.memory_mb,
        cpu_millis=body.cpu_shares,
        disk_mb=body.disk_mb,
        environment=body.environment or {},
        labels=body.labels or {},
        user=body.user,
    )


def _accepted(services: Services, row: ContainerRow) -> dict[str, Any]:
    return {**services.containers.describe(row), "async": True, "message": told.CREATING}


def _came_to_rest(row: ContainerRow) -> bool:
    return row.status is not Status.CREATING or row.deleted_at is not None


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


def _judge(services: Services, principal: Principal, body: CreateContainer, **_: Any) -> None:
    services.containers.check(principal, _wish(body))


@operation(
    router, "POST", _BASE, scope=_WRITE, answer={202: told.Accepted, 200: told.Container}, creates=True, judge=_judge,
    refuses=("out_of_range", "unsupported_image", "unsupported_role", "tier_required", "name_taken",
             "container_limit_reached", "macos_unavailable", "disk_full"),
)  # fmt: skip
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
            seen = await unless(services.draining, services.containers.wait(row.id, _came_to_rest, wait))
            if seen is not None and seen.status is not Status.CREATING:
                return 200, services.containers.describe(seen)
        return 202, _accepted(services, row)

    async def replay(subject: str) -> dict[str, Any]:
        return _accepted(services, await services.containers.find(principal, subject))

    return await once(request, services, principal, work, replay=replay)


@operation(router, "GET", _BASE, scope=_READ, answer=_PAGES)
async def page(
    request: Request, services: S, principal: P,
    limit: Annotated[Whole, Query(ge=1, le=_PAGE)] = _PAGE,
    cursor: Annotated[str | None, Query(max_length=512)] = None,
    status: Annotated[list[_STATUS] | None, Query()] = None,
    label: Annotated[list[str] | None, Query()] = None,
    name: str | None = None,
    everyone: Annotated[bool, Query(alias="all")] = False,
    format: _FORMAT | None = None,
) -> Response:  # fmt: skip
    """List one's containers, newest first."""
    wanted = ContainerFilter(
        statuses=[Status(text) for text in status or ()], labels=paging.labels(label or []), name=name,
        limit=limit + 1, before=paging.before(cursor),
    )  # fmt: skip
    rows = await services.containers.page(principal, wanted, everyone=everyone)
    shown = [services.containers.describe(row) for row in rows[:limit]]
    following = paging.cursor_of(rows[limit - 1]) if len(rows) > limit else None
    if paging.wants_array(format, request.headers.get("accept", "")):
        link = {"Link": f'<{request.url.include_query_params(cursor=following)}>; rel="next"'} if following else {}
        return Json(shown, headers=link)
    body: dict[str, Any] = {"containers": shown, "count": len(shown), "limit": services.containers.limit(principal)}
    return Json({**body, "next_cursor": following} if following else body)


@operation(router, "GET", _ONE, scope=_READ, answer=told.Container)
async def get(services: S, principal: P, reference: str) -> Response:
    """Show one container."""
    return Json(services.containers.describe(await services.containers.find(principal, reference)))


@operation(
    router, "PATCH", _ONE, scope=_WRITE, answer=told.Container,
    refuses=("out_of_range", "name_taken", "wrong_state", "memory_in_use", "unsupported"),
)  # fmt: skip
async def change(services: S, principal: P, reference: str, body: ChangeContainer) -> Response:
    """Rename, relabel, resize."""
    changes = Changes(body.name, body.labels, body.memory_mb, body.cpu_shares)
    return Json(services.containers.describe(await services.containers.change(principal, reference, changes)))


@operation(router, "DELETE", _ONE, scope=_WRITE, answer=told.Deleted)
async def delete(services: S, principal: P, reference: str) -> Response:
    """Delete a container, whatever its state."""
    row = await services.containers.delete(principal, reference)
    return Json({"message": "container deleted", "id": row.id, "db_id": row.id, "name": row.name})


Timeout = Annotated[float, Query(gt=0, le=_LONGEST_WAIT)]


@operation(
    router, "POST", _ONE + "/start", scope=_WRITE, answer=told.Started, refuses=("container_limit_reached", *MOVES)
)  # fmt: skip
async def start(services: S, principal: P, reference: str, timeout: Timeout = 60) -> Response:
    """Start a container and wait until it runs."""
    row, outcome = await services.containers.start(principal, reference, timeout)
    if outcome.recreated:
        lost = {"recreated": True, "data_kept": outcome.data_kept}
        return Json({**_moved(row, "container recreated and started"), **lost})
    return Json(_moved(row, "container started"))


@operation(router, "POST", _ONE + "/stop", scope=_WRITE, answer=told.Moved, refuses=MOVES)
async def stop(services: S, principal: P, reference: str, timeout: Timeout = 60) -> Response:
    """Stop a container; its data stays."""
    return Json(_moved(await services.containers.stop(principal, reference, timeout), "container stopped"))


@operation(router, "POST", _ONE + "/pause", scope=_WRITE, answer=told.Moved, refuses=("unsupported", *MOVES))
async def pause(services: S, principal: P, reference: str, timeout: Timeout = 60) -> Response:
    """Freeze a container; the next use wakes it."""
    return Json(_moved(await services.containers.pause(principal, reference, timeout), "container paused"))


@operation(router, "POST", _ONE + "/resume", scope=_WRITE, answer=told.Moved, refuses=("unsupported", *MOVES))
async def resume(services: S, principal: P, reference: str, timeout: Timeout = 60) -> Response:
    """Wake a paused container."""
    return Json(_moved(await services.containers.resume(principal, reference, timeout), "container resumed"))


@operation(router, "POST", _ONE + "/renew", scope=_WRITE, answer=told.Container, refuses=("out_of_range",))
async def renew(services: S, principal: P, reference: str, body: Renew | None = None) -> Response:
    """Put off the end of a container's session."""
    row = await services.containers.renew(principal, reference, body.seconds if body else None)
    return Json(services.containers.describe(row))


@operation(router, "GET", _ONE + "/logs", scope=_READ, answer=Raw("text/plain", "hello\n"))
async def logs(
    services: S, principal: P, reference: str, tail: Annotated[Whole, Query(ge=0, le=10_000)] = 500
) -> Response:
    """The last lines that the container's first process wrote."""
    return Response(await services.containers.logs(principal, reference, tail), media_type="text/plain")


@operation(router, "GET", _ONE + "/events", scope=_READ, answer=told.History)
async def history(
    services: S, principal: P, reference: str,
    after: Annotated[Whole, Query(ge=0, lt=1 << 62)] = 0, limit: Annotated[Whole, Query(ge=1, le=1000)] = 200,
) -> Response:  # fmt: skip
    """What happened to one container."""
    row = await services.containers.find(principal, reference)
    messages = await services.events.history(row.id, after, limit)
    return Json({"events": [message.json() for message in messages], "count": len(messages)})


def _moved(row: ContainerRow, message: str) -> dict[str, Any]:
    return {"message": message, "id": row.id, "name": row.name, "status": str(row.status)}
