"""uvicorn's HTTP protocol, with a limit on how long and how large the head of a request may be: a client that sends a
byte a second, or none, would else keep its connection for ever."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LONGEST = 20.0
"""Seconds from the connection, or from the first byte of a later request, to the end of the head."""
LARGEST = 64 * 1024
_LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class BoundedHeads(HttpToolsProtocol):
    longest = LONGEST
    _waiting: asyncio.TimerHandle | None = None
    _seen = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_there()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        before = self._waiting
        super().data_received(data)
        if before is not None and before is self._waiting:
            self._seen += len(data)
            if self._seen > LARGEST:
                self._refuse(_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._waiting is None:
            self._await_head()

    def on_headers_complete(self) -> Any:
        self._head_is_there()
        return super().on_headers_complete()

    def _await_head(self) -> None:
        self._seen = 0
        self._waiting = self.loop.call_later(self.longest, self._refuse, _LATE)

    def _head_is_there(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _refuse(self, answer: bytes) -> None:
        """Not in the middle of another answer: a request that was pipelined after one just loses its connection."""
        self._head_is_there()
        if not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete:
                self.transport.write(answer)
            self.transport.close()
