"""Two servers of one installation on either database: on SQLite there can be but one, which is both."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import httpx2
import pytest

from support.client import Api
from support.daemon import Daemon
from support.postgres import Cluster, cluster, database_in
from support.server import Served

NOBODY = {"Authorization": ""}
FRIEND = "https://friend.example"
LOGINS = 40


@dataclass(frozen=True, slots=True)
class Pair:
    """What is done `here` must hold `there`."""

    here: Served
    there: Served
    opened: list[Api] = field(default_factory=list)

    @property
    def admin(self) -> Api:
        return self.here.api

    def at(self, server: Served, token: str) -> Api:
        self.opened.append(server.as_token(token))
        return self.opened[-1]

    async def user(self, **wanted: Any) -> dict[str, Any]:
        """A new user with its first token."""
        name = f"user-{os.urandom(6).hex()}"
        made = await self.admin.http.post("/api/admin/users", json={"username": name, **wanted})
        assert made.status_code == 201, made.text
        found: dict[str, Any] = made.json()
        return found

    async def guest(self, **options: Any) -> dict[str, Any]:
        body = {"username": f"guest-{os.urandom(4).hex()}", **options}
        made = await self.admin.http.post("/api/auth/guest", json=body, headers={**NOBODY, **somewhere()})
        assert made.status_code == 200, made.text
        found: dict[str, Any] = made.json()
        return found

    async def session(self, token: str) -> dict[str, Any]:
        body = {"token": token, "cookie": False}
        signed = await self.admin.http.post("/api/auth/session", json=body, headers={**NOBODY, **somewhere()})
        assert signed.status_code == 200, signed.text
        found: dict[str, Any] = signed.json()
        return found

    @asynccontextmanager
    async def tier(self, name: str, **changes: Any) -> AsyncIterator[None]:
        """Meanwhile, a tier is another one, on both."""
        before = (await self.admin.http.get("/api/admin/tiers")).json()["tiers"][name]
        await self._change(name, changes)
        yield
        await self._change(name, {key: before[key] for key in changes})

    async def _change(self, name: str, changes: dict[str, Any]) -> None:
        changed = await self.admin.http.patch(f"/api/admin/tiers/{name}", json=changes)
        assert changed.status_code == 200, changed.text

        async def same() -> bool:
            now = (await self.there.api.http.get("/api/admin/tiers")).json()["tiers"][name]
            return all(now[key] == value for key, value in changes.items())

        await until(same)


def somewhere() -> dict[str, str]:
    """An address that nobody has used yet, by a proxy that the servers trust."""
    return {"X-Forwarded-For": ":".join(["2001:db8", *(os.urandom(2).hex() for _ in range(6))])}


async def until(holds: Callable[[], Awaitable[bool]], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not await holds():
            await asyncio.sleep(0.05)


@pytest.fixture(scope="session")
def replicas_cluster() -> Iterator[Cluster]:
    with cluster() as started:
        yield started


@pytest.fixture(scope="session")
async def replicas(docker_daemon: Daemon, replicas_cluster: Cluster) -> AsyncIterator[tuple[Served, Served]]:
    data = Path(mkdtemp(prefix="rexec-two-", dir="/var/tmp"))
    with database_in(replicas_cluster.url) as url:
        first, second = (
            Served(
                data / name,
                docker_daemon.url,
                REXEC_DATABASE_URL=url,
                REXEC_GUEST_DIR=str(data / "g"),
                REXEC_LOGINS_PER_MINUTE=str(LOGINS),
                REXEC_TRUSTED_PROXIES="127.0.0.1",
                REXEC_ALLOWED_ORIGINS=FRIEND,
            )
            for name in ("a", "b")
        )
        for replica in (first, second):
            replica.data.mkdir()
        second.share(first)
        await asyncio.gather(first.start(), second.start())
        yield first, second
        for container in (await first.api.http.get("/api/containers?all=true")).json()["containers"]:
            await first.api.delete(container["id"])
        for replica in (first, second):
            await replica.stop()
            await replica.api.http.aclose()
            text = replica.log.read_text()
            assert first.token not in text, "the admin's token is in the log"
            assert "Traceback" not in text, text[text.index("Traceback") - 500 :][:4000]
    shutil.rmtree(data)


@pytest.fixture(params=["sqlite", "postgresql"])
def servers(request: pytest.FixtureRequest) -> tuple[Served, Served]:
    if request.param == "sqlite":
        served: Served = request.getfixturevalue("served")
        return served, served
    found: tuple[Served, Served] = request.getfixturevalue("replicas")
    return found


@pytest.fixture
async def pair(servers: tuple[Served, Served]) -> AsyncIterator[Pair]:
    made = Pair(*servers)
    yield made
    for api in made.opened:
        await api.http.aclose()
    for container in (await made.admin.http.get("/api/containers?all=true")).json()["containers"]:
        await made.admin.delete(container["id"])


def from_address(address: str, server: Served) -> httpx2.AsyncClient:
    """A client that comes from another address of this machine."""
    return httpx2.AsyncClient(base_url=server.url, transport=httpx2.AsyncHTTPTransport(local_address=address))
