"""What all WebSockets share: accepting, saying, closing with a reason."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from rexec.errors import RexecError
from rexec.server.api.credentials import offered, select
from rexec.server.api.leavers import LEFT
from rexec.server.api.problems import close_code, dumps
from rexec.server.api.strict import loads

GONE = (WebSocketDisconnect, RuntimeError, OSError)
"""What sending to a client that has left raises."""
_LONGEST_REASON = 120
DRAINING = 1012


async def accept(socket: WebSocket) -> str | None:
    """With the first subprotocol of ours that the client offers, which is returned."""
    subprotocol = select(offered(socket.scope))
    await socket.accept(subprotocol)
    return subprotocol


async def say(socket: WebSocket, message: dict[str, Any]) -> None:
    await socket.send_text(dumps(message).decode())


async def close(socket: WebSocket, code: int = 1000, reason: str = "") -> None:
    if socket.application_state is not WebSocketState.DISCONNECTED:
        with suppress(*GONE):
            await socket.close(code, reason.encode()[:_LONGEST_REASON].decode(errors="ignore"))


async def fail(socket: WebSocket, error: RexecError) -> None:
    await close(socket, close_code(error), error.message)


def parsed(text: str) -> dict[str, Any] | None:
    """A JSON object with a `type`, or None; one that gives a key twice is none."""
    try:
        message = loads(text)
    except ValueError:
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


async def until_left(socket: WebSocket) -> None:
    """Read and drop what a client sends on a socket that only tells."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


async def left(socket: WebSocket, patience: float = 0.0) -> None:
    """Returns when the client has left, also where what it sent last waits for somebody to read it; that gets
    `patience` seconds more."""
    seen: asyncio.Event = socket.scope["state"][LEFT]
    await seen.wait()
    await asyncio.sleep(patience)
