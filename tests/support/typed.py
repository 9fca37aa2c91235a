"""A person at a container's terminal: types, and waits for what is to appear."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection

from support.client import Api

ALL = ("autosuggestions", "syntax_highlight", "history_search", "git_aliases", "system_stats")
ON: Mapping[str, Any] = {"enhanced": True, "theme": "rexec", "use_tmux": False, **dict.fromkeys(ALL, True)}
OFF: Mapping[str, Any] = {"enhanced": True, "theme": "minimal", "use_tmux": False, **dict.fromkeys(ALL, False)}
UP, KILL_LINE, TAB = b"\x1b[A", b"\x15", b"\t"
PATIENCE = 60.0


class Typed:
    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ends = 0
        self.seen = b""

    async def type(self, keys: bytes | str) -> None:
        await self._socket.send(keys if isinstance(keys, bytes) else keys.encode())

    async def until(self, pattern: bytes | str, since: int = 0) -> re.Match[bytes]:
        wanted = pattern if isinstance(pattern, bytes) else pattern.encode()
        try:
            async with asyncio.timeout(PATIENCE):
                while (found := re.compile(wanted).search(self.seen, since)) is None:
                    frame = await self._socket.recv()
                    if isinstance(frame, bytes):
                        self.seen += frame
        except TimeoutError:
            raise AssertionError(f"{wanted!r} did not come in {self.seen[since:][-2000:]!r}") from None
        return found

    async def shows(self, keys: bytes | str, pattern: bytes | str) -> None:
        """Typing them makes it appear; the line is given up then."""
        since = len(self.seen)
        await self.type(keys)
        await self.until(pattern, since)
        await self.type(KILL_LINE)

    async def run(self, line: bytes | str) -> bytes:
        """What appears from the line's first key to its end; the mark of the end stays out of zsh's history."""
        since = len(self.seen)
        self._ends += 1
        await self.type((line if isinstance(line, bytes) else line.encode()) + b"\r")
        await self.type(f" echo en''d-{self._ends}.\r")
        await self.until(f"end-{self._ends}\\.", since)
        return self.seen[since:]


@asynccontextmanager
async def terminal(
    api: Api, container: Mapping[str, Any], name: str = "main", **query: str
) -> AsyncGenerator[Typed, None]:
    asked = "".join(f"&{key}={value}" for key, value in query.items())
    at = f"/ws/terminal/{container['id']}?id={name}&cols=100&rows=30{asked}"
    async with api.connect(at, subprotocols=["rexec.v2"]) as socket:
        assert json.loads(await socket.recv())["type"] == "ready"
        yield Typed(socket)
