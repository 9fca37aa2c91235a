"""The composition root: settings in, parts on one exit stack, an ASGI app out."""

from __future__ import annotations

import asyncio
import hashlib
import os
import platform
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from rexec.errors import Invalid, NotFound, RexecError
from rexec.server.api import accounts, catalogue, containers, events, execs, files, ports, system, terminals
from rexec.server.api.gate import Gate
from rexec.server.api.openapi import describe_api, methods_of
from rexec.server.api.problems import answer, invalid
from rexec.server.bus import LocalBus
from rexec.server.core.access import Access
from rexec.server.core.accounts import Accounts
from rexec.server.core.bake import Bake, BakeRules
from rexec.server.core.catalogue import Catalogue
from rexec.server.core.clock import utc_now
from rexec.server.core.containers import Containers
from rexec.server.core.creation import Creation
from rexec.server.core.events import Events
from rexec.server.core.host import Host
from rexec.server.core.idempotency import Idempotency
from rexec.server.core.inside import Inside
from rexec.server.core.layers import Layers
from rexec.server.core.opensockets import OpenSockets
from rexec.server.core.profiles import Profiles
from rexec.server.core.quarantine import Quarantine
from rexec.server.core.ratelimit import RateLimits
from rexec.server.core.recipes import Recipe, read_recipes
from rexec.server.core.reconciler import Reconciler
from rexec.server.core.secrets import KEY_BYTES, Secrets
from rexec.server.core.services import Services
from rexec.server.core.sweep import Sweep
from rexec.server.core.tickets import Tickets
from rexec.server.core.tiers import ChangedTiers, Tiers
from rexec.server.core.turns import Turns
from rexec.server.core.users import Users
from rexec.server.engines.docker import DockerEngine, NetworkRules
from rexec.server.guest import Links
from rexec.server.images import CachedDownloads, ImageRules, Mirrors, RegistrySource
from rexec.server.ports.bus import Bus
from rexec.server.ports.guest import Guests
from rexec.server.ports.records import Limits
from rexec.server.ports.store import Database
from rexec.server.settings import Settings
from rexec.server.store import SqlDatabase

_log = structlog.get_logger(__name__)
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_PACKAGE = Path(__file__).parent
_LONGEST_DIRECTORY = 60
"""Of the guests' sockets, so that `<directory>/<engine key>/<replica>.sock` fits into a socket's address."""


def create_app(services: Services) -> ASGIApp:
    """The API over parts that are at work."""
    api = create_api()
    api.state.services = services
    return Gate(api, services)


def create_api() -> FastAPI:
    """The routes alone: enough to describe them."""
    api = FastAPI(title="Rexec", docs_url=None, redoc_url=None, openapi_url=None)
    for module in (containers, execs, files, ports, terminals, events, catalogue, accounts, system):
        api.include_router(module.router)
    api.router.routes.append(WebSocketRoute("/{path:path}", _nowhere))
    for kind in (RexecError, RequestValidationError, HTTPException):
        api.add_exception_handler(kind, _problem)
    api.openapi = lambda: describe_api(api)  # type: ignore[method-assign]
    return api


async def _problem(request: Request, error: Exception) -> Response:
    if request.scope["type"] == "websocket":
        raise error  # the gate knows how to refuse a socket
    if isinstance(error, RequestValidationError):
        error = invalid(error)
    elif isinstance(error, HTTPException) and error.status_code == 405:
        return _wrong_method(request)
    elif isinstance(error, HTTPException) and isinstance(error.__cause__, RexecError):
        error = error.__cause__
    elif isinstance(error, HTTPException):
        error = NotFound("not found") if error.status_code == 404 else Invalid(str(error.detail))
    if not isinstance(error, RexecError):
        raise error
    return answer(error, request.state.request_id)


def _wrong_method(request: Request) -> Response:
    """405 with those it takes; 404 for a path of the API that takes none (the page's route fits every path)."""
    path = request.url.path
    methods = methods_of(path) or ([] if path.startswith(("/api/", "/ws/")) else ["GET", "HEAD"])
    if not methods:
        return answer(NotFound("not found"), request.state.request_id)
    error = Invalid("this path does not take this method", code="method_not_allowed")
    return answer(error, request.state.request_id, {"Allow": ", ".join(methods)})


async def _nowhere(socket: WebSocket) -> None:
    raise NotFound("not found")


async def assemble(settings: Settings, stack: AsyncExitStack) -> Services:
    """Open every part on `stack`."""
    recipes = read_recipes(settings.layers.recipes)
    bus, database = await open_store(settings, stack)
    installation, jwt_key, environment_key = await _keys(database)
    engine = await stack.enter_async_context(docker_engine(settings, installation))
    host = Host(engine)
    await host.refresh()
    dial = None if engine.shares_files else engine.dial
    guests = await stack.enter_async_context(Links(guest_directory(settings), replica(settings), dial))
    clock = utc_now
    layers = await stack.enter_async_context(role_layers(settings, engine, guests, recipes, replica(settings), host))
    tiers, offered = Tiers(settings.tiers, host.capacity), Catalogue(settings.images, tuple(recipes))
    secrets = Secrets(environment_key)
    owned = Containers(database, bus, engine, clock, host=host, tiers=tiers, catalogue=offered, secrets=secrets)
    access = await stack.enter_async_context(Access(database, bus, clock, jwt_key))
    changed_tiers = await stack.enter_async_context(ChangedTiers(database, bus, tiers))
    sockets = await stack.enter_async_context(OpenSockets(database, clock, replica(settings)))
    services = Services(
        settings=settings,
        clock=clock,
        database=database,
        bus=bus,
        engine=engine,
        host=host,
        tiers=tiers,
        catalogue=offered,
        layers=layers,
        containers=owned,
        events=Events(database, bus, clock),
        inside=Inside(owned, guests),
        access=access,
        accounts=_accounts(settings, database, access),
        users=Users(database, clock, tiers, settings.default_tier),
        profiles=Profiles(database, tiers, sockets),
        changed_tiers=changed_tiers,
        sockets=sockets,
        tickets=Tickets(clock, access),
        rate_limits=RateLimits(database, clock),
        idempotency=Idempotency(database, clock, replica(settings)),
        draining=asyncio.Event(),
    )  # fmt: skip
    turns = Turns(settings.workers)
    creation = Creation(
        database, engine, guests, clock,
        layers=layers, turns=turns, pull_timeout=settings.images.pull_timeout, guest_timeout=settings.guest_timeout,
    )  # fmt: skip
    reconciler = Reconciler(
        database, bus, engine, guests, clock, creation,
        name=replica(settings), turns=turns, stop_grace=settings.stop_grace,
    )  # fmt: skip
    sweep = Sweep(
        database, bus, engine, guests, clock,
        settings=settings, host=host, tiers=tiers, containers=owned, creation=creation, reconciler=reconciler,
        quarantine=Quarantine(database, engine, clock, secrets, settings.quarantine_days),
    )  # fmt: skip
    await stack.enter_async_context(sweep)
    await stack.enter_async_context(reconciler)
    return services


async def open_store(settings: Settings, stack: AsyncExitStack) -> tuple[Bus, SqlDatabase]:
    """Migrated to head."""
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    url = settings.database
    bus: Bus = LocalBus()
    if url.startswith("postgres"):
        from rexec.server.bus.postgres import PostgresBus  # noqa: PLC0415 -- its driver is 3 MiB that SQLite needs not

        bus = PostgresBus(url)
    await stack.enter_async_context(bus)
    database = await stack.enter_async_context(SqlDatabase(url, bus))
    await database.migrate()
    return bus, database


def docker_engine(settings: Settings, installation: str) -> DockerEngine:
    images, network = settings.images, settings.network
    source = RegistrySource(
        ImageRules(
            mirrors=images.mirrors,
            private_registries=images.private_registries,
            largest_bytes=images.largest_bytes,
            pulls_at_once=images.pulls_at_once,
            packages=Mirrors(images.debian_mirror, images.ubuntu_mirror),
            build=images.build,
        )
    )
    return DockerEngine(
        settings.docker_host,
        installation,
        guest_directory(settings),
        _PACKAGE / "guest/bin" / f"rexec-guest-{_ARCHITECTURES.get(platform.machine(), platform.machine())}",
        network=NetworkRules(network.allow, network.resolvers, network.subnet, network.mtu),
        images=source,
        shell_bundle=_shell_bundle(settings),
    )


def role_layers(
    settings: Settings, engine: DockerEngine, guests: Guests, recipes: Mapping[str, Recipe], builder: str, host: Host
) -> Layers:
    """`builder` stays the same over restarts of who bakes, so that what was cut off is found."""
    wanted, capacity = settings.layers, host.capacity()
    cpus, memory = (capacity.cpus, capacity.memory_mb) if capacity else (1, wanted.memory_mb)
    limits = Limits(min(wanted.memory_mb, memory), 1000 * cpus, wanted.disk_mb, pids=2048)
    downloads = CachedDownloads(settings.data_dir / "downloads", wanted.mirror, wanted.downloads_mb << 20)
    bake = Bake(engine, guests, downloads, BakeRules(limits, builder, settings.guest_timeout))
    return Layers(
        engine, bake, recipes, utc_now, builder=builder, at_once=wanted.at_once, unused_days=wanted.unused_days
    )


def replica(settings: Settings) -> str:
    """The same over restarts of this server, another for each that shares its database."""
    return hashlib.sha256(f"{platform.node()} {settings.bind}".encode()).hexdigest()[:8]


def guest_directory(settings: Settings) -> Path:
    wanted = (settings.guest_dir or settings.data_dir / "guests").absolute()
    if len(os.fsencode(wanted)) <= _LONGEST_DIRECTORY:
        return wanted
    return Path("/run/rexec") / hashlib.sha256(os.fsencode(wanted)).hexdigest()[:12]


def _shell_bundle(settings: Settings) -> Path | None:
    packaged = _PACKAGE / "shell"
    return settings.shell_bundle or (packaged if (packaged / "bin").is_dir() else None)


async def installation_of(database: Database) -> str:
    """What this installation's engine objects are labelled with."""
    async with database.transaction() as tx:
        return (await tx.keys.get_or_create("installation", os.urandom(8).hex().encode())).decode()


async def open_quarantine(settings: Settings, stack: AsyncExitStack) -> tuple[Quarantine, DockerEngine]:
    """For the command line, beside a server or without one."""
    _, database = await open_store(settings, stack)
    installation, _, environment_key = await _keys(database)
    engine = await stack.enter_async_context(docker_engine(settings, installation))
    return Quarantine(database, engine, utc_now, Secrets(environment_key), settings.quarantine_days), engine


async def open_accounts(settings: Settings, stack: AsyncExitStack) -> Accounts:
    """Without an engine: for the command line."""
    bus, database = await open_store(settings, stack)
    _, jwt_key, _ = await _keys(database)
    return _accounts(settings, database, Access(database, bus, utc_now, jwt_key))


def _accounts(settings: Settings, database: Database, access: Access) -> Accounts:
    return Accounts(database, utc_now, access, guest_seconds=settings.guest_seconds)


async def _keys(database: Database) -> tuple[str, bytes, bytes]:
    installation = await installation_of(database)
    async with database.transaction() as tx:
        jwt_key = await tx.keys.get_or_create("jwt", os.urandom(KEY_BYTES))
        environment_key = await tx.keys.get_or_create("environment", os.urandom(KEY_BYTES))
    return installation, jwt_key, environment_key
