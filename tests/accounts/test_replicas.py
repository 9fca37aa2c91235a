"""Two servers on one PostgreSQL and one engine."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from support.client import Watcher, small
from support.daemon import Daemon
from support.postgres import cluster, database_in
from support.server import Served


@pytest.fixture(scope="module")
async def replicas(docker_daemon: Daemon) -> AsyncIterator[tuple[Served, Served]]:
    data = Path(mkdtemp(prefix="rexec-two-", dir="/var/tmp"))
    with cluster() as server, database_in(server) as url:
        first, second = (
            Served(
                data / name,
                docker_daemon.url,
                REXEC_DATABASE_URL=url,
                REXEC_GUEST_DIR=str(data / "g"),
                REXEC_LOGINS_PER_MINUTE="40",
            )
            for name in ("a", "b")
        )
        for replica in (first, second):
            replica.data.mkdir()
        second.share(first)
        await first.start()
        await second.start()
        yield first, second
        for container in (await first.api.http.get("/api/containers?all=true")).json()["containers"]:
            await first.api.delete(container["id"])
        for replica in (first, second):
            await replica.stop()
            await replica.api.http.aclose()
            assert "Traceback" not in replica.log.read_text()
    shutil.rmtree(data)


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


async def test_a_hundred_creates_over_both_admit_one_guests_one(replicas: tuple[Served, Served]) -> None:
    first, _ = replicas
    made = await first.api.http.post("/api/auth/guest", json={"username": "twice"}, headers={"Authorization": ""})
    guests = [server.as_token(made.json()["token"]) for server in replicas]

    answers = await asyncio.gather(
        *(guests[turn % 2].http.post("/api/containers", json=small()) for turn in range(100))
    )

    assert [answer.status_code for answer in answers].count(202) == 1
    assert {answer.status_code for answer in answers} <= {202, 403, 429, 503}
    for guest in guests:
        await guest.http.aclose()


async def test_a_rate_limit_is_kept_by_both_together(replicas: tuple[Served, Served]) -> None:
    statuses = []
    for turn in range(90):
        server = replicas[turn % 2]
        answer = await server.api.http.post(
            "/api/auth/session", json={"token": "rexec_" + "0" * 64}, headers={"Authorization": ""}
        )
        statuses.append(answer.status_code)
        if answer.status_code == 429:
            assert 1 <= int(answer.headers["retry-after"]) <= 61
            assert answer.headers["x-ratelimit-remaining"] == "0"
    assert statuses.count(401) <= 80
    assert statuses.count(429) >= 10


async def test_the_death_of_one_leaves_its_work_to_the_other(replicas: tuple[Served, Served]) -> None:
    first, second = replicas
    container = await second.api.create()
    await second.kill()
    await second.start()
    assert (await second.api.exec(container["id"], "echo again"))["stdout"] == "again\n"
    assert (await first.api.exec(container["id"], "echo there"))["stdout"] == "there\n"


async def test_forwarded_addresses_are_not_believed(replicas: tuple[Served, Served]) -> None:
    first, _ = replicas
    statuses = []
    for turn in range(60):
        answer = await first.api.http.post(
            "/api/auth/session",
            json={"token": "rexec_" + "0" * 64},
            headers={"Authorization": "", "X-Forwarded-For": f"198.51.100.{turn}"},
        )
        statuses.append(answer.status_code)
    assert 429 in statuses
