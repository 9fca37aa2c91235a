"""uvicorn's HTTP protocol, with a limit on how long and how large the head of a request may be: a client that sends a
byte a second, or none, would else keep its connection for ever. What is no HTTP is told as other errors are."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from rexec.server.api.problems import dumps

LONGEST = 20.0
"""Seconds from the connection, or from the first byte of a later request, to the end of the head."""
LARGEST = 64 * 1024
_SLOW = "request_timeout"


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
                self._refuse(b"400 Bad Request", f"the head of the request is larger than {LARGEST} bytes")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._waiting is None:
            self._await_head()

    def on_headers_complete(self) -> Any:
        self._head_is_there()
        return super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(b"400 Bad Request", "this is not an HTTP request")

    def _await_head(self) -> None:
        self._seen = 0
        self._waiting = self.loop.call_later(self.longest, self._late)

    def _head_is_there(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _late(self) -> None:
        self._refuse(
            b"408 Request Timeout", f"the head of the request took longer than {self.longest:g} s", "request_timeout"
        )

    def _refuse(self, status: bytes, message: str, code: str = "invalid_request") -> None:
        """Never in place of the answer to a request that came before on this connection."""
        in_head = self._waiting is not None
        self._head_is_there()
        if self.transport.is_closing():
            return
        done = self.cycle is None or self.cycle.response_complete
        if done or not (in_head or self.cycle.response_started):
            request_id = secrets.token_hex(8)
            body = dumps({"error": message, "code": code, "request_id": request_id})
            self.transport.write(
                b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nx-request-id: %b\r\n"
                b"connection: close\r\n\r\n%b" % (status, len(body), request_id.encode(), body)
            )
        self.transport.close()
