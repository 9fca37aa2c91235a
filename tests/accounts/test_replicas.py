"""Two servers on one PostgreSQL and one engine."""

from __future__ import annotations

from support.client import Watcher, small
from support.server import Served


async def test_what_one_makes_the_other_shows_and_uses(replicas: tuple[Served, Served]) -> None:
    first, second = replicas
    async with Watcher(second.api) as watcher:
        made = await first.api.http.post("/api/containers", json=small(name="shared"))
        seen = await watcher.until_settled(made.json()["id"])
    assert seen[-1]["data"]["stage"] == "ready"
    for server in replicas:
        ran = await server.api.exec("shared", "echo from here")
        assert ran["stdout"] == "from here\n"
    await second.api.delete("shared")
    assert (await first.api.http.get("/api/containers/shared")).status_code == 404


async def test_the_death_of_one_leaves_its_work_to_the_other(replicas: tuple[Served, Served]) -> None:
    first, second = replicas
    container = await second.api.create()
    await second.kill()
    await second.start()
    assert (await second.api.exec(container["id"], "echo again"))["stdout"] == "again\n"
    assert (await first.api.exec(container["id"], "echo there"))["stdout"] == "there\n"
    await first.api.delete(container["id"])
