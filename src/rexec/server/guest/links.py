"""All guests of one engine on this server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeAlias

from rexec.errors import Broken, Invalid, Unavailable, full_disk_told
from rexec.server.guest.bridge import Bridge
from rexec.server.guest.connection import READ_SIZE, SPOKEN
from rexec.server.guest.errors import unreachable
from rexec.server.guest.link import Link
from rexec.server.guest.pool import Pool

_LONGEST_PATH = 107
"""Of a Unix socket's address, less its final NUL."""
_BACKLOG = 512
_RETRY = 0.05
_LONGEST_RETRY = 1.0

Dial: TypeAlias = Callable[[str, asyncio.Protocol], Awaitable[None]]
"""Connects a protocol to a bridge inside the container of an engine key."""


@dataclass(frozen=True, slots=True)
class _Known:
    link: Link
    pool: Pool
    server: asyncio.Server | None = None
    bridge: Bridge | None = None


class Links:
    """Implements `ports.guest.Guests`. Guests dial `<directory>/<engine_key>/<replica>.sock`; with `dial` (engines
    that share no file system) their connections come over one bridge per container instead."""

    def __init__(
        self, directory: Path, replica: str, dial: Dial | None = None, *, spoken: tuple[int, ...] = SPOKEN
    ) -> None:
        self._directory = directory.absolute()
        self._replica = replica
        self._dial = dial
        self._spoken = spoken
        self._links: dict[str, _Known] = {}
        self._opening = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        for engine_key in list(self._links):
            await self.forget(engine_key)

    async def expect(self, engine_key: str) -> None:
        """One at a time: a second socket in the same place would take the first one's guest away."""
        if engine_key in self._links:
            return
        async with self._opening:
            if engine_key not in self._links:
                await self._open(engine_key)

    async def _open(self, engine_key: str) -> None:
        dial = self._dial
        if dial is not None:
            bridge = Bridge(lambda protocol: dial(engine_key, protocol))
            pool = Pool(bridge.dial)
            self._links[engine_key] = _Known(Link(pool, self._spoken), pool, bridge=bridge)
            return
        pool = Pool()
        server = await self._listen(engine_key, pool)
        self._links[engine_key] = _Known(Link(pool, self._spoken), pool, server)

    async def wait(self, engine_key: str, timeout: float) -> Link:
        await self.expect(engine_key)
        link, pause = self._links[engine_key].link, _RETRY
        try:
            async with asyncio.timeout(timeout):
                while True:
                    try:
                        await link.hello()
                    except Unavailable:
                        await asyncio.sleep(pause)
                        pause = min(2 * pause, _LONGEST_RETRY)
                    except Broken as error:
                        raise Unavailable(error.message, code="guest_unreachable") from error
                    else:
                        return link
        except TimeoutError as error:
            raise unreachable(f"its guest did not answer within {timeout:g} s") from error

    def get(self, engine_key: str) -> Link:
        known = self._links.get(engine_key)
        if known is None:
            raise unreachable("the container's guest is not known here yet")
        return known.link

    async def forget(self, engine_key: str) -> None:
        known = self._links.pop(engine_key, None)
        if known is None:
            return
        if known.server is not None:
            known.server.close()
            await asyncio.to_thread(self._path(engine_key).unlink, missing_ok=True)
        known.pool.close()
        if known.bridge is not None:
            known.bridge.close()

    async def _listen(self, engine_key: str, pool: Pool) -> asyncio.Server:
        path = self._path(engine_key)

        def prepare() -> None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)

        try:
            with full_disk_told():
                await asyncio.to_thread(prepare)
                server = await asyncio.start_unix_server(pool.accepted, str(path), limit=READ_SIZE, backlog=_BACKLOG)
                await asyncio.to_thread(path.chmod, 0o666)
        except (FileNotFoundError, FileExistsError) as error:  # the latter where it went while mkdir looked at it
            raise unreachable("the container was deleted meanwhile, and the place of its guest with it") from error
        return server

    def _path(self, engine_key: str) -> Path:
        path = self._directory / engine_key / f"{self._replica}.sock"
        if len(str(path).encode()) > _LONGEST_PATH:
            raise Invalid(f"the path of the guests' sockets is too long for a socket: {path}", code="invalid_settings")
        return path
