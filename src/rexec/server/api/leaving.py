"""What a client that goes away leaves behind, and what a server that goes away keeps waiting: nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from starlette.requests import Request

from rexec.errors import Unavailable

Result = TypeVar("Result")


@asynccontextmanager
async def while_connected(request: Request) -> AsyncGenerator[None, None]:
    """Cancels what is within as soon as the client has left, and raises `Unavailable` then. Once the body was read."""

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        patience.reschedule(asyncio.get_running_loop().time())

    try:
        async with asyncio.timeout(None) as patience:
            watching = asyncio.create_task(watch())
            try:
                yield
            finally:
                watching.cancel()
    except TimeoutError as error:
        if not patience.expired():
            raise
        raise Unavailable("the client went away", code="client_left") from error


async def unless(draining: asyncio.Event, waiting: Coroutine[Any, Any, Result]) -> Result | None:
    """What `waiting` returns or raises; None, and it is cancelled, as soon as the server drains."""
    work, drained = asyncio.create_task(waiting), asyncio.create_task(draining.wait())
    try:
        await asyncio.wait([work, drained], return_when=asyncio.FIRST_COMPLETED)
        return work.result() if work.done() else None
    finally:
        for task in (work, drained):
            task.cancel()
        await asyncio.wait([work, drained])
