"""What all WebSockets share: accepting, closing with a reason, ending when the account does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from rexec.errors import RexecError, Unauthenticated, Unavailable
from rexec.server.api.credentials import offered, select
from rexec.server.api.problems import dumps, status_of
from rexec.server.core.services import Services
from rexec.server.ports.records import Principal

GONE = (WebSocketDisconnect, RuntimeError, OSError)
"""What sending to a client that has left raises."""
_RECHECK = 30.0
_LONGEST_REASON = 120
DRAINING = 1012


async def accept(socket: WebSocket) -> str | None:
    """With the first subprotocol of ours that the client offers, which is returned."""
    subprotocol = select(offered(socket.scope))
    await socket.accept(subprotocol)
    socket.scope["state"]["accepted"] = True
    return subprotocol


async def say(socket: WebSocket, message: dict[str, Any]) -> None:
    await socket.send_text(dumps(message).decode())


async def close(socket: WebSocket, code: int = 1000, reason: str = "") -> None:
    if socket.application_state is not WebSocketState.DISCONNECTED:
        with suppress(*GONE):
            await socket.close(code, reason.encode()[:_LONGEST_REASON].decode(errors="ignore"))


async def fail(socket: WebSocket, error: RexecError) -> None:
    await close(socket, 4000 + status_of(error), error.message)


def parsed(text: str) -> dict[str, Any] | None:
    """A JSON object with a `type`, or None."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) and isinstance(message.get("type"), str) else None


async def first_of(*works: Coroutine[Any, Any, Any]) -> None:
    """Run side by side until the first ends; its error is raised, the others are cancelled and awaited."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in done:
        if (error := task.exception()) is not None:
            raise error


async def account(socket: WebSocket, services: Services, principal: Principal) -> None:
    """Returns never, but raises `Unauthenticated` when the token or the account that opened the socket ends."""
    token = socket.scope["state"].get("token")
    async with services.bus.subscribe(f"user:{principal.user_id}") as subscription:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_RECHECK):
                    await subscription.wait()
            with suppress(Unavailable):
                if token is not None:
                    await services.access.authenticate(token)
                elif principal.expires_at is not None and principal.expires_at <= services.clock():
                    raise Unauthenticated("the account has ended", code="account_ended")


async def until_left(socket: WebSocket) -> None:
    """Read and drop what a client sends on a socket that only tells."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
