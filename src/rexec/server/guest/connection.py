"""One connection to a guest: HTTP/1.1 as its client, every size and time bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass

import h11

from rexec.server.guest.errors import nonsense, unreachable

SPOKEN = (1,)
"""The versions of the protocol, the newest first: this one, and the one before as soon as there is one."""
READ_SIZE = 256 * 1024
_LARGEST_HEAD = 16 * 1024
_MOST_INFORMATIONAL = 4
_LARGE = 256 * 1024
"""Of a body of known length that is read past the parser, which would copy it three times."""


@dataclass(frozen=True, slots=True)
class Head:
    status: int
    headers: Mapping[str, str]


class Connection:
    """Used by one request at a time. `Unavailable` when the other side left, `Broken` when it talks nonsense."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = _parser()
        self._left: int | None = None
        self.protocol = SPOKEN[0]
        self.answered = False
        """Whether a byte of the present answer has come."""

    @property
    def usable(self) -> bool:
        """Idle, open, and not spoken on by a guest that must wait to be asked."""
        return not (self._reader.at_eof() or self._writer.is_closing() or self._reader._buffer)  # type: ignore[attr-defined]

    def abort(self) -> None:
        self._writer.transport.abort()

    async def ask(self, method: str, target: str, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        """A whole request in one write: each write wakes the guest."""
        parts = [self._head(method, target, headers)]
        if body:
            parts.append(self._http.send(h11.Data(data=body)) or b"")
        parts.append(self._http.send(h11.EndOfMessage()) or b"")
        await self._write(b"".join(parts))

    async def send_head(self, method: str, target: str, headers: Iterable[tuple[str, str]]) -> None:
        """Of a request whose body follows by `send` and `end`."""
        await self._write(self._head(method, target, headers))

    def _own(self) -> tuple[tuple[str, str], ...]:
        return ("host", "guest"), ("rexec-protocol", str(self.protocol))

    async def send(self, chunk: bytes) -> None:
        if chunk:
            await self._write(self._http.send(h11.Data(data=chunk)))

    async def end(self) -> None:
        await self._write(self._http.send(h11.EndOfMessage()))

    async def head(self) -> Head:
        for _ in range(_MOST_INFORMATIONAL + 1):
            event = await self._event()
            if isinstance(event, h11.Response) or (
                isinstance(event, h11.InformationalResponse) and event.status_code == 101
            ):
                headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
                length = int(headers.get("content-length", 0))
                self._left = length if length > _LARGE else None
                return Head(event.status_code, headers)
            if not isinstance(event, h11.InformationalResponse):
                raise nonsense("answered without a head")
        raise nonsense("sent too many informational answers")

    async def chunks(self) -> AsyncIterator[bytes]:
        if self._left is not None:
            async for chunk in self._large():
                yield chunk
            return
        while isinstance(event := await self._event(), h11.Data):
            yield bytes(event.data)
        if not isinstance(event, h11.EndOfMessage):
            raise nonsense("cut its answer short")

    async def _large(self) -> AsyncIterator[bytes]:
        chunk = self._http.trailing_data[0]
        self._http = _parser()
        # The first piece may be nothing, without being the end.
        while True:
            self._left = (self._left or 0) - len(chunk)
            if self._left < 0:
                raise nonsense("answered more than it said")
            if chunk:
                yield chunk
            if self._left == 0:
                return
            try:
                chunk = await self._reader.read(min(READ_SIZE, self._left))
            except OSError as error:
                raise unreachable("the guest left within its answer") from error
            if not chunk:
                raise nonsense("cut its answer short")

    async def body(self, largest: int) -> bytes:
        whole = bytearray()
        async for chunk in self.chunks():
            whole += chunk
            if len(whole) > largest:
                raise nonsense("answered more than it may")
        return bytes(whole)

    def next_cycle(self) -> bool:
        """Whether another request may follow."""
        if self._left is not None:
            done, self._left = self._left == 0, None
            return done and self.usable
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            return self.usable
        return False

    def upgraded(self) -> tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]:
        """After a 101: what was read beyond it, and the bare connection."""
        return self._http.trailing_data[0], self._reader, self._writer

    def _head(self, method: str, target: str, headers: Iterable[tuple[str, str]]) -> bytes:
        self.answered = False
        return self._http.send(h11.Request(method=method, target=target, headers=[*self._own(), *headers])) or b""

    async def _write(self, data: bytes | None) -> None:
        if not data:
            return
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise unreachable("the guest left while it was spoken to") from error

    async def _event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                data = await self._reader.read(READ_SIZE)
                self.answered = self.answered or bool(data)
                if not data and self._http.their_state is not h11.SEND_BODY:
                    raise unreachable("the guest left without an answer")
                self._http.receive_data(data)
        except h11.RemoteProtocolError as error:
            raise nonsense(f"does not speak HTTP: {str(error)[:200]}") from error
        except OSError as error:
            raise unreachable("the guest left without an answer") from error
        return event


def _parser() -> h11.Connection:
    return h11.Connection(h11.CLIENT, max_incomplete_event_size=_LARGEST_HEAD)
