"""What happens by itself: ends that are told before, clocks that jump, objects that nobody knows, disks that fill."""

from __future__ import annotations

from pathlib import Path

import pytest
from world import PATIENCE, away, stray, world

from rexec.errors import NotFound, OutOfSpace
from rexec.server.core.wanted import NewContainer
from rexec.server.ports.records import Phase, Status


async def test_an_end_is_told_before_it_comes_and_once(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        row = await w.running()
        w.clock.jump(hours=49, minutes=56)
        warned = await w.event(row.id, "container_expiring")
        assert (await w.row(row.id)).status is Status.RUNNING
        assert warned.data["session_limit_seconds"] == 240
        w.clock.jump(minutes=5)
        assert (await w.until(row.id, "stopped")).reason == "expired"
        told = [event.type for event in await w.events(row.id)]
        assert told.count("container_expiring") == 1
        assert told.index("container_expiring") < told.index("container_stopped")


async def test_a_server_that_slept_over_an_end_warns_first_all_the_same(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        row = await w.running()
        w.clock.jump(days=30)
        await w.until(row.id, "stopped")
        told = [event.type for event in await w.events(row.id)]
        assert told.count("container_expiring") == 1
        assert told.index("container_expiring") < told.index("container_stopped")


async def test_a_warning_is_not_repeated_by_the_next_server_and_comes_again_for_a_new_end(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        row = await w.running()
        w.clock.jump(hours=49, minutes=56)
        await w.event(row.id, "container_expiring")
        objects = dict(w.engine.objects)
    async with world(tmp_path, objects=objects) as w:
        w.clock.jump(hours=49, minutes=57)
        other = await w.create()
        await w.until(other.id, "running")
        await w.containers.renew(w.owner, row.id, 120)
        w.clock.jump(minutes=3)
        await w.until(row.id, "stopped")
        assert [event.type for event in await w.events(row.id)].count("container_expiring") == 2


async def test_a_clock_set_back_holds_nothing_up(tmp_path: Path) -> None:
    """Leases that end hours ahead, and a row that a dead server of another name held."""
    async with world(tmp_path, name="before") as w:
        w.clock.jump(hours=5)
        w.gates.held.add("start")
        row = await w.create()
        await w.gates.reached("start")
        held = await w.row(row.id)
        assert held.claimed_by == "before"
        async with w.database.transaction() as tx:
            await tx.containers.claim("none", "x", w.clock(), w.clock())
    async with world(tmp_path, name="after") as w:
        assert w.clock() < held.created_at
        async with w.database.transaction() as tx:
            await tx.containers.claim(row.id, "before", w.clock(), held.claimed_until or w.clock())
        await w.until(row.id, "running")


async def test_an_unknown_object_is_stopped_kept_and_at_last_purged(tmp_path: Path) -> None:
    async with world(tmp_path, quarantine_days=30) as w:
        w.engine.objects["lost1"] = stray("lost1")
        w.engine.objects["lost2"] = stray("lost2", Phase.EXITED)
        await w.sweep.sweep()
        assert {seen.phase for seen in w.engine.objects.values()} == {Phase.EXITED}
        assert w.gates.passed == ["stop"]
        begun = w.clock()
        w.clock.jump(days=29)
        await w.sweep.sweep()
        strays = await w.quarantine.strays()
        assert {found.observation.engine_key for found in strays} == {"lost1", "lost2"}
        assert {found.since for found in strays} == {begun}
        w.clock.jump(days=1)
        await w.sweep.sweep()
        assert w.engine.objects == {}
        assert await w.quarantine.strays() == []


async def test_one_that_was_to_be_deleted_goes_at_once(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        row = await w.running()
        left = w.engine.objects[row.engine_key]
        await w.containers.delete(w.owner, row.id)
        await w.until(row.id, "deleted")
        w.engine.objects[row.engine_key] = left
        await w.sweep.sweep()
        assert w.engine.objects == {}


async def test_an_unknown_object_is_adopted_with_its_data(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.engine.objects["lost"] = stray("lost")
        await w.sweep.sweep()
        with pytest.raises(NotFound):
            await w.quarantine.adopt("lost", "nobody")
        with pytest.raises(NotFound):
            await w.quarantine.adopt("lost", None)
        row = await w.quarantine.adopt("lost", "owner")
        assert (row.status, row.limits.memory_mb, row.custom_image) == (Status.STOPPED, 512, "debian:bookworm")
        with pytest.raises(NotFound):
            await w.quarantine.adopt("lost", "owner")
        assert await w.quarantine.strays() == []
        started, outcome = await w.containers.start(w.owner, row.id, PATIENCE)
        assert (started.status, outcome.recreated) == (Status.RUNNING, False)
        w.clock.jump(days=60)
        await w.sweep.sweep()
        assert "lost" in w.engine.objects


async def test_a_full_disk_refuses_before_it_admits_and_is_told_where_it_comes_later(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.gates.failures["start"] = OutOfSpace("the engine's disk is full: no space left on device")
        broken = await w.until((await w.create()).id, "error")
        assert broken.reason == "disk_full"
        assert broken.engine_key not in w.engine.objects
        w.gates.failures.clear()
        w.engine.capacity_now = type(w.engine.capacity_now)(8, 65_536, 100_000, 100, "amd64", broken.enforced)
        await w.containers._host.refresh()
        with pytest.raises(OutOfSpace):
            await w.containers.create(w.owner, NewContainer(image="debian:bookworm"))
        assert await w.counted() == 0


async def test_an_engine_that_is_away_is_waited_for(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.gates.failures["start"] = away()
        row = await w.create()
        waiting = None
        while waiting is None:
            await w.gates.reached("start")
            waiting = next((e for e in await w.events(row.id) if "Waiting" in str(e.data.get("message"))), None)
        assert (await w.row(row.id)).status is Status.CREATING
        w.gates.failures.clear()
        await w.until(row.id, "running")
        progress = [e.data["progress"] for e in await w.events(row.id) if e.type == "container_progress"]
        assert progress == sorted(progress)
