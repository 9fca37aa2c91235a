"""The seam that wakes readers of the event log."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol, Self


class Subscription(Protocol):
    @property
    def woken(self) -> bool:
        """Whether `wait` would return at once."""

    async def wait(self) -> None:
        """Returns when one of the topics was published since the last return, at once if it already was. Wakes
        coalesce; a reader always asks the store what is new, so that nothing can be lost here."""


class Bus(Protocol):
    """Carries topics, never content: `user:<id>` (events), `container:<id>` (status), `work` (the queue)."""

    prompt: bool
    """Whether a topic reaches every subscription before `publish` returns, since there is one process only."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...

    async def publish(self, *topics: str) -> None: ...

    def subscribe(self, *topics: str) -> AbstractAsyncContextManager[Subscription]: ...
