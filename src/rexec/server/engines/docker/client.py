"""The one place that speaks to Docker's API. Errors of aiodocker and aiohttp become ours here and go no further."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aiodocker
import aiohttp

from rexec.errors import Broken, Conflict, Invalid, NotFound, OutOfSpace, RexecError, Unavailable

_SOCKETS = ("/var/run/docker.sock", "/run/podman/podman.sock")
_FULL = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
_QUERY = re.compile(r"\?[^\s\"']+")
_PIECE = 1 << 18
_ORDINARY = aiohttp.ClientTimeout(total=60, sock_connect=5)
_MEANINGS: dict[int, tuple[type[RexecError], str]] = {
    400: (Invalid, "engine_refused"),
    404: (NotFound, "engine_object_missing"),
    409: (Conflict, "engine_conflict"),
}


def find_url(url: str | None) -> str:
    """`url`, else DOCKER_HOST, else the first socket there is of Docker's and Podman's, the user's own ones too."""
    if url or (url := os.environ.get("DOCKER_HOST")):
        return url
    own = os.environ.get("XDG_RUNTIME_DIR")
    paths = [*_SOCKETS, *([f"{own}/docker.sock", f"{own}/podman/podman.sock"] if own else [])]
    return "unix://" + next((path for path in paths if Path(path).is_socket()), paths[0])


@dataclass(frozen=True, slots=True)
class Taken:
    """A connection that Docker handed over. `early`: what came behind its answer. `ended` is to be told its end: who
    closes the client waits for that."""

    transport: asyncio.Transport
    early: bytes
    ended: Callable[[Exception | None], None]


class Client:
    """A thin wrapper over aiodocker: one request at a time, JSON or streamed."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._docker: aiodocker.Docker | None = None

    @property
    def is_local(self) -> bool:
        """Whether the engine shares our network. Whether it sees our files is found out (probe.py)."""
        return self.url.startswith("unix://")

    async def __aenter__(self) -> Self:
        self._docker = aiodocker.Docker(self.url, timeout=_ORDINARY)
        # A hundred are the default; streams of as many containers would leave no connection for a request.
        self._docker.connector._limit = 0
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._docker is not None:
            await self._docker.close()
            self._docker = None

    async def json(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        timeout: float | None = None,
    ) -> Any:
        """The decoded answer, None for an empty one."""
        async with self.stream(method, path, params=params, body=body, timeout=timeout or _ORDINARY.total) as response:
            text = await response.read()
        return json.loads(text) if text.strip() else None

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        timeout: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer as it comes; without `timeout` it may take for ever. Leaving early closes the connection."""
        if self._docker is None:
            raise Unavailable("the container engine is not connected", code="engine_unavailable")
        data, kind = _encode(body)
        limits = aiohttp.ClientTimeout(total=timeout, sock_connect=5)
        try:
            async with self._docker._query(
                path,
                method,
                params=dict(params) if params else None,
                data=data,
                headers={"Content-Type": kind},
                timeout=limits,
            ) as response:
                try:
                    yield response
                finally:
                    response.close() if not response.content.at_eof() else response.release()
        except (aiodocker.DockerError, aiohttp.ClientError, OSError, TimeoutError) as error:
            raise translate(error) from error

    async def hijack(self, path: str, body: Mapping[str, Any], *, timeout: float) -> Taken:
        """A POST whose connection becomes a stream both ways."""
        if self._docker is None:
            raise Unavailable("the container engine is not connected", code="engine_unavailable")
        try:
            async with asyncio.timeout(timeout):
                response = await self._docker._do_query(
                    path,
                    "POST",
                    data=json.dumps(body),
                    headers={"Connection": "Upgrade", "Upgrade": "tcp"},
                    timeout=aiohttp.ClientTimeout(sock_connect=5),
                    read_until_eof=False,
                )
        except (aiodocker.DockerError, aiohttp.ClientError, OSError, TimeoutError) as error:
            raise translate(error) from error
        connection = response.connection
        if response.status != 101 or connection is None or connection.protocol is None or connection.transport is None:
            response.close()
            raise Unavailable("the container engine opened no stream", code="engine_unavailable")
        early, former = _Early(), connection.protocol
        former.set_parser(early, None)

        def ended(error: Exception | None) -> None:
            response.close()
            former.connection_lost(error)

        return Taken(connection.transport, bytes(early.data), ended)

    async def lines(self, response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
        """The objects of a stream of JSON lines."""
        buffer = b""
        async for chunk in response.content.iter_any():
            buffer += chunk
            *complete, buffer = buffer.split(b"\n")
            for line in complete:
                if line.strip():
                    yield json.loads(line)
        if buffer.strip():
            yield json.loads(buffer)


class _Early:
    """Takes what aiohttp has read beyond an answer."""

    def __init__(self) -> None:
        self.data = bytearray()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        """The transport tells that too."""


def _encode(body: Any) -> tuple[Any, str]:
    """Bytes and iterators are archives, anything else is JSON."""
    if isinstance(body, bytes):
        return _pieces(body), "application/x-tar"
    if isinstance(body, AsyncIterator):
        return body, "application/x-tar"
    return (None if body is None else json.dumps(body)), "application/json"


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    """A large body in one piece would hold up the event loop."""
    for start in range(0, len(body), _PIECE):
        yield body[start : start + _PIECE]


def translate(error: BaseException) -> RexecError:
    """What a failed request means in our words."""
    if not isinstance(error, aiodocker.DockerError):
        return Unavailable(f"the container engine does not answer: {tell(str(error))}", code="engine_unavailable")
    message = tell(error.message)
    if error.status == 900:
        return Unavailable(f"the container engine is away: {message}", code="engine_unavailable")
    if _FULL.search(message):
        return OutOfSpace(f"the engine's disk is full: {message}")
    kind, code = _MEANINGS.get(error.status, (Broken, "engine_error"))
    return kind(message, code=code)


def tell(message: str) -> str:
    """An engine's message fit for logs and users: bounded, and without the query strings of addresses, which carry
    the signatures of signed downloads."""
    return _QUERY.sub("?…", " ".join(message.split()))[:500] or "no answer"
