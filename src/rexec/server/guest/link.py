"""One container's guest, over the connections that it dials."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import quote, urlencode

from rexec.errors import Broken, Unavailable
from rexec.server.guest.connection import SPOKEN, Connection, Head
from rexec.server.guest.errors import OtherProtocol, nonsense, typed, unreachable
from rexec.server.guest.pool import Pool
from rexec.server.guest.stream import FrameStream
from rexec.server.guest.words import EXEC, TERMINAL, TUNNEL, WATCH, Words, loads
from rexec.server.ports.guest import Download, Stream
from rexec.server.ports.records import ExecRequest, ExecResult, Stats, TerminalOpen

_HELLO_TIMEOUT = 5.0
_CALL_TIMEOUT = 30.0
_EXEC_GRACE = 15.0
_IDLE_TIMEOUT = 120.0
_LARGEST_JSON = 4 << 20
_SAMPLE = 0.1
_SAMPLE_AGE = 10.0
_NANOSECONDS = 1e9
_UPGRADE = (("connection", "Upgrade"), ("upgrade", "rexec-stream"))


@dataclass(frozen=True, slots=True)
class GuestDownload:
    """Implements `ports.guest.Download`."""

    status: int
    headers: Mapping[str, str]
    connection: Connection

    async def chunks(self) -> AsyncIterator[bytes]:
        async for chunk in self.connection.chunks():
            yield chunk


class Link:
    """Implements `ports.guest.Guest`."""

    def __init__(self, pool: Pool, spoken: tuple[int, ...] = SPOKEN) -> None:
        self._pool = pool
        self._spoken = spoken
        self._protocol = spoken[0]
        self._agreed = len(spoken) == 1
        self._cpu: tuple[float, int] | None = None

    async def hello(self) -> dict[str, Any]:
        """Settles the version too: the newest that both sides speak. Raises `Broken` where there is none."""
        for version in self._spoken:
            self._protocol, self._agreed = version, True
            try:
                answer = await self._json("GET", "/v1/hello", None, _HELLO_TIMEOUT)
            except OtherProtocol as error:
                refused = error
                continue
            if not isinstance(answer, dict) or answer.get("protocol") not in self._spoken:
                raise nonsense("does not greet as one of ours")
            return answer
        self._agreed = False
        ours = " and ".join(str(version) for version in self._spoken)
        raise OtherProtocol(f"{refused.message}, this server {ours}", code=refused.code)

    async def exec(self, request: ExecRequest) -> ExecResult:
        answer = await self._json(
            "POST",
            "/v1/exec",
            _command(request) | {"stdin": base64.b64encode(request.stdin).decode()},
            request.timeout + _EXEC_GRACE,
            largest=3 * request.max_output + _LARGEST_JSON,
        )
        return _result(answer)

    async def start(self, request: ExecRequest, process: str) -> dict[str, Any]:
        asked = _command(request) | {"stdin": base64.b64encode(request.stdin).decode(), "id": process}
        item = await self._json("POST", "/v1/processes", asked, _CALL_TIMEOUT)
        if not isinstance(item, dict):
            raise nonsense("answered no process")
        return item

    @asynccontextmanager
    async def exec_stream(
        self, request: ExecRequest, *, tty: tuple[int, int] | None = None
    ) -> AsyncGenerator[Stream, None]:
        async with self._upgraded("/v1/exec/stream", words=EXEC, tells_end=True) as stream:
            terminal = {} if tty is None else {"tty": {"cols": tty[0], "rows": tty[1]}}
            await stream.send_control({"type": "start", **_command(request), **terminal})
            await stream.opened(_CALL_TIMEOUT)
            yield stream

    @asynccontextmanager
    async def attach(self, wanted: TerminalOpen) -> AsyncGenerator[Stream, None]:
        path = f"/v1/terminals/{quote(wanted.name, safe='')}/attach"
        async with self._upgraded(path, words=TERMINAL, numbered=True) as stream:
            given = {"epoch": wanted.epoch, "since": wanted.since, "user": wanted.user}
            await stream.send_control(
                {
                    "type": "attach",
                    "cols": wanted.cols,
                    "rows": wanted.rows,
                    "role": wanted.role,
                    "new": wanted.new,
                    "env": wanted.env,
                    "shell": wanted.shell,
                    "max_terminals": wanted.max_terminals,
                    "idle_seconds": wanted.idle_seconds,
                    "create": True,
                    **{name: value for name, value in given.items() if value is not None},
                }
            )
            await stream.opened(_CALL_TIMEOUT)
            yield stream

    @asynccontextmanager
    async def tunnel(self, port: int) -> AsyncGenerator[Stream, None]:
        async with self._upgraded(f"/v1/ports/{port}/tunnel", words=TUNNEL, tells_end=True) as stream:
            yield stream

    @asynccontextmanager
    async def watch(self, path: bytes, *, recursive: bool) -> AsyncGenerator[Stream, None]:
        query = urlencode({"path": path, "recursive": "true" if recursive else "false"})
        async with self._upgraded(f"/v1/files/watch?{query}", words=WATCH, tells_end=True) as stream:
            await stream.opened(_CALL_TIMEOUT)
            yield stream

    async def call(
        self, method: str, path: str, *, query: Mapping[str, str | bytes] | None = None, json: Any = None,
        patience: float = 0,
    ) -> Any:  # fmt: skip
        return await self._json(method, _target(path, query), json, _CALL_TIMEOUT + patience)

    @asynccontextmanager
    async def download(
        self, path: str, *, query: Mapping[str, str | bytes], headers: Mapping[str, str] | None = None
    ) -> AsyncGenerator[Download, None]:
        async with self._connection() as connection:
            head = await self._asked(connection, "GET", _target(path, query), headers or {})
            yield GuestDownload(head.status, head.headers, connection)

    async def upload(self, path: str, *, query: Mapping[str, str | bytes], body: AsyncIterator[bytes]) -> Any:
        async with self._connection() as connection:
            sent = (("transfer-encoding", "chunked"),)
            await connection.send_head("PUT", _target(path, query), sent)
            answering = asyncio.create_task(connection.head())
            try:
                async for chunk in body:
                    if answering.done():
                        break
                    await connection.send(chunk)
                else:
                    await connection.end()
                async with asyncio.timeout(_IDLE_TIMEOUT):
                    head = await asyncio.shield(answering)
            except Unavailable:
                async with asyncio.timeout(_HELLO_TIMEOUT):
                    head = await asyncio.shield(answering)
            except TimeoutError as error:
                raise unreachable("the guest did not answer in time") from error
            finally:
                if not answering.done():
                    answering.cancel()
                await asyncio.wait([answering])
            return _parsed(head, await _body(connection, _LARGEST_JSON))

    async def stats(self) -> Stats:
        if self._cpu is None or time.monotonic() - self._cpu[0] > _SAMPLE_AGE:
            await self._sample()
            await asyncio.sleep(_SAMPLE)
        before = self._cpu
        reading = await self._sample()
        percent = 0.0
        if before is not None and self._cpu is not None and self._cpu[0] > before[0]:
            percent = max(0.0, (self._cpu[1] - before[1]) / _NANOSECONDS / (self._cpu[0] - before[0]) * 100)
        return Stats(cpu_percent=round(percent, 2), disk_limit=reading.pop("disk_total"), **reading)

    async def _sample(self) -> dict[str, int]:
        answer = await self._json("GET", "/v1/stats", None, _CALL_TIMEOUT)
        if not isinstance(answer, dict):
            raise nonsense("answered no readings")
        reading = {name: _integer(answer.get(name, -1)) for name in _READINGS}
        self._cpu = (time.monotonic(), reading["cpu_usage_ns"])
        return reading

    async def _json(
        self, method: str, target: str, json_body: Any, timeout: float, *, largest: int = _LARGEST_JSON
    ) -> Any:
        try:
            async with asyncio.timeout(timeout):
                return await self._exchange(method, target, json_body, largest)
        except TimeoutError as error:
            raise unreachable("the guest did not answer in time") from error

    async def _exchange(self, method: str, target: str, json_body: Any, largest: int) -> Any:
        data = b"" if json_body is None else json.dumps(json_body).encode()
        headers = {"content-length": str(len(data))} if data or method != "GET" else {}
        while True:
            async with self._connection() as connection:
                try:
                    head = await self._asked(connection, method, target, headers, data, check=False)
                except Unavailable:
                    if method == "GET" and not connection.answered and self._pool.count_retry():
                        continue
                    raise
                body = await _body(connection, largest)
                return _parsed(head, body)

    async def _acquire(self) -> Connection:
        if not self._agreed:
            await self.hello()
        connection = await self._pool.acquire()
        connection.protocol = self._protocol
        return connection

    async def _asked(
        self, connection: Connection, method: str, target: str, headers: Mapping[str, str], data: bytes = b"",
        *, check: bool = True,
    ) -> Head:  # fmt: skip
        await connection.ask(method, target, headers.items(), data)
        head = await connection.head()
        if check and head.status >= 300:
            _parsed(head, await _body(connection, _LARGEST_JSON))
        return head

    @asynccontextmanager
    async def _connection(self) -> AsyncGenerator[Connection, None]:
        """One connection for one exchange; it goes back to the pool if the exchange came to its end."""
        connection = await self._acquire()
        kept = False
        try:
            yield connection
            kept = connection.next_cycle()
        except Exception as error:
            kept = not isinstance(error, Broken) and connection.next_cycle()
            raise
        finally:
            self._pool.release(connection, kept=kept)

    @asynccontextmanager
    async def _upgraded(
        self, target: str, *, words: Words, numbered: bool = False, tells_end: bool = False
    ) -> AsyncGenerator[FrameStream, None]:
        connection = await self._acquire()
        try:
            try:
                async with asyncio.timeout(_CALL_TIMEOUT):
                    await connection.ask("GET", target, _UPGRADE, b"")
                    head = await connection.head()
                    if head.status != 101:
                        _parsed(head, await _body(connection, _LARGEST_JSON))
                        raise nonsense("did not open a stream")
            except TimeoutError as error:
                raise unreachable("the guest did not answer in time") from error
            left, reader, writer = connection.upgraded()
            yield FrameStream(left, reader, writer, numbered=numbered, words=words, tells_end=tells_end)
        finally:
            self._pool.release(connection, kept=False)


_READINGS = ({field.name for field in fields(Stats)} | {"disk_total"}) - {"cpu_percent", "disk_limit"}


def _target(path: str, query: Mapping[str, str | bytes] | None) -> str:
    return f"{path}?{urlencode(query)}" if query else path


def _command(request: ExecRequest) -> dict[str, Any]:
    given = {"cwd": request.cwd, "user": request.user}
    return {
        "argv": list(request.argv),
        "env": request.env,
        "timeout_ms": math.ceil(request.timeout * 1000),
        "max_output": request.max_output,
        **{name: value for name, value in given.items() if value is not None},
    }


async def _body(connection: Connection, largest: int) -> bytes:
    try:
        async with asyncio.timeout(_IDLE_TIMEOUT):
            return await connection.body(largest)
    except TimeoutError as error:
        raise unreachable("the guest did not finish its answer") from error


def _parsed(head: Head, body: bytes) -> Any:
    value = loads(body)
    if head.status >= 300:
        raise typed(value)
    return value


def _integer(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not -1 <= value < 1 << 63:
        raise nonsense("answered no number where one belongs")
    return value


def _result(answer: Any) -> ExecResult:
    try:
        peak = answer.get("memory_peak")
        return ExecResult(
            exit_code=_integer(answer["exit_code"]),
            stdout=base64.b64decode(answer["stdout"] or "", validate=True),
            stderr=base64.b64decode(answer["stderr"] or "", validate=True),
            timed_out=answer["timed_out"] is True,
            truncated=answer["truncated"] is True,
            duration_ms=_integer(answer["duration_ms"]),
            reason=str(answer["reason"])[:64],
            memory_peak=None if peak is None else _integer(peak),
        )
    except (AttributeError, KeyError, TypeError, binascii.Error) as error:
        raise nonsense("answered no result of a command") from error
