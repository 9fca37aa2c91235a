"""Docker's event stream as observations."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import structlog

from rexec.errors import RexecError
from rexec.server.engines.docker.client import Client
from rexec.server.engines.docker.objects import ENGINE_KEY, INSTALLATION, missing
from rexec.server.ports.records import Observation, Phase

_log = structlog.get_logger(__name__)
_EVENTS = ("create", "start", "die", "oom", "pause", "unpause", "destroy")
_FIRST_WAIT = 0.1
_LONGEST_WAIT = 5.0


async def watch(
    client: Client,
    installation: str,
    inspect: Callable[[str], Awaitable[Observation]],
    connected: Callable[[], Awaitable[None]],
) -> AsyncGenerator[Observation | None, None]:
    """See `ports.engine.Engine.watch`. `connected` runs after every connection, before the None that tells of it."""
    wait = _FIRST_WAIT
    while True:
        try:
            async with aclosing(_one_connection(client, installation, inspect, connected)) as seen:
                async for observation in seen:
                    wait = _FIRST_WAIT
                    yield observation
            _log.info("the engine ended its event stream")
        except RexecError as error:
            _log.warning("no event stream from the engine", error=error.message, retry_in=wait)
        await asyncio.sleep(wait * random.uniform(0.8, 1.2))  # noqa: S311 # spreads reconnections, no secret
        wait = min(wait * 2, _LONGEST_WAIT)


async def _one_connection(
    client: Client,
    installation: str,
    inspect: Callable[[str], Awaitable[Observation]],
    connected: Callable[[], Awaitable[None]],
) -> AsyncGenerator[Observation | None, None]:
    filters = {"type": ["container"], "label": [f"{INSTALLATION}={installation}"], "event": list(_EVENTS)}
    async with client.stream("GET", "events", params={"filters": json.dumps(filters)}) as response:
        await connected()
        yield None
        async for event in client.lines(response):
            if engine_key := _key(event):
                yield await _seen(engine_key, str(event.get("Action")), inspect)


async def _seen(engine_key: str, action: str, inspect: Callable[[str], Awaitable[Observation]]) -> Observation:
    if action == "destroy":
        return missing(engine_key)
    observed = await inspect(engine_key)
    # A running container's inspection does not tell that one of its processes was killed for memory; the event does.
    told = action == "oom" and observed.phase is not Phase.EXITED
    return replace(observed, out_of_memory=True) if told else observed


def _key(event: dict[str, Any]) -> str | None:
    attributes = (event.get("Actor") or {}).get("Attributes") or {}
    key = attributes.get(ENGINE_KEY)
    return key if isinstance(key, str) else None
