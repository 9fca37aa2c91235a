"""The commands that work on this machine's own engine and database, without a server."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Literal

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from rexec.errors import RexecError
from rexec.server.app import (
    docker_engine,
    guest_directory,
    installation_of,
    open_accounts,
    open_quarantine,
    open_store,
    role_layers,
)
from rexec.server.core.catalogue import CUSTOM, Catalogue
from rexec.server.core.host import Host
from rexec.server.core.layers import Layer, Layers
from rexec.server.core.quarantine import Stray
from rexec.server.core.recipes import read_recipes
from rexec.server.engines.docker import DockerEngine
from rexec.server.guest import Links
from rexec.server.ports.images import ProgressCallback
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
    names = [entry.name for entry in Catalogue(settings.images, ()).linux if entry.name != CUSTOM]
    async with _engine(settings) as engine:
        return [(name, await engine.image(name)) for name in names]


async def provide(settings: Settings, reference: str) -> Image:
    """Fetched now if it is not here yet."""
    async with _engine(settings) as engine:
        image = await engine.image(reference)
        if image is not None:
            return image
        with _progress(f"fetching {reference}") as progress:
            return await engine.prepare(reference, progress, timeout=settings.images.pull_timeout)


@asynccontextmanager
async def layers(settings: Settings) -> AsyncGenerator[Layers, None]:
    """Without tidying up; a bake of ours is found by any server once it is too old to be under way."""
    builder = f"cli-{os.urandom(4).hex()}"
    recipes = read_recipes(settings.layers.recipes)
    async with _engine(settings) as engine:
        dial = None if engine.shares_files else engine.dial
        async with Links(guest_directory(settings), builder, dial) as guests:
            host = Host(engine)
            await host.refresh()
            yield role_layers(settings, engine, guests, recipes, builder, host)


async def baked(settings: Settings) -> list[Layer]:
    async with layers(settings) as found:
        return await found.all()


async def bake(settings: Settings, role: str, reference: str) -> Layer:
    """The image is fetched first where it is not here. One that lacked something is made again."""
    image = await provide(settings, reference)
    async with layers(settings) as made:
        with _progress(f"baking {role} on {reference}") as progress:
            return await made.prepare(role, image, progress, afresh=True)


@contextmanager
def _progress(description: str) -> Generator[ProgressCallback, None, None]:
    """A line that shows how far it is."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn(),
    )  # fmt: skip
    with Progress(*columns) as shown:
        task = shown.add_task(description, total=100)

        def progress(part: PullProgress) -> None:
            if part.total > 0:
                shown.update(task, completed=100 * part.current / part.total)

        yield progress
        shown.update(task, completed=100)


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
    return [*findings, *await _roles(settings)]


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


async def objects(settings: Settings) -> int:
    """How many containers of this installation the engine has."""
    async with _engine(settings) as engine:
        return len(await engine.list())


async def uninstall(settings: Settings) -> None:
    """Only while no server is at work: it would make them anew."""
    async with _engine(settings) as engine:
        for observation in await engine.list():
            await engine.delete(observation.engine_key)
        await engine.remove_network()


async def _roles(settings: Settings) -> list[Finding]:
    """What baked layers lack."""
    try:
        async with layers(settings) as found:
            made = await found.all()
    except RexecError as error:
        return [Finding("bad", f"recipes: {error.message}")]
    lacking = [f"degraded: {sentence} (on {layer.image})" for layer in made for sentence in layer.degraded]
    ok = Finding("ok", f"recipes: {len(found.recipes)} roles, {len(made)} layers baked")
    return [ok, *(Finding("note", sentence) for sentence in lacking)]
