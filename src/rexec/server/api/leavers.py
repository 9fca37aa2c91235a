"""uvicorn's WebSocket protocol, for sockets whose input must wait: a program that reads nothing stops the reading of
its client's socket, and with it the hearing of the client's pongs and of its leaving. So a pong that nobody listened
for is not missed, and the kernel is asked who has left."""

from __future__ import annotations

import asyncio
import select
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

LEFT = "rexec.left"
"""In the state of a socket's scope: an event that is set when the client has left, heard or not."""
_LOOK = 1.0
_GONE = select.POLLRDHUP | select.POLLHUP | select.POLLERR | select.POLLNVAL


class LeaversSeen(WebSocketsSansIOProtocol):
    _looking: asyncio.TimerHandle | None = None

    def handle_connect(self, event: Any) -> None:
        self._left = asyncio.Event()
        super().handle_connect(event)
        if not self.close_sent:
            self.scope["state"][LEFT] = self._left

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._looking is not None:
            self._looking.cancel()
        if self.handshake_initiated:
            self._left.set()

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text" and not self.close_sent:
            # uvicorn would write a traceback into the log for each.
            self.frames = [b"".join(self.frames)]
            try:
                self.frames[0].decode()
            except UnicodeDecodeError:
                self.conn.send_close(1007)
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()
        if self.read_paused and self._looking is None:
            self._looking = self.loop.call_later(_LOOK, self._look)

    def keepalive_timeout(self) -> None:
        if not self.read_paused:
            super().keepalive_timeout()
            return
        self.pong_timer = self.pending_ping_payload = None
        self.schedule_ping()

    def _look(self) -> None:
        self._looking = None
        if not self.read_paused or self.close_sent or self.transport.is_closing():
            return
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLRDHUP)
        if any(seen & _GONE for _, seen in poll.poll(0)):
            self._left.set()
            return
        if self.handshake_complete and self.writable.is_set():
            # Its end waits behind what it could not send: only who is written to says that nobody is there.
            self.conn.send_pong(b"")
            self.transport.write(b"".join(self.conn.data_to_send()))
        self._looking = self.loop.call_later(_LOOK, self._look)
