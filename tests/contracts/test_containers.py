"""Containers in the store."""

from __future__ import annotations

import asyncio
import secrets
from datetime import timedelta

import pytest

from contracts.rows import NOW, container, user
from rexec.errors import Conflict
from rexec.server.ports.records import ContainerRow, Limits, Status, Target, UserRow
from rexec.server.ports.store import ContainerFilter
from rexec.server.store import SqlDatabase


async def owner_of(database: SqlDatabase, *rows: ContainerRow, owner: UserRow | None = None) -> UserRow:
    owner = owner or user()
    async with database.transaction() as tx:
        await tx.users.insert(owner)
        for row in rows:
            await tx.containers.insert(row)
    return owner


async def test_a_row_comes_back_as_it_went_in(database: SqlDatabase) -> None:
    owner = user()
    row = container(owner, labels={"a": "ü"}, shell={"enhanced": True}, expires_at=NOW, limits=Limits(1, 2, 3, 4))
    await owner_of(database, row, owner=owner)
    async with database.reading() as tx:
        assert await tx.containers.get(row.id) == row
        assert await tx.containers.get("nobody") is None


async def test_a_name_is_unique_among_a_users_living(database: SqlDatabase) -> None:
    owner = user()
    first = container(owner, name="same")
    await owner_of(database, first, owner=owner)
    with pytest.raises(Conflict) as taken:
        async with database.transaction() as tx:
            await tx.containers.insert(container(owner, name="same"))
    assert taken.value.code == "name_taken"
    async with database.transaction() as tx:
        await tx.containers.update(first, deleted_at=NOW)
        await tx.containers.insert(container(owner, name="same"))
        other = user()
        await tx.users.insert(other)
        await tx.containers.insert(container(other, name="same"))
        assert await tx.containers.count_living(owner.id, "same") == 1


async def test_an_update_of_an_old_version_changes_nothing(database: SqlDatabase) -> None:
    owner = user()
    row = container(owner)
    await owner_of(database, row, owner=owner)
    async with database.transaction() as tx:
        newer = await tx.containers.update(row, status=Status.RUNNING, limits=Limits(9, 9, 9))
        assert newer is not None
        assert (newer.version, newer.status, newer.limits.memory_mb) == (2, Status.RUNNING, 9)
        assert await tx.containers.update(row, status=Status.ERROR) is None
        assert await tx.containers.get(row.id) == newer


async def test_find_goes_from_id_over_name_to_engine_id_and_its_prefix(database: SqlDatabase) -> None:
    owner, engine_id = user(), secrets.token_hex(32)
    row = container(owner, name="web", engine_id=engine_id)
    twin = container(owner, engine_id=engine_id[:20] + secrets.token_hex(22))
    await owner_of(database, row, twin, owner=owner)
    async with database.reading() as tx:
        for reference in (row.id, "web", engine_id, engine_id[:40]):
            assert [found.id for found in await tx.containers.find(owner.id, reference)] == [row.id], reference
        assert len(await tx.containers.find(owner.id, engine_id[:12])) == 2
        assert await tx.containers.find(owner.id, engine_id[:11]) == []
        assert await tx.containers.find("somebody-else", row.id) == []
        assert await tx.containers.find(None, "web") == []
        assert [found.id for found in await tx.containers.find(None, row.id)] == [row.id]
        assert await tx.containers.find(owner.id, "%" * 12) == []


async def test_lists_are_newest_first_and_page_and_filter(database: SqlDatabase) -> None:
    owner = user()
    rows = [
        container(owner, created_at=NOW + timedelta(seconds=n // 2), labels={"n": str(n), 'odd"key': "x"})
        for n in range(10)
    ]
    await owner_of(database, *rows, owner=owner)
    wanted = sorted(rows, key=lambda row: (row.created_at, row.id), reverse=True)
    async with database.reading() as tx:
        seen: list[ContainerRow] = []
        before = None
        while page := await tx.containers.list(ContainerFilter(owner.id, limit=3, before=before)):
            seen += page
            before = (page[-1].created_at, page[-1].id)
        assert seen == wanted
        labelled = ContainerFilter(owner.id, labels={"n": "4", 'odd"key': "x"})
        assert [row.id for row in await tx.containers.list(labelled)] == [rows[4].id]
        assert await tx.containers.list(ContainerFilter(owner.id, labels={"n": "' OR 1=1 --"})) == []
        assert await tx.containers.list(ContainerFilter(owner.id, statuses=[Status.RUNNING])) == []
        assert [row.id for row in await tx.containers.list(ContainerFilter(owner.id, name=rows[2].name))] == [
            rows[2].id
        ]


async def test_a_hundred_parallel_creates_do_not_pass_a_limit(database: SqlDatabase) -> None:
    owner = await owner_of(database)

    async def create() -> bool:
        async with database.transaction() as tx:
            await tx.users.lock(owner.id)
            if await tx.containers.count(owner.id) >= 5:
                return False
            await tx.containers.insert(container(owner))
            return True

    assert sum(await asyncio.gather(*(create() for _ in range(100)))) == 5


async def test_a_lease_has_one_holder(database: SqlDatabase) -> None:
    owner = user()
    row = container(owner)
    await owner_of(database, row, owner=owner)
    until = NOW + timedelta(seconds=30)

    async def claim(name: str) -> bool:
        async with database.transaction() as tx:
            return await tx.containers.claim(row.id, name, NOW, until) is not None

    assert sum(await asyncio.gather(*(claim(f"server-{n}") for n in range(10)))) == 1
    async with database.transaction() as tx:
        held = await tx.containers.get(row.id)
        assert held is not None
        assert await tx.containers.unsettled(NOW, 10, "me") == []
        assert await tx.containers.claim(row.id, "late", until, until + timedelta(seconds=1)) is not None
        await tx.containers.release(row.id, "not-mine")
        assert (await tx.containers.get(row.id) or row).claimed_by == "late"
        await tx.containers.release(row.id, "late")
        assert [found.id for found in await tx.containers.unsettled(NOW, 10, "me")] == [row.id]


async def test_a_lease_of_a_clock_that_was_set_back_binds_nobody(database: SqlDatabase) -> None:
    owner = user()
    row = container(owner, claimed_by="other", claimed_until=NOW + timedelta(hours=3))
    bound = container(owner, claimed_by="other", claimed_until=NOW + timedelta(seconds=119))
    await owner_of(database, row, bound, owner=owner)
    async with database.transaction() as tx:
        assert [found.id for found in await tx.containers.unsettled(NOW, 10, "me")] == [row.id]
        assert await tx.containers.claim(bound.id, "me", NOW, NOW + timedelta(seconds=60)) is None
        assert await tx.containers.claim(row.id, "me", NOW, NOW + timedelta(seconds=60)) is not None


async def test_what_is_settled_overdue_and_old_is_told_apart(database: SqlDatabase) -> None:
    owner = user()
    settled = container(owner, status=Status.RUNNING)
    broken = container(owner, status=Status.ERROR, settled_at=NOW - timedelta(days=2))
    fresh = container(owner, status=Status.ERROR, settled_at=NOW)
    leaving = container(owner, status=Status.ERROR, target=Target.DELETED, deleted_at=NOW)
    late = container(owner, status=Status.RUNNING, expires_at=NOW)
    gone = container(owner, status=Status.DELETED, target=Target.DELETED, deleted_at=NOW - timedelta(days=3))
    await owner_of(database, settled, broken, fresh, leaving, late, gone, owner=owner)
    async with database.transaction() as tx:
        assert {row.id for row in await tx.containers.unsettled(NOW, 10, "me")} == {leaving.id}
        assert [row.id for row in await tx.containers.overdue(NOW, 10)] == [late.id]
        assert await tx.containers.overdue(NOW - timedelta(seconds=1), 10) == []
        assert await tx.containers.count(owner.id) == 2
        assert gone.id not in {row.id for row in await tx.containers.of_engine("docker", "here")}
        assert await tx.containers.purge(NOW - timedelta(days=1)) == 1
        assert await tx.containers.get(gone.id) is None
        assert [row.id for row in await tx.containers.broken(NOW - timedelta(days=1), 10)] == [broken.id]


async def test_a_touch_moves_no_version(database: SqlDatabase) -> None:
    owner = user()
    rows = [container(owner) for _ in range(3)]
    await owner_of(database, *rows, owner=owner)
    async with database.transaction() as tx:
        await tx.containers.touch({row.id: NOW for row in rows} | {"gone": NOW})
        await tx.containers.touch({})
        for row in rows:
            found = await tx.containers.get(row.id)
            assert found is not None
            assert (found.last_used_at, found.version) == (NOW, row.version)
