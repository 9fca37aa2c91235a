"""The bus within one process."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Self


class LocalSubscription:
    """Implements `ports.bus.Subscription`."""

    def __init__(self) -> None:
        self._wake = asyncio.Event()

    @property
    def woken(self) -> bool:
        return self._wake.is_set()

    def wake(self) -> None:
        self._wake.set()

    async def wait(self) -> None:
        await self._wake.wait()
        self._wake.clear()


class LocalBus:
    """Implements `ports.bus.Bus`."""

    prompt = True

    def __init__(self) -> None:
        self._subscriptions: defaultdict[str, set[LocalSubscription]] = defaultdict(set)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._subscriptions.clear()

    async def publish(self, *topics: str) -> None:
        self.deliver(*topics)

    def deliver(self, *topics: str) -> None:
        """Wake who listens in this process."""
        for topic in topics:
            for subscription in self._subscriptions.get(topic, ()):
                subscription.wake()

    def wake_everybody(self) -> None:
        """After a gap: whatever was published meanwhile, a look at the store finds it."""
        self.deliver(*list(self._subscriptions))

    @asynccontextmanager
    async def subscribe(self, *topics: str) -> AsyncGenerator[LocalSubscription, None]:
        subscription = LocalSubscription()
        for topic in topics:
            self._subscriptions[topic].add(subscription)
        try:
            yield subscription
        finally:
            for topic in topics:
                self._subscriptions[topic].discard(subscription)
                if not self._subscriptions[topic]:
                    del self._subscriptions[topic]
