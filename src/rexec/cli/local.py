"""The commands that work on this machine's own engine and database, without a server."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from rexec.errors import RexecError
from rexec.server.app import docker_engine, installation_of, open_accounts, open_quarantine, open_store
from rexec.server.core.catalogue import CUSTOM, Catalogue
from rexec.server.core.quarantine import Stray
from rexec.server.engines.docker import DockerEngine
from rexec.server.ports.records import ContainerRow, Image, PullProgress
from rexec.server.settings import Settings


@dataclass(frozen=True, slots=True)
class Finding:
    kind: Literal["ok", "note", "bad"]
    text: str


@asynccontextmanager
async def _engine(settings: Settings) -> AsyncGenerator[DockerEngine, None]:
    async with AsyncExitStack() as stack:
        _, database = await open_store(settings, stack)
        yield await stack.enter_async_context(docker_engine(settings, await installation_of(database)))


async def admin_token(settings: Settings, *, reset: bool) -> str | None:
    async with AsyncExitStack() as stack:
        return await (await open_accounts(settings, stack)).bootstrap(None, reset=reset)


async def present(settings: Settings) -> list[tuple[str, Image | None]]:
    names = [entry.name for entry in Catalogue(settings.images).linux if entry.name != CUSTOM]
    async with _engine(settings) as engine:
        return [(name, await engine.image(name)) for name in names]


async def provide(settings: Settings, reference: str) -> Image:
    """With a line that shows how far it is."""
    async with _engine(settings) as engine:
        image = await engine.image(reference)
        if image is not None:
            return image
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
        )
        with Progress(*columns) as shown:
            task = shown.add_task(f"fetching {reference}", total=100)

            def progress(part: PullProgress) -> None:
                if part.total > 0:
                    shown.update(task, completed=100 * part.current / part.total)

            image = await engine.prepare(reference, progress, timeout=settings.images.pull_timeout)
            shown.update(task, completed=100)
        return image


async def examine(settings: Settings) -> list[Finding]:
    findings = [Finding("ok", f"settings: data in {settings.data_dir}, server on {settings.bind}")]
    async with AsyncExitStack() as stack:
        try:
            _, database = await open_store(settings, stack)
        except (RexecError, OSError) as error:
            return [*findings, Finding("bad", f"database: {error}")]
        findings.append(Finding("ok", f"database: {settings.database.partition(':')[0]}, migrated"))
        try:
            engine = await stack.enter_async_context(docker_engine(settings, await installation_of(database)))
        except RexecError as error:
            return [*findings, Finding("bad", f"engine: {error.message}")]
        capacity = await engine.capacity()
        findings.append(
            Finding("ok", f"engine: {engine.name} on {engine.host}, {capacity.cpus} cores, {capacity.memory_mb} MB")
        )
        findings += [Finding("note", f"degraded: {text}") for text in capacity.degraded]
        image = await engine.image(settings.default_image)
        here = Finding("ok", f"image: {settings.default_image} is here")
        findings.append(here if image else Finding("note", f"image: {settings.default_image} is not here yet"))
    async with AsyncExitStack() as stack:
        quarantine, _ = await open_quarantine(settings, stack)
        findings += [Finding("note", _told(stray)) for stray in await quarantine.strays()]
    return findings


def _told(stray: Stray) -> str:
    key = stray.observation.engine_key
    return (
        f"quarantined: no container is known for rexec-{key} (since {stray.since:%Y-%m-%d %H:%M} UTC). It is removed "
        f"after {stray.until:%Y-%m-%d %H:%M} UTC; rexec doctor --adopt {key} keeps it, --purge {key} removes it now"
    )


async def adopt(settings: Settings, engine_key: str, owner: str | None) -> ContainerRow:
    async with AsyncExitStack() as stack:
        quarantine, _ = await open_quarantine(settings, stack)
        return await quarantine.adopt(engine_key, owner)


async def purge(settings: Settings, engine_key: str) -> None:
    """Raises `NotFound` for what is no stray."""
    async with AsyncExitStack() as stack:
        quarantine, _ = await open_quarantine(settings, stack)
        await quarantine.purge(engine_key)
