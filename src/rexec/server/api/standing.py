"""Open sockets and streams end when what let them in ends: on every server, at once, with a reason."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from starlette.types import Message, Receive

from rexec.errors import Unauthenticated, Unavailable
from rexec.server.core.access import account_topic
from rexec.server.core.services import Services
from rexec.server.ports.records import Principal

_RECHECK = 60.0


class Receiving:
    """A connection's `receive` that raises `ended` as soon as it is set, also in a call that waits already."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._waiting: asyncio.Task[object] | None = None
        self.ended: Unauthenticated | None = None

    async def __call__(self) -> Message:
        if self.ended is not None:
            raise self.ended
        self._waiting = task = asyncio.current_task()
        try:
            return await self._receive()
        except asyncio.CancelledError:
            # Whoever else wants this task to end must still be heard.
            if self.ended is None or task is None or task.uncancel() > 0:
                raise
            raise self.ended from None
        finally:
            self._waiting = None

    def end(self, error: Unauthenticated) -> bool:
        """Whether somebody was waiting, and knows now."""
        self.ended = error
        if self._waiting is None:
            return False
        self._waiting.cancel()
        return True


@asynccontextmanager
async def watched(
    services: Services, principal: Principal, ended: Callable[[Unauthenticated], Awaitable[None]]
) -> AsyncIterator[None]:
    """Meanwhile, `ended` is called once when the token, the session or the account of `principal` ends."""
    watching = asyncio.create_task(_watch(services, principal, ended))
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.wait([watching])


async def _watch(services: Services, principal: Principal, ended: Callable[[Unauthenticated], Awaitable[None]]) -> None:
    """Asked when something about the account changed, when its end is due, and now and then."""
    async with services.bus.subscribe(account_topic(principal.user_id)) as subscription:
        while True:
            wait = _RECHECK
            try:
                holder = await services.access.holder(principal.session_id, principal.token_id)
            except Unauthenticated as error:
                await ended(error)
                return
            except Unavailable:
                wait = 1.0
            else:
                if holder.ends_at is not None:
                    wait = min(wait, max(0.0, (holder.ends_at - services.clock()).total_seconds()) + 0.01)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await subscription.wait()
