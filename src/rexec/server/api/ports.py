"""What listens in a container, a raw way to it, and how much the container uses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, WebSocket
from sse_starlette import EventSourceResponse
from starlette.responses import Response

from rexec.answers import inside
from rexec.answers.answer import Raw
from rexec.answers.refusals import INSIDE
from rexec.errors import Broken, Invalid, RexecError
from rexec.server.api import sockets
from rexec.server.api.problems import Json, dumps
from rexec.server.api.routing import P, S, operation, socket_route
from rexec.server.ports.guest import Stream

router = APIRouter(tags=["ports and stats"])
_LONGEST_PORT = 5
_ONE = "/api/containers/{reference}"
_STREAMED = Raw("text/event-stream", 'event: stats\ndata: {"cpu_percent":0.4,"memory":9437184}\n\n')


@operation(router, "GET", _ONE + "/ports", scope="ports", answer=inside.Ports, refuses=INSIDE)
async def ports(services: S, principal: P, reference: str) -> Response:
    """List the TCP ports that something listens on, loopback too."""
    _, guest = await services.inside.guest(principal, reference)
    return Json(await guest.call("GET", "/v1/ports"))


_DELIVERING = 30.0
"""How long what a client sent before it left may wait for the program behind the port to read it."""


@socket_route(router, "/ws/ports/{reference}/{port}", scope="ports")
async def tunnel(socket: WebSocket, services: S, principal: P, reference: str, port: str) -> None:
    """A raw connection to a port: binary frames are the bytes; an empty one is the end of that direction."""
    if not (port.isascii() and port.isdecimal() and len(port) <= _LONGEST_PORT and 1 <= int(port) <= 65535):
        raise Invalid("port must be a number from 1 to 65535")
    _, guest = await services.inside.guest(principal, reference)
    async with guest.tunnel(int(port)) as stream:
        await sockets.accept(socket)
        half_closed = asyncio.Event()
        try:
            await sockets.first_of(
                _from_port(socket, stream, half_closed),
                _to_port(socket, stream, half_closed),
                sockets.left(socket, _DELIVERING),
            )
        except RexecError as error:
            await sockets.fail(socket, error)
        except sockets.GONE:
            return
        await sockets.close(socket)


async def _from_port(socket: WebSocket, stream: Stream, half_closed: asyncio.Event) -> None:
    while (frame := await stream.receive()) is not None:
        if frame.kind != "o":
            raise Broken(f"the connection broke: {frame.control()['error']}", code="connection_reset")
        await socket.send_bytes(frame.payload)
    await socket.send_bytes(b"")
    await half_closed.wait()


async def _to_port(socket: WebSocket, stream: Stream, half_closed: asyncio.Event) -> None:
    while (message := await socket.receive())["type"] != "websocket.disconnect":
        data = message.get("bytes")
        data = data if data is not None else (message.get("text") or "").encode()
        if half_closed.is_set():
            raise Invalid("this direction has ended")
        if data:
            await stream.send("i", data)
        else:
            await stream.close_input()
            half_closed.set()


@operation(router, "GET", _ONE + "/stats", scope="containers:read", answer=inside.Stats, refuses=INSIDE)
async def stats(services: S, principal: P, reference: str) -> Response:
    """How much the container uses now."""
    _, guest = await services.inside.guest(principal, reference)
    return Json(_shown(asdict(await guest.stats())))


@operation(router, "GET", _ONE + "/stats/stream", scope="containers:read", answer=_STREAMED, refuses=INSIDE)
async def stats_stream(
    services: S, principal: P, reference: str, interval: Annotated[float, Query(ge=0.5, le=60)] = 2
) -> Response:
    """The same, again and again, as server-sent events."""
    _, guest = await services.inside.guest(principal, reference)
    first = await guest.stats()

    async def tell() -> AsyncIterator[dict[str, str]]:
        reading = first
        try:
            while True:
                yield {"event": "stats", "data": dumps(_shown(asdict(reading))).decode()}
                await asyncio.sleep(interval)
                reading = await guest.stats()
        except RexecError as error:
            yield {"event": "end", "data": dumps({"error": error.message, "code": error.code}).decode()}

    return EventSourceResponse(tell(), ping=15, headers={"X-Accel-Buffering": "no"})


def _shown(reading: dict[str, Any]) -> dict[str, Any]:
    return {**reading, "cpu": reading["cpu_percent"]}
