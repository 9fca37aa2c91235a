"""What a test of the whole needs of a client: the contract, spoken with httpx and websockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

import httpx2
import websockets
from websockets.asyncio.client import ClientConnection

SETTLED = ("ready", "error")


def small(**wanted: Any) -> dict[str, Any]:
    """The body of a create that costs little."""
    return {
        "image": "debian:bookworm",
        "memory_mb": 256,
        "cpu_shares": 500,
        "disk_mb": 1024,
        "shell": {"enhanced": False},
        **wanted,
    }


@dataclass(slots=True)
class Api:
    """A token's view of one server."""

    http: httpx2.AsyncClient
    url: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def connect(self, path: str, **options: Any) -> Any:
        url = self.url.replace("http", "ws", 1) + path
        options.setdefault("additional_headers", self.headers)
        return websockets.connect(url, max_size=1 << 20, compression=None, **options)

    async def create(self, **wanted: Any) -> dict[str, Any]:
        answer = await self.http.post("/api/containers", params={"wait": 90}, json=small(**wanted))
        assert answer.status_code == 200, answer.text
        made: dict[str, Any] = answer.json()
        assert made["status"] == "running", made
        return made

    async def delete(self, reference: str) -> None:
        answer = await self.http.delete(f"/api/containers/{reference}")
        assert answer.status_code == 200, answer.text

    @asynccontextmanager
    async def container(self, **wanted: Any) -> AsyncIterator[dict[str, Any]]:
        made = await self.create(**wanted)
        try:
            yield made
        finally:
            await self.delete(made["id"])

    async def exec(self, reference: str, command: str | list[str], **options: Any) -> dict[str, Any]:
        answer = await self.http.post(f"/api/containers/{reference}/exec", json={"command": command, **options})
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()
        return result

    async def get(self, reference: str) -> dict[str, Any]:
        answer = await self.http.get(f"/api/containers/{reference}")
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()
        return shown


class Watcher:
    """`/ws/events`, read as it comes."""

    def __init__(self, api: Api, since: int | None = None) -> None:
        self._connection = api.connect("/ws/events" + (f"?since={since}" if since is not None else ""))
        self._socket: ClientConnection | None = None
        self.seen: list[dict[str, Any]] = []

    async def __aenter__(self) -> Self:
        self._socket = await self._connection.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._connection.__aexit__(*exc)

    async def next(self, timeout: float = 60) -> dict[str, Any]:
        assert self._socket is not None
        message: dict[str, Any] = json.loads(await asyncio.wait_for(self._socket.recv(), timeout))
        self.seen.append(message)
        return message

    async def until(self, type: str, container: str, timeout: float = 60) -> dict[str, Any]:
        async with asyncio.timeout(timeout):
            while True:
                message = await self.next()
                if message["type"] == type and message["data"]["id"] == container:
                    return message

    async def until_settled(self, container: str, timeout: float = 90) -> list[dict[str, Any]]:
        """The progress of one creation up to `ready` or `error`."""
        told = []
        async with asyncio.timeout(timeout):
            while True:
                message = await self.next()
                if message["type"] == "container_progress" and message["data"]["id"] == container:
                    told.append(message)
                    if message["data"]["stage"] in SETTLED:
                        return told
