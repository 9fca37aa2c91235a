"""The server in the foreground, what it says at its start, and the first start's proof."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import shlex
import signal
import socket
import sys
from collections.abc import Generator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from types import FrameType

import uvicorn
import uvloop

from rexec.errors import Invalid, RexecError, Unavailable
from rexec.server.api.heads import BoundedHeads
from rexec.server.api.leavers import LeaversSeen
from rexec.server.app import assemble, create_app
from rexec.server.core.services import Services
from rexec.server.logs import configure
from rexec.server.settings import Settings, read_settings

_GRACE = 5
_CLOSING = 10
_ARENA_MAX = -8
"""`M_ARENA_MAX` of malloc.h."""
_BACKLOG = 2048
_PING = 30.0
"""Below the minute after which proxies cut what is silent."""


class _Foreground(uvicorn.Server):
    """Ends by a signal as for any reason: uvicorn's own raises the signal again, which would end the process before
    what was opened is closed."""

    def __init__(self, config: uvicorn.Config, draining: asyncio.Event) -> None:
        super().__init__(config)
        self._draining = draining
        self._loop = asyncio.get_running_loop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self._loop.call_soon_threadsafe(self._draining.set)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def main() -> int:
    """The exit status. Never a traceback for what a person can put right."""
    try:
        settings = read_settings()
    except Invalid as error:
        print(error.message, file=sys.stderr)
        return 2
    _share_heap()
    configure(settings)
    try:
        _take(settings.data_dir)
        with _bind(settings) as bound:
            return uvloop.run(_serve(settings, bound))
    except (RexecError, OSError) as error:
        print(f"rexec: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


def _share_heap() -> None:
    """One heap for all threads, where the C library is glibc: it would give each its own, and their gaps to nobody."""
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)


def _take(data_dir: Path) -> None:
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        TemporaryFile(dir=data_dir).close()
    except OSError as error:
        raise Unavailable(f"cannot write in the data directory {data_dir}: {error.strerror}") from error


def _bind(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((settings.host, settings.port))
        bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        raise Unavailable(f"cannot listen on {settings.bind}: {error.strerror}") from error
    return bound


async def _serve(settings: Settings, bound: socket.socket) -> int:
    async with AsyncExitStack() as stack:
        services = await assemble(settings, stack)
        if await services.engine.image(settings.default_image) is None:
            status = await _command("rexec.cli", "images", "build", settings.default_image)
            if status != 0:
                return status
        given = settings.admin_token.get_secret_value() if settings.admin_token else None
        made = await services.accounts.bootstrap(given)
        server = _Foreground(_config(services), services.draining)
        serving = asyncio.create_task(server.serve(sockets=[bound]))
        try:
            await _first_start(settings, serving, _address(bound), None if given else made)
            await serving
        finally:
            server.should_exit = True
            await asyncio.wait([serving])
            asyncio.get_running_loop().call_later(_CLOSING, _leave)
    return 0


def _config(services: Services) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(services), http=BoundedHeads, ws=LeaversSeen, access_log=False, log_config=None,
        ws_max_size=1 << 20, ws_per_message_deflate=False, ws_ping_interval=_PING, server_header=False,
        timeout_graceful_shutdown=_GRACE, lifespan="off", proxy_headers=False, timeout_keep_alive=65, backlog=_BACKLOG,
    )  # fmt: skip


def _leave() -> None:
    """What hangs while it closes must not keep the process: the next start finds all of it, as after a crash."""
    print(f"rexec: something did not close within {_CLOSING} s", file=sys.stderr, flush=True)
    os._exit(1)


def _address(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


async def _first_start(settings: Settings, serving: asyncio.Task[None], address: str, token: str | None) -> None:
    _welcome(settings, address, token)
    proved = settings.data_dir / "proved"
    usable = token or (settings.admin_token.get_secret_value() if settings.admin_token else None)
    if not settings.first_run_check or usable is None or await asyncio.to_thread(proved.exists):
        return
    proving = asyncio.create_task(_command("rexec.cli.proof", address, settings.default_image, given=usable))
    await asyncio.wait([proving, serving], return_when=asyncio.FIRST_COMPLETED)
    if not proving.done():
        proving.cancel()
        await asyncio.wait([proving])
    elif proving.result() == 0:
        await asyncio.to_thread(proved.touch)


async def _command(module: str, *words: str, given: str = "") -> int:
    """The exit status of one of our modules, run beside us; `given` is its input."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", module, *words, stdin=asyncio.subprocess.PIPE)
    try:
        await process.communicate(given.encode())
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
            await process.wait()
    return await process.wait()


def _welcome(settings: Settings, address: str, token: str | None) -> None:
    print(f"\nRexec is at {address} (data in {settings.data_dir})")
    if token is not None:
        print(f"Admin token, shown this once:\n  {token}")
    elif settings.admin_token is None:
        place = shlex.quote(str(settings.data_dir.absolute()))
        reset = f"REXEC_DATA_DIR={place} {sys.executable} -m rexec.cli admin-token --reset"
        print(f"The admin token was shown at the first start; for a new one:\n  {reset}")
    held = token or ("$TOKEN" if settings.admin_token is None else "$REXEC_ADMIN_TOKEN")
    body = json.dumps({"image": settings.default_image})
    print(
        f"Open it in a browser and sign in with the token, or create a container:\n"
        f'  curl -s {address}/api/containers -H "Authorization: Bearer {held}" '
        f"-H 'Content-Type: application/json' -d '{body}'\n",
        flush=True,
    )
