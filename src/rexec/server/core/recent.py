"""Containers that were found a moment ago, so that a thousand commands in one are not a thousand looks at the store."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TypeAlias

from rexec.server.ports.bus import Bus, Subscription
from rexec.server.ports.records import ContainerRow, Principal, Status

Find: TypeAlias = Callable[[Principal, str], Awaitable[ContainerRow]]

_SECONDS = 3.0
_MOST = 2_000


@dataclass(frozen=True, slots=True)
class _Found:
    row: ContainerRow
    until: float
    changes: Subscription
    stack: AsyncExitStack


class Recent:
    """Holds running ones by id, each until something is published about it or three seconds are over. It listens
    before it looks, so that no change falls between. On a bus between servers, where news take their time, it holds
    nothing."""

    def __init__(self, bus: Bus, find: Find) -> None:
        self._bus = bus
        self._find = find
        self._found: dict[str, _Found] = {}

    async def find(self, principal: Principal, reference: str) -> ContainerRow:
        """Raises what the `find` it was made with raises."""
        found = self._found.get(reference)
        if found is not None:
            if not found.changes.woken and time.monotonic() < found.until and _may(principal, found.row):
                return found.row
            await self._drop(reference)
        if not self._bus.prompt:
            return await self._find(principal, reference)
        async with AsyncExitStack() as stack:
            changes = await stack.enter_async_context(self._bus.subscribe(f"container:{reference}"))
            row = await self._find(principal, reference)
            if row.id == reference and row.status is Status.RUNNING and reference not in self._found:
                while len(self._found) >= _MOST:
                    await self._drop(next(iter(self._found)))
                self._found[reference] = _Found(row, time.monotonic() + _SECONDS, changes, stack.pop_all())
        return row

    async def _drop(self, reference: str) -> None:
        found = self._found.pop(reference, None)
        if found is not None:
            await found.stack.aclose()


def _may(principal: Principal, row: ContainerRow) -> bool:
    return principal.is_admin or principal.user_id == row.user_id
