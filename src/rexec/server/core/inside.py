"""What runs inside containers: commands, processes, files, ports; who acts, with which environment."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from rexec.server.core.containers import Containers
from rexec.server.ports.guest import Guest, Guests, Stream
from rexec.server.ports.records import ContainerRow, ExecRequest, ExecResult, Principal, Stats, TerminalOpen

MAX_OUTPUT = 1 << 20


class Inside:
    """All of it through the container's guest; a paused container is woken first."""

    def __init__(self, containers: Containers, guests: Guests) -> None:
        self._containers = containers
        self._guests = guests

    async def guest(self, principal: Principal, reference: str) -> tuple[ContainerRow, Guest]:
        row = await self._containers.running(principal, reference)
        return row, await self._of(row)

    async def exec(self, principal: Principal, reference: str, **wanted: Any) -> ExecResult:
        """`wanted`: the fields of `ExecRequest`."""
        row, guest = await self.guest(principal, reference)
        return await guest.exec(self.request(row, **wanted))

    @asynccontextmanager
    async def exec_stream(
        self, principal: Principal, reference: str, *, tty: tuple[int, int] | None = None, **wanted: Any
    ) -> AsyncGenerator[Stream, None]:
        row, guest = await self.guest(principal, reference)
        async with guest.exec_stream(self.request(row, **wanted), tty=tty) as stream:
            yield stream

    @asynccontextmanager
    async def terminal(self, row: ContainerRow, wanted: TerminalOpen) -> AsyncGenerator[Stream, None]:
        guest = await self._of(row)
        async with guest.attach(wanted) as stream:
            yield stream

    def request(self, row: ContainerRow, *, env: Mapping[str, str], user: str | None, **wanted: Any) -> ExecRequest:
        return ExecRequest(
            env={**self._containers.environment(row), **env}, user=user or row.user, max_output=MAX_OUTPUT, **wanted
        )

    async def stats(self, row: ContainerRow) -> Stats:
        return await (await self._of(row)).stats()

    async def _of(self, row: ContainerRow) -> Guest:
        """Another server may have started it: its guest finds this one's socket within two seconds."""
        await self._guests.expect(row.engine_key)
        return self._guests.get(row.engine_key)
