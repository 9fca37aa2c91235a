"""What a client that goes away leaves behind: nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from starlette.requests import Request

from rexec.errors import Unavailable


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
