"""The transcripts of docs/terminal-protocol.md, replayed against a served app."""

from __future__ import annotations

import ast
import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from support.client import Api

PAGE = Path(__file__).parents[2] / "docs/terminal-protocol.md"
TRANSCRIPTS = re.findall(r"```transcript (\S+)\n(.*?)```", PAGE.read_text(), re.DOTALL)


class Replay:
    def __init__(self, api: Api, container: str, subprotocol: str) -> None:
        self._api = api
        self._at = f"/ws/terminal/{container}"
        self._subprotocol = subprotocol
        self._socket: ClientConnection | None = None
        self._epoch, self._offset, self._uncounted = "", 0, 0
        self._output = ""

    @property
    def socket(self) -> ClientConnection:
        assert self._socket is not None
        return self._socket

    async def line(self, line: str) -> None:
        direction, _, rest = line.partition(" ")
        if direction == ">":
            await self._say(rest)
        elif rest.startswith("output "):
            await self._hear_output(json.loads(rest.removeprefix("output ")))
        elif rest.startswith("close "):
            await self._hear_close(int(rest.removeprefix("close ")))
        else:
            await self._hear(json.loads(rest))

    async def _say(self, what: str) -> None:
        if what == "cut":
            self.socket.transport.abort()
            await self.socket.wait_closed()
        elif what.startswith("connect "):
            query = what.removeprefix("connect ").replace("EPOCH", self._epoch).replace("SINCE", str(self._offset))
            self._output = ""
            self._socket = await self._api.connect(self._at + query, subprotocols=[self._subprotocol])
            assert self.socket.subprotocol == self._subprotocol
        elif what.startswith('b"'):
            await self.socket.send(ast.literal_eval(what))
        else:
            await self.socket.send(what)

    async def _receive(self) -> dict[str, Any] | None:
        """A control message, or None after output."""
        frame = await self.socket.recv()
        if isinstance(frame, bytes):
            self._offset += 0 if self._uncounted else len(frame)
            self._uncounted = 0
            self._output += frame.decode(errors="replace")
            return None
        message: dict[str, Any] = json.loads(frame)
        if message["type"] == "output":
            self._output += message["data"]
            return None
        self._epoch, self._offset = message.get("epoch", self._epoch), message.get("offset", self._offset)
        self._uncounted = message.get("length", 0) if message["type"] == "restore" else 0
        return message

    async def _hear(self, wanted: dict[str, Any]) -> None:
        while True:
            message = await self._receive()
            if message is not None and message["type"] == wanted["type"]:
                assert wanted.items() <= message.items()
                return

    async def _hear_output(self, wanted: str) -> None:
        while wanted not in self._output:
            await self._receive()

    async def _hear_close(self, code: int) -> None:
        with pytest.raises(websockets.ConnectionClosed):
            while True:
                await self._receive()
        assert self.socket.close_code == code


@pytest.mark.parametrize(("subprotocol", "transcript"), TRANSCRIPTS, ids=[name for name, _ in TRANSCRIPTS])
async def test_a_transcript_is_what_happens(api: Api, subprotocol: str, transcript: str) -> None:
    async with api.container() as container, asyncio.timeout(60):
        replay = Replay(api, container["id"], subprotocol)
        for line in transcript.strip().splitlines():
            await replay.line(line)


def test_every_subprotocol_has_one() -> None:
    assert [name for name, _ in TRANSCRIPTS] == ["rexec.v1", "rexec.v2", "rexec.raw"]
