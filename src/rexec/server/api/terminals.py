"""Terminals: `/ws/terminal/{container}` in its dialects, and their list."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, WebSocket
from starlette.responses import Response
from starlette.websockets import WebSocketDisconnect

from rexec.answers import inside
from rexec.answers.refusals import INSIDE
from rexec.errors import Conflict, Invalid, RexecError, Unavailable
from rexec.server.api import sockets
from rexec.server.api.dialects import Dialect, dialect_for
from rexec.server.api.problems import Json, dumps
from rexec.server.api.routing import P, S, operation, socket_route
from rexec.server.core.services import Services
from rexec.server.ports.guest import Stream
from rexec.server.ports.records import ContainerRow, Principal, Status, Target, TerminalOpen

router = APIRouter(tags=["terminals"])
_LIST = "/api/containers/{reference}/terminals"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
_EPOCH = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_WAIT = 1800.0
_STATS_EVERY = 2.0
_PASTING = 5.0
"""How long what a client typed before it left may wait for the shell to read it."""
_SETTLING = 1.5
"""How long a cut stream waits for the news that its container ended."""


@socket_route(router, "/ws/terminal/{reference}", scope="terminal")
async def terminal(socket: WebSocket, services: S, principal: P, reference: str) -> None:
    """Attach to a terminal; it is started if it is not there."""
    wanted = _wanted(socket, services, principal)
    row = await services.containers.find(principal, reference)
    if row.status not in (Status.CREATING, Status.STARTING, Status.RUNNING, Status.PAUSED):
        raise Conflict(f"the container is not running: it is {row.status}", code="not_running")
    if row.status in (Status.RUNNING, Status.PAUSED):
        row = await services.containers.running(principal, row.id)
    dialect = dialect_for(await sockets.accept(socket), socket)
    try:
        row = await _ready(services, principal, row, dialect)
        await _attached(socket, services, principal, row, wanted, dialect)
    except RexecError as error:
        with suppress(*sockets.GONE):
            await dialect.failed(error)
        await sockets.fail(socket, error)
    except sockets.GONE:
        return
    except asyncio.CancelledError:
        await sockets.close(socket, sockets.DRAINING, "the server is draining: connect again")
        raise


async def _ready(services: Services, principal: Principal, row: ContainerRow, dialect: Dialect) -> ContainerRow:
    """Wait while the container is being created, and say how far it is."""
    while row.status in (Status.CREATING, Status.STARTING):
        await dialect.waiting(row)
        seen = row

        def moved(now: ContainerRow, seen: ContainerRow = seen) -> bool:
            return now.version != seen.version

        newer = await services.containers.wait(row.id, moved, _WAIT)
        if newer is None or newer.deleted_at is not None:
            raise Conflict("the container was deleted", code="not_running")
        row = newer
    if row.status is not Status.RUNNING:
        raise Conflict(row.message or f"the container is {row.status}", code=row.reason or "not_running")
    services.containers.touch(row)
    return row


async def _attached(
    socket: WebSocket, services: Services, principal: Principal, row: ContainerRow, wanted: dict[str, Any],
    dialect: Dialect,
) -> None:  # fmt: skip
    environment = services.containers.environment(row)
    options = {**row.shell, "name": row.name}
    opening = TerminalOpen(**{"user": row.user, **wanted}, env=environment, shell=options)
    try:
        async with services.inside.terminal(row, opening) as stream:
            works = [
                _outgoing(services, row, stream, dialect),
                _incoming(socket, services, row, stream, dialect),
                sockets.left(socket, _PASTING),
            ]
            if socket.query_params.get("stats") == "true":
                works.append(_stats(services, row, dialect))
            await sockets.first_of(*works)
    except Unavailable as error:
        if error.code != "guest_unreachable":
            raise
        await _cut(socket, services, row, dialect)
        return
    await sockets.close(socket)


async def _outgoing(services: Services, row: ContainerRow, stream: Stream, dialect: Dialect) -> None:
    while (frame := await stream.receive()) is not None:
        if frame.kind == "c" and frame.control().get("reason") == "closed":
            frame = replace(frame, payload=dumps({**frame.control(), "reason": await _why(services, row)}))
        acknowledged = await dialect.frame(frame)
        if acknowledged is not None:
            stream.acknowledge(acknowledged)
    if not dialect.exited:
        raise Unavailable("the guest cut a stream", code="guest_unreachable")


async def _why(services: Services, row: ContainerRow) -> str:
    """A shell was hung up: by itself, or with its container, whose reason counts."""
    seen = await services.containers.wait(row.id, lambda _: True, 0)
    if seen is None or seen.deleted_at is not None:
        return "deleted"
    return seen.reason or "stopped" if seen.target is Target.STOPPED else "closed"


async def _incoming(socket: WebSocket, services: Services, row: ContainerRow, stream: Stream, dialect: Dialect) -> None:
    while (message := await socket.receive())["type"] != "websocket.disconnect":
        try:
            said = dialect.said(message.get("bytes"), message.get("text"))
        except Invalid as error:
            await dialect.failed(error)
            continue
        # How the shell ended is told by what it sent last, not by that it no longer listens.
        with suppress(Unavailable):
            if isinstance(said, bytes):
                services.containers.touch(row)
                await stream.send("i", said)
            elif said is not None and said["type"] == "ping":
                await dialect.pong()
            elif said is not None:
                await stream.send_control(said)


async def _stats(services: Services, row: ContainerRow, dialect: Dialect) -> None:
    while True:
        await dialect.stats(await services.inside.stats(row))
        await asyncio.sleep(_STATS_EVERY)


async def _cut(socket: WebSocket, services: Services, row: ContainerRow, dialect: Dialect) -> None:
    """The guest went away: with its container, whose end is told, or for another reason (connect again)."""
    seen = await services.containers.wait(
        row.id, lambda now: now.status is not Status.RUNNING or now.deleted_at is not None, _SETTLING
    )
    if seen is None or seen.deleted_at is not None:
        reason = "deleted"
    elif seen.status is Status.RUNNING:
        await sockets.close(socket, sockets.DRAINING, "the terminal was cut: connect again")
        return
    else:
        reason = seen.reason or str(seen.status)
    with suppress(*sockets.GONE, WebSocketDisconnect):
        await dialect.ended(reason)
    await sockets.close(socket, 1000, reason)


def _wanted(socket: WebSocket, services: Services, principal: Principal) -> dict[str, Any]:
    query = socket.query_params
    name = query.get("id") or "main"
    if not _NAME.fullmatch(name):
        raise Invalid("id must be 1 to 64 letters, digits, dots, underscores or hyphens")
    role = query.get("role") or "editor"
    if role not in ("editor", "viewer"):
        raise Invalid("role must be editor or viewer")
    epoch, since = query.get("epoch"), query.get("since")
    if epoch is not None and not _EPOCH.fullmatch(epoch):
        raise Invalid("epoch is not one of ours")
    resuming = {"epoch": epoch, "since": _number("since", since, 1 << 62)} if epoch and since else {}
    typed_role: Literal["editor", "viewer"] = "viewer" if role == "viewer" else "editor"
    user, tier = query.get("user"), services.tiers.of(principal.tier)
    return {
        "name": name,
        "cols": _number("cols", query.get("cols"), 10_000) or 80,
        "rows": _number("rows", query.get("rows"), 10_000) or 24,
        "role": typed_role,
        "new": query.get("newSession") == "true",
        "max_terminals": tier.terminals,
        "idle_seconds": tier.idle_terminal_seconds,
        **resuming,
        **({"user": user[:64]} if user else {}),
    }


def _number(name: str, text: str | None, most: int) -> int | None:
    if text is None or text == "":
        return None
    if not text.isdecimal() or len(text) > 19 or int(text) > most:
        raise Invalid(f"{name} must be a number up to {most}")
    return int(text)


@operation(router, "GET", _LIST, scope="terminal", answer=inside.Terminals, refuses=INSIDE)
async def listed(services: S, principal: P, reference: str) -> Response:
    """List a container's terminals."""
    _, guest = await services.inside.guest(principal, reference)
    return Json(await guest.call("GET", "/v1/terminals"))


@operation(
    router, "DELETE", _LIST + "/{name}", scope="terminal", answer=inside.TerminalClosed, refuses=("not_found", *INSIDE)
)
async def hang_up(services: S, principal: P, reference: str, name: str) -> Response:
    """Hang a terminal up."""
    _, guest = await services.inside.guest(principal, reference)
    await guest.call("DELETE", f"/v1/terminals/{quote(name, safe='')}")
    return Json({"message": "terminal closed", "name": name})
