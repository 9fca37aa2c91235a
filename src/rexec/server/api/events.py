"""Events, over WebSockets and as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, WebSocket
from sse_starlette import EventSourceResponse
from starlette.responses import Response

from rexec.errors import Invalid, RexecError
from rexec.server.api import sockets
from rexec.server.api.problems import dumps
from rexec.server.api.routing import P, S, operation
from rexec.server.core.access import require
from rexec.server.core.clock import rfc3339
from rexec.server.core.events import PROGRESS, Message
from rexec.server.ports.store import ContainerFilter

router = APIRouter(tags=["events"])
_PING = 15
_OLD_TYPES = {
    "container_created": "created", "container_started": "updated", "container_stopped": "stopped",
    "container_paused": "updated", "container_resumed": "updated", "container_updated": "updated",
    "container_error": "updated", "container_deleted": "deleted", PROGRESS: "progress",
}  # fmt: skip


@router.websocket("/ws/events")
async def follow(socket: WebSocket, services: S, principal: P) -> None:
    """All events of one's containers as they happen."""
    require(principal, "containers:read")
    since = _since(socket.query_params.get("since"))
    await sockets.accept(socket)

    async def tell() -> None:
        async for message in services.events.follow(principal.user_id, since):
            await sockets.say(socket, message.json())

    await _until(socket, tell(), sockets.account(socket, services, principal))


@router.websocket("/api/containers/events")
async def follow_old(socket: WebSocket, services: S, principal: P) -> None:
    """The same in the envelope of the Go implementation, for its clients."""
    require(principal, "containers:read")
    await sockets.accept(socket)

    async def tell() -> None:
        rows = await services.containers.page(principal, ContainerFilter())
        listed = {"type": "list", "containers": [services.containers.describe(row) for row in rows]}
        await sockets.say(socket, {**listed, "timestamp": rfc3339(services.clock())})
        async for message in services.events.follow(principal.user_id, None):
            if message.type in _OLD_TYPES:
                await sockets.say(socket, _old(message))

    await _until(socket, tell(), sockets.account(socket, services, principal))


@operation(router, "GET", "/api/events", scope="containers:read", media="text/event-stream")
async def stream(
    services: S, principal: P, since: Annotated[int | None, Query(ge=0, lt=1 << 62)] = None,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:  # fmt: skip
    """All events as server-sent events."""
    after = _since(last_event_id) if last_event_id is not None else since

    async def tell() -> AsyncIterator[dict[str, Any]]:
        async for message in services.events.follow(principal.user_id, after):
            yield {"id": str(message.seq), "event": message.type, "data": dumps(message.json()).decode()}

    return EventSourceResponse(tell(), ping=_PING, headers={"X-Accel-Buffering": "no"})


async def _until(socket: WebSocket, *works: Any) -> None:
    try:
        await sockets.first_of(*works, sockets.until_left(socket))
    except RexecError as error:
        await sockets.fail(socket, error)
    except sockets.GONE:
        return


def _since(text: str | None) -> int | None:
    if text is None or text == "":
        return None
    if not text.isdecimal() or len(text) > 18:
        raise Invalid("since must be a sequence number", details=[{"field": "since", "message": "must be a number"}])
    return int(text)


def _old(message: Message) -> dict[str, Any]:
    data = dict(message.data)
    if message.type == PROGRESS and data.get("stage") in ("ready", "error"):
        data["complete"] = True
    if data.get("stage") == "error":
        data["error"] = data.get("message")
    return {"type": _OLD_TYPES[message.type], "container": data, "timestamp": rfc3339(message.at)}
