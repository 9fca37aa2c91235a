"""The rules at work over a real store, with an engine and guests whose every step a test holds in its hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from contracts.rows import user
from rexec.errors import RexecError, Unavailable
from rexec.server.bus import LocalBus
from rexec.server.core.access import ALL_BUT_ADMIN
from rexec.server.core.catalogue import Catalogue
from rexec.server.core.containers import Containers
from rexec.server.core.creation import Creation
from rexec.server.core.host import Host
from rexec.server.core.quarantine import Quarantine
from rexec.server.core.reconciler import Reconciler
from rexec.server.core.secrets import Secrets
from rexec.server.core.sweep import Sweep
from rexec.server.core.tiers import Tiers
from rexec.server.core.turns import Turns
from rexec.server.core.wanted import NewContainer
from rexec.server.ports.records import (
    Capacity,
    ContainerRow,
    Enforced,
    EventRow,
    Feature,
    Image,
    Limits,
    Observation,
    Phase,
    Principal,
    PullProgress,
    Spec,
)
from rexec.server.settings import Settings
from rexec.server.store import SqlDatabase

PATIENCE = 60.0


@dataclass
class Time:
    now: datetime = datetime(2030, 1, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def jump(self, **by: float) -> None:
        self.now += timedelta(**by)


class Gates:
    """Steps that wait while they are held, and fail while they are told to."""

    def __init__(self) -> None:
        self.held: set[str] = set()
        self.failures: dict[str, RexecError] = {}
        self.passed: list[str] = []
        self._moved = asyncio.Condition()

    async def through(self, step: str) -> None:
        self.passed.append(step)
        async with self._moved:
            self._moved.notify_all()
            await self._moved.wait_for(lambda: step not in self.held)
        if step in self.failures:
            raise self.failures[step]

    async def open(self, *steps: str) -> None:
        async with self._moved:
            self.held -= set(steps)
            self._moved.notify_all()

    async def reached(self, step: str) -> None:
        async with asyncio.timeout(PATIENCE), self._moved:
            await self._moved.wait_for(lambda: step in self.passed)


class HeldEngine:
    """A small hostile engine: it stops, fails and loses what it is told to."""

    name, host = "docker", "here"
    features = frozenset(Feature)

    def __init__(self, gates: Gates, clock: Time) -> None:
        self.objects: dict[str, Observation] = {}
        self.parts: Sequence[PullProgress] = ()
        """What a pull reports, a hundredth of a second apart."""
        self.capacity_now = Capacity(8, 65_536, 100_000, 50_000, "amd64", Enforced(memory=True))
        self._gates = gates
        self._clock = clock
        self._told: asyncio.Queue[Observation | None] = asyncio.Queue()

    def seen(self, key: str, phase: Phase, **more: Any) -> None:
        """What happens to an object behind the server's back; told as Docker's stream tells it."""
        known = self.objects.get(key, Observation(key, phase, engine_id="e" * 52 + key[:12]))
        observed = replace(known, phase=phase, **more)
        if phase is Phase.MISSING:
            self.objects.pop(key, None)
        else:
            self.objects[key] = observed
        self._told.put_nowait(observed)

    async def capacity(self) -> Capacity:
        return self.capacity_now

    async def prepare(self, image: str, progress: Callable[..., None], *, timeout: float) -> Image:
        await self._gates.through("prepare")
        for part in self.parts:
            progress(part)
            await asyncio.sleep(0.01)
        return Image(image, "sha256:1", 1, "amd64")

    async def start(self, spec: Spec) -> Observation:
        await self._gates.through("start")
        return self._put(spec.engine_key, Phase.RUNNING, limits=spec.limits, exit_code=None, started_at=self._clock())

    async def stop(self, engine_key: str, grace: float) -> Observation:
        await self._gates.through("stop")
        return self._put(engine_key, Phase.EXITED, exit_code=0)

    async def pause(self, engine_key: str) -> Observation:
        await self._gates.through("pause")
        return self._put(engine_key, Phase.PAUSED)

    async def resume(self, engine_key: str) -> Observation:
        await self._gates.through("resume")
        return self._put(engine_key, Phase.RUNNING)

    async def delete(self, engine_key: str) -> None:
        await self._gates.through("delete")
        self.objects.pop(engine_key, None)

    async def inspect(self, engine_key: str) -> Observation:
        return self.objects.get(engine_key, Observation(engine_key, Phase.MISSING))

    async def list(self) -> list[Observation]:
        return list(self.objects.values())

    async def logs(self, engine_key: str, *, tail: int) -> bytes:
        return b"last words"

    async def watch(self) -> AsyncGenerator[Observation | None, None]:
        while True:
            yield await self._told.get()

    def _put(self, key: str, phase: Phase, **more: Any) -> Observation:
        known = self.objects.get(key, Observation(key, phase, engine_id="e" * 52 + key[:12]))
        self.objects[key] = replace(known, phase=phase, **more)
        return self.objects[key]


class HeldGuests:
    def __init__(self, gates: Gates) -> None:
        self.expected: set[str] = set()
        self._gates = gates

    async def expect(self, engine_key: str) -> None:
        self.expected.add(engine_key)

    async def wait(self, engine_key: str, timeout: float) -> object:
        await self._gates.through("guest")
        return object()

    async def forget(self, engine_key: str) -> None:
        self.expected.discard(engine_key)


@dataclass
class World:
    database: SqlDatabase
    engine: HeldEngine
    guests: HeldGuests
    gates: Gates
    clock: Time
    containers: Containers
    sweep: Sweep
    quarantine: Quarantine
    owner: Principal
    made: list[str] = field(default_factory=list)

    async def create(self, **wanted: Any) -> ContainerRow:
        row = await self.containers.create(self.owner, NewContainer(image="debian:bookworm", **wanted))
        self.made.append(row.id)
        return row

    async def running(self, **wanted: Any) -> ContainerRow:
        return await self.until((await self.create(**wanted)).id, "running")

    async def row(self, container_id: str) -> ContainerRow:
        async with self.database.reading() as tx:
            row = await tx.containers.get(container_id)
        assert row is not None
        return row

    async def until(self, container_id: str, *statuses: str) -> ContainerRow:
        async with asyncio.timeout(PATIENCE):
            while str((found := await self.row(container_id)).status) not in statuses:
                await asyncio.sleep(0.02)
        return found

    async def events(self, container_id: str) -> list[EventRow]:
        async with self.database.reading() as tx:
            return await tx.events.of_container(container_id, 0, 1000)

    async def event(self, container_id: str, type: str) -> EventRow:
        """The first of its type, once it is there."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for event in await self.events(container_id):
                    if event.type == type:
                        return event
                await asyncio.sleep(0.02)

    async def counted(self) -> int:
        return await self.containers.count(self.owner)


@asynccontextmanager
async def world(
    folder: Path,
    *,
    name: str = "me",
    objects: Mapping[str, Observation] | None = None,
    tier: dict[str, Any] | None = None,
    **changed: Any,
) -> AsyncGenerator[World, None]:
    """`tier` changes the owner's; `changed` are settings. A second world over the same folder is the server's restart,
    `objects` what it finds on the engine."""
    gates, clock, bus = Gates(), Time(), LocalBus()
    settings = Settings(tiers={"free": tier or {}}, sweep_interval=3600, **changed)
    engine, guests = HeldEngine(gates, clock), HeldGuests(gates)
    engine.objects.update(objects or {})
    async with SqlDatabase(str(folder / "db"), bus) as database:
        await database.migrate()
        row = user(tier="free", id="owner", username="owner", created_at=clock())
        async with database.transaction() as tx:
            if await tx.users.get(row.id) is None:
                await tx.users.insert(row)
        host = Host(engine)  # type: ignore[arg-type]
        await host.refresh()
        secrets = Secrets(b"k" * 32)
        tiers = Tiers(settings.tiers, host.capacity)
        shared: Any = (database, bus, engine, guests, clock)
        containers = Containers(
            database, bus, engine, clock, host=host, tiers=tiers,  # type: ignore[arg-type]
            catalogue=Catalogue(settings.images, ("go", "node")), secrets=secrets,
        )  # fmt: skip
        turns = Turns(16)
        creation = Creation(
            database, engine, guests, clock,  # type: ignore[arg-type]
            layers=None, turns=turns, pull_timeout=60, guest_timeout=60,  # type: ignore[arg-type]
        )  # fmt: skip
        reconciler = Reconciler(*shared, creation, name=name, turns=turns, stop_grace=1)
        quarantine = Quarantine(database, engine, clock, secrets, settings.quarantine_days)  # type: ignore[arg-type]
        sweep = Sweep(
            *shared, settings=settings, host=host, tiers=tiers, containers=containers, creation=creation,
            reconciler=reconciler, quarantine=quarantine,
        )  # fmt: skip
        owner = Principal("owner", "owner", "free", False, False, ALL_BUT_ADMIN, None)
        async with sweep, reconciler:
            yield World(database, engine, guests, gates, clock, containers, sweep, quarantine, owner)
            gates.failures.clear()
            await gates.open(*gates.held)


def stray(key: str, phase: Phase = Phase.RUNNING) -> Observation:
    return Observation(key, phase, engine_id="f" * 64, image="debian:bookworm", limits=Limits(512, 750, 2048))


def away() -> Unavailable:
    return Unavailable("the container engine is away", code="engine_unavailable")
