"""Events as the Go implementation told them: `{type, container, timestamp}`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from starlette.websockets import WebSocket

from rexec.errors import NotFound
from rexec.server.api import sockets
from rexec.server.core.clock import rfc3339
from rexec.server.core.events import PROGRESS
from rexec.server.core.services import Services
from rexec.server.ports.records import Principal
from rexec.server.ports.store import ContainerFilter

_TYPES = {
    "container_created": "created", "container_started": "started", "container_stopped": "stopped",
    "container_paused": "updated", "container_resumed": "updated", "container_updated": "updated",
    "container_error": "updated", "container_deleted": "deleted", PROGRESS: "progress",
}  # fmt: skip


async def follow(services: Services, principal: Principal) -> AsyncIterator[dict[str, Any]]:
    """First the whole list, then what happens. A creation ends with `updated`, as there; a later start is `started`."""
    creating: set[str] = set()
    rows = await services.containers.page(principal, ContainerFilter())
    shown = [services.containers.describe(row) for row in rows]
    listed = {"containers": shown, "count": len(shown), "limit": services.containers.limit(principal)}
    yield {"type": "list", "container": listed, "timestamp": rfc3339(services.clock())}
    async for message in services.events.follow(principal.user_id, None):
        told = _TYPES.get(message.type)
        if told is None:
            continue
        data = dict(message.data)
        if told == "progress":
            (creating.discard if data["stage"] in ("ready", "error") else creating.add)(data["id"])
            data = await _progress(services, principal, data)
        elif told == "started" and data["id"] in creating:
            creating.discard(data["id"])
            told = "updated"
        elif message.type == "container_error":
            data["error"] = data.get("message")
        yield {"type": told, "container": data, "timestamp": rfc3339(message.at)}


async def heard(socket: WebSocket) -> None:
    """Until the client leaves; its own ping is answered."""
    while (said := await socket.receive())["type"] != "websocket.disconnect":
        message = sockets.parsed(said.get("text") or "")
        if message is not None and message["type"] == "ping":
            await sockets.say(socket, {"type": "pong"})


async def _progress(services: Services, principal: Principal, data: dict[str, Any]) -> dict[str, Any]:
    if data["stage"] == "error":
        return {**data, "complete": True, "error": data["message"]}
    if data["stage"] != "ready":
        return data
    try:
        shown = services.containers.describe(await services.containers.find(principal, data["id"]))
    except NotFound:
        return {**data, "complete": True}
    return {**data, "complete": True, "container_id": shown["container_id"], "container": shown}
