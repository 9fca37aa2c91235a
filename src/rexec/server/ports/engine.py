"""The seam to where containers run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol, Self

from rexec.server.ports.images import ProgressCallback
from rexec.server.ports.records import Capacity, Feature, Image, Limits, Observation, Spec

__all__ = ["Engine", "ProgressCallback"]


class Engine(Protocol):
    """Starts and stops containers; an async context manager without state of its own.

    Every action is idempotent and keyed by `engine_key`, so that after a crash the same call again is the resume.
    Errors: `Unavailable` when the engine is away, `NotFound` (code `image_not_found`) for an image that is nowhere,
    `Unavailable` (code `pull_failed`) for one that could not be fetched, `OutOfSpace`, `Unsupported` for a missing
    feature, `Broken` (code `engine_error`) for the rest.
    """

    name: str
    host: str
    features: frozenset[Feature]
    shares_files: bool
    """Known once it is open: whether guests dial the server's sockets, or `dial` must carry their connections."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...

    async def ping(self) -> None:
        """Raises `Unavailable` unless the engine answers now."""

    async def capacity(self) -> Capacity: ...

    async def prepare(self, image: str, progress: ProgressCallback, *, timeout: float) -> Image:
        """Make `image` present here: local, else pulled, else built. `progress` is called on the event loop."""

    async def start(self, spec: Spec) -> Observation:
        """Create the object if it is missing and start it if it is not running; already running is success."""

    async def stop(self, engine_key: str, grace: float) -> Observation: ...

    async def pause(self, engine_key: str) -> Observation: ...

    async def resume(self, engine_key: str) -> Observation: ...

    async def delete(self, engine_key: str) -> None:
        """Remove the object with its anonymous volumes and its guest directory; missing is success."""

    async def inspect(self, engine_key: str) -> Observation:
        """`Phase.MISSING` when there is no such object."""

    async def list(self) -> list[Observation]:
        """Every object of this installation, running or not."""

    async def dial(self, engine_key: str, protocol: asyncio.Protocol) -> None:
        """Connect `protocol` to the standard streams of a `rexec-guest dial` inside (docs/guest-protocol.md §1.1)."""

    def watch(self) -> AsyncIterator[Observation | None]:
        """Changes as they happen, pushed. Reconnects by itself; yields None after every (re)connection, so that the
        reader sweeps for what it missed. Ends only by cancellation."""

    async def update(self, engine_key: str, limits: Limits) -> None:
        """Change memory and CPU of a live container."""

    async def logs(self, engine_key: str, *, tail: int) -> bytes:
        """The last `tail` lines that PID 1 wrote, at most 1 MiB."""

    async def image(self, ref: str) -> Image | None: ...

    async def remove_image(self, ref: str) -> None: ...
