"""A client of the subprotocol `rexec.v2` that counts."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import websockets
from websockets.asyncio.client import ClientConnection


class V2:
    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.output = b""
        self.epoch = ""
        self.offset = 0
        self.controls: list[dict[str, Any]] = []
        self._uncounted = False

    async def step(self) -> None:
        frame = await self.socket.recv()
        if isinstance(frame, str):
            message = json.loads(frame)
            self.controls.append(message)
            if message["type"] == "ready":
                self.epoch, self.offset = message["epoch"], message["offset"]
            self._uncounted = message["type"] == "restore"
            return
        self.output += frame
        if not self._uncounted:
            self.offset += len(frame)
            with suppress(websockets.ConnectionClosed):
                await self.socket.send(json.dumps({"type": "ack", "offset": self.offset}))
        self._uncounted = False

    async def until(self, text: bytes, timeout: float = 60) -> None:
        async with asyncio.timeout(timeout):
            while text not in self.output:
                await self.step()

    async def control(self, type: str, timeout: float = 60) -> dict[str, Any]:
        async with asyncio.timeout(timeout):
            while not any(message["type"] == type for message in self.controls):
                await self.step()
        return next(message for message in self.controls if message["type"] == type)
