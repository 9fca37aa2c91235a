"""What was found a moment ago is found without a look at the store, and never when it has changed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from contracts.rows import container, user
from rexec.errors import NotFound
from rexec.server.bus import LocalBus
from rexec.server.core.access import ALL_BUT_ADMIN, principal_of
from rexec.server.core.recent import Recent
from rexec.server.ports.records import ContainerRow, Principal, Status


class Store:
    """One row, and how often it was looked at; `during` happens while it is."""

    def __init__(self, row: ContainerRow) -> None:
        self.row, self.looks = row, 0
        self.during: list[str] = []

    async def find(self, principal: Principal, reference: str) -> ContainerRow:
        self.looks += 1
        found = self.row
        for topic in self.during:
            await self.bus.publish(topic)
        if principal.user_id != found.user_id:
            raise NotFound("container not found", code="container_not_found")
        return found

    bus: LocalBus


@pytest.fixture
def store() -> Store:
    store = Store(replace(container(user()), status=Status.RUNNING))
    store.bus = LocalBus()
    return store


async def test_one_look_serves_until_something_is_published(store: Store) -> None:
    owner = principal_of(replace(user(), id=store.row.user_id), ALL_BUT_ADMIN, None)
    recent = Recent(store.bus, store.find)
    for _ in range(3):
        assert await recent.find(owner, store.row.id) is store.row
    assert store.looks == 1
    store.row = replace(store.row, status=Status.PAUSED)
    await store.bus.publish(f"container:{store.row.id}")
    for _ in range(2):
        assert (await recent.find(owner, store.row.id)).status is Status.PAUSED
    assert store.looks == 3


async def test_a_change_while_it_is_looked_at_is_not_missed(store: Store) -> None:
    owner = principal_of(replace(user(), id=store.row.user_id), ALL_BUT_ADMIN, None)
    recent = Recent(store.bus, store.find)
    store.during = [f"container:{store.row.id}"]
    await recent.find(owner, store.row.id)
    await recent.find(owner, store.row.id)
    assert store.looks == 2


async def test_what_one_found_is_not_told_to_another(store: Store) -> None:
    owner = principal_of(replace(user(), id=store.row.user_id), ALL_BUT_ADMIN, None)
    stranger = principal_of(replace(user(), id="stranger"), ALL_BUT_ADMIN, None)
    recent = Recent(store.bus, store.find)
    await recent.find(owner, store.row.id)
    with pytest.raises(NotFound):
        await recent.find(stranger, store.row.id)
