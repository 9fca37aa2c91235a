"""docs/lifecycle.md, cell by cell, against the rules at work."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from world import PATIENCE, World, world

from rexec.errors import Conflict, NotFound, Unavailable
from rexec.server.ports.records import ContainerRow, Phase

PAGE = Path(__file__).parents[2] / "docs/lifecycle.md"


def table(name: str) -> list[dict[str, str]]:
    text = re.search(f"<!-- {name} -->\n(.*?)\n<!--", PAGE.read_text(), re.DOTALL)
    assert text is not None
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text[1].splitlines()]
    return [dict(zip(head, row, strict=True)) for row in rows]


async def creating(w: World) -> ContainerRow:
    w.gates.held.add("start")
    w.gates.passed.clear()
    row = await w.create()
    await w.gates.reached("start")
    return row


async def paused(w: World) -> ContainerRow:
    return await w.containers.pause(w.owner, (await w.running()).id, PATIENCE)


async def stopping(w: World) -> ContainerRow:
    row = await w.running()
    w.gates.held.add("stop")
    with pytest.raises(Exception, match="still stopping"):
        await w.containers.stop(w.owner, row.id, 0.01)
    return row


async def stopped(w: World) -> ContainerRow:
    return await w.containers.stop(w.owner, (await w.running()).id, PATIENCE)


async def starting(w: World) -> ContainerRow:
    row = await stopped(w)
    w.gates.held.add("start")
    with pytest.raises(Exception, match="still starting"):
        await w.containers.start(w.owner, row.id, 0.01)
    return row


async def broken(w: World) -> ContainerRow:
    row = await w.running()
    w.engine.seen(row.engine_key, Phase.EXITED, exit_code=1)
    return await w.until(row.id, "error")


STATES: dict[str, Callable[[World], Awaitable[ContainerRow]]] = {
    "creating": creating, "running": World.running, "paused": paused, "stopping": stopping, "stopped": stopped,
    "starting": starting, "error": broken,
}  # fmt: skip


@pytest.mark.parametrize("line", table("moves"), ids=lambda line: line["status"])
async def test_every_action_answers_as_the_table_says(line: dict[str, str], tmp_path: Path) -> None:
    verbs = [verb for verb in line if verb != "status"]
    async with world(tmp_path, tier={"containers": 50}) as w:
        for verb in verbs:
            row = await STATES[line["status"]](w)
            assert str((await w.row(row.id)).status) == line["status"]
            before = len(await w.events(row.id))
            if line[verb] == "409":
                with pytest.raises(Conflict):
                    await getattr(w.containers, verb)(w.owner, row.id, PATIENCE)
                await w.gates.open("start", "stop")
                await w.until(row.id, "running", "paused", "stopped", "error")
                continue
            await act(w, verb, row)
            way = [status.strip() for status in line[verb].removeprefix("200,").split("→")]
            assert str((await w.row(row.id)).status) == way[-1], verb
            told = [event.data.get("status") for event in (await w.events(row.id))[before:]]
            passed = [status for status in told if status in way]
            assert verb == "delete" or list(dict.fromkeys(passed)) == (way if len(way) > 1 else passed[:1]), (
                verb,
                told,
            )


async def act(w: World, verb: str, row: ContainerRow) -> None:
    if verb == "delete":
        await w.containers.delete(w.owner, row.id)
        await w.gates.open("start", "stop")
        await w.until(row.id, "deleted")
        assert row.engine_key not in w.engine.objects
        return
    acting = asyncio.create_task(getattr(w.containers, verb)(w.owner, row.id, PATIENCE))
    await asyncio.sleep(0)
    await w.gates.open("start", "stop")
    await acting


async def image_not_there(w: World) -> ContainerRow:
    w.gates.failures["prepare"] = NotFound("no such image", code="image_not_found")
    return await w.create()


async def image_not_fetched(w: World) -> ContainerRow:
    w.gates.failures["prepare"] = Unavailable("the registry is away", code="pull_failed")
    return await w.create()


async def silent_guest(w: World) -> ContainerRow:
    w.gates.failures["guest"] = Unavailable("the guest does not answer", code="guest_unreachable")
    return await w.create()


async def expired(w: World) -> ContainerRow:
    row = await w.running()
    w.clock.jump(hours=51)
    return row


async def idle(w: World) -> ContainerRow:
    row = await w.running()
    w.clock.jump(seconds=61)
    await w.sweep.idle()
    return row


def seen(phase: Phase, **more: object) -> Callable[[World], Awaitable[ContainerRow]]:
    async def cause(w: World) -> ContainerRow:
        row = await w.running()
        w.engine.seen(row.engine_key, phase, **more)
        return row

    return cause


async def engine_back(w: World) -> ContainerRow:
    row = await w.running()
    await w.sweep.sweep()
    return row


CAUSES: dict[str, tuple[Callable[[World], Awaitable[ContainerRow]], ...]] = {
    "exit 0 of the first process (shut down from inside)": (seen(Phase.EXITED, exit_code=0),),
    "exit 1 of the first process": (seen(Phase.EXITED, exit_code=1),),
    "killed from outside": (seen(Phase.EXITED, exit_code=137),),
    "out of memory, the guest itself": (seen(Phase.EXITED, exit_code=137, out_of_memory=True),),
    "host reboot, or the engine lost its end": (seen(Phase.EXITED, exit_code=255),),
    "gone from the engine": (seen(Phase.MISSING),),
    "out of memory, a child": (seen(Phase.RUNNING, out_of_memory=True),),
    "engine restart with live-restore": (engine_back,),
    "image not to be had": (image_not_there, image_not_fetched),
    "guest does not answer": (silent_guest,),
    "expiry": (expired,),
    "idleness": (idle,),
}


@pytest.mark.parametrize("line", table("causes"), ids=lambda line: line["cause"])
async def test_every_cause_has_the_effect_that_the_table_says(line: dict[str, str], tmp_path: Path) -> None:
    for turn, cause in enumerate(CAUSES[line["cause"]]):
        (folder := tmp_path / str(turn)).mkdir()
        async with world(folder, tier={"idle_seconds": 60}) as w:
            row = await cause(w)
            way = [status.strip() for status in line["status"].split("→")]
            found = await w.until(row.id, way[-1])
            if line["restarted"] == "yes":
                found = await restarted(w, row)
            reasons = [reason.strip() for reason in line["reason"].split(",")]
            if line["status"] == "running" or line["restarted"] == "yes":
                assert found.reason is None
            else:
                assert found.reason == reasons[turn]
            assert await w.counted() == (line["counted"] == "yes")
            assert (row.engine_key in w.engine.objects) == (line["data kept"] == "yes")


async def restarted(w: World, row: ContainerRow) -> ContainerRow:
    """Once its events show that it was starting for the reason of the table, and runs again."""
    async with asyncio.timeout(PATIENCE):
        while True:
            told = [event.data for event in await w.events(row.id)]
            at = [n for n, data in enumerate(told) if data.get("status") == "starting"]
            if at and any(data.get("status") == "running" for data in told[at[0] :]):
                assert told[at[0]]["reason"] == "engine_restarted"
                return await w.row(row.id)
            await asyncio.sleep(0.02)
