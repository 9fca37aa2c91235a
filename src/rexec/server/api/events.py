"""Events, over WebSockets and as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, WebSocket
from sse_starlette import EventSourceResponse
from starlette.responses import Response

from rexec.answers.answer import Raw
from rexec.errors import Invalid, RexecError
from rexec.server.api import envelopes, sockets
from rexec.server.api.problems import dumps
from rexec.server.api.routing import P, S, operation, socket_route

router = APIRouter(tags=["events"])
_PING = 15
_STREAMED = Raw(
    "text/event-stream",
    'id: 412\nevent: container_progress\ndata: {"type":"container_progress","data":{"id":"550e8400-…",'
    '"stage":"pulling","message":"Pulling image...","progress":15},"seq":412,'
    '"timestamp":"2030-01-15T10:30:00.250000Z"}\n\n',
)


@socket_route(router, "/ws/events", scope="containers:read")
async def follow(socket: WebSocket, services: S, principal: P) -> None:
    """All events of one's containers as they happen."""
    since = _since(socket.query_params.get("since"))
    await sockets.accept(socket)

    async def tell() -> None:
        async for message in services.events.follow(principal.user_id, since):
            await sockets.say(socket, message.json())

    await _until(socket, tell())


@socket_route(router, "/api/containers/events", scope="containers:read")
async def follow_envelopes(socket: WebSocket, services: S, principal: P) -> None:
    """The same in the envelope of the Go implementation, for its clients."""
    await sockets.accept(socket)

    async def tell() -> None:
        async for envelope in envelopes.follow(services, principal):
            await sockets.say(socket, envelope)

    await _until(socket, tell(), heard=envelopes.heard(socket))


@operation(router, "GET", "/api/events", scope="containers:read", answer=_STREAMED)
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


async def _until(socket: WebSocket, *works: Any, heard: Any = None) -> None:
    try:
        await sockets.first_of(*works, heard or sockets.until_left(socket))
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
