"""The seam to the inside of a container. docs/guest-protocol.md is the wire behind it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self

from rexec.errors import Broken
from rexec.server.ports.records import ExecRequest, ExecResult, Stats, TerminalOpen


@dataclass(frozen=True, slots=True)
class Frame:
    """One message of an upgraded stream.

    `kind` is a letter of docs/guest-protocol.md §3: `i` stdin or input, `o` stdout or terminal output, `e` stderr,
    `c` control (`payload` is a JSON object). `offset` is set on terminal output: the byte offset of its first byte.
    """

    kind: Literal["i", "o", "e", "c"]
    payload: bytes
    offset: int | None = None

    def control(self) -> dict[str, Any]:
        """The JSON object of a `c` frame; raises `Broken` when it is not one."""
        if self.kind != "c":
            raise Broken("the guest sent something else than a control frame", code="guest_protocol")
        try:
            value = json.loads(self.payload)
        except (ValueError, RecursionError) as error:
            raise Broken("the guest sent a control frame that is not JSON", code="guest_protocol") from error
        if not isinstance(value, dict):
            raise Broken("the guest sent a control frame that is not an object", code="guest_protocol")
        return value


class Stream(Protocol):
    """An upgraded stream, with back-pressure: `send` waits for room, and an unread stream stops the guest."""

    async def receive(self) -> Frame | None:
        """The next frame; None at the end. Raises `Broken` on garbage, `Unavailable` when the guest vanished."""

    async def send(self, kind: Literal["i", "c"], payload: bytes) -> None: ...

    async def send_control(self, message: Mapping[str, Any]) -> None: ...

    def acknowledge(self, offset: int) -> None:
        """Of a terminal: up to here its output has arrived. Costs no waiting, and may be told a little later."""

    async def close_input(self) -> None:
        """End of stdin (exec) or half-close (tunnel)."""


class Download(Protocol):
    """A streamed answer."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in lower case."""

    def chunks(self) -> AsyncIterator[bytes]: ...


class Guest(Protocol):
    """One container's guest. All calls raise `Unavailable` (code `guest_unreachable`) when it does not answer in time,
    `Broken` (code `guest_protocol`) when it talks nonsense, and the guest's own typed errors otherwise
    (`NotFound`, `Conflict`, `Invalid`, `OutOfSpace`, `Unavailable` with code `pids_limit`, …)."""

    async def hello(self) -> dict[str, Any]:
        """Version, protocol, boot id; answers within its own short timeout."""

    async def exec(self, request: ExecRequest) -> ExecResult: ...

    async def start(self, request: ExecRequest, process: str) -> dict[str, Any]:
        """A command that goes on by itself; one of the same id is found, not started again. `timeout` 0 is none."""

    def exec_stream(
        self, request: ExecRequest, *, tty: tuple[int, int] | None = None
    ) -> AbstractAsyncContextManager[Stream]: ...

    def attach(self, wanted: TerminalOpen) -> AbstractAsyncContextManager[Stream]: ...

    def tunnel(self, port: int) -> AbstractAsyncContextManager[Stream]: ...

    def watch(self, path: bytes, *, recursive: bool) -> AbstractAsyncContextManager[Stream]: ...

    async def call(
        self, method: str, path: str, *, query: Mapping[str, str | bytes] | None = None, json: Any = None,
        patience: float = 0,
    ) -> Any:  # fmt: skip
        """A small JSON request of docs/guest-protocol.md (terminals, processes, ports, files' small verbs). `patience`:
        the seconds that its work may take."""

    def download(
        self, path: str, *, query: Mapping[str, str | bytes], headers: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[Download]: ...

    async def upload(self, path: str, *, query: Mapping[str, str | bytes], body: AsyncIterator[bytes]) -> Any: ...

    async def stats(self) -> Stats: ...


class Guests(Protocol):
    """All guests of one engine on this server; an async context manager."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...

    async def expect(self, engine_key: str) -> None:
        """Open the place where the guest of `engine_key` will appear. Must come before the engine starts it; again is
        success (after a restart it is how a running guest is found)."""

    async def wait(self, engine_key: str, timeout: float) -> Guest:
        """The guest, once it has connected and answered `hello`. Raises `Unavailable` (`guest_unreachable`)."""

    def get(self, engine_key: str) -> Guest:
        """The guest without waiting; its calls wait briefly for a connection."""

    async def forget(self, engine_key: str) -> None:
        """Close everything of this guest; unknown is success."""
