"""Commands: run and wait, stream, or leave running."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from sse_starlette import EventSourceResponse
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from rexec.answers import inside
from rexec.answers.answer import Raw, Shape
from rexec.answers.refusals import INSIDE, Problem
from rexec.errors import Broken, Invalid, RexecError, Unavailable
from rexec.models import RunCommand, SignalProcess, StartProcess
from rexec.server.api import sockets
from rexec.server.api.idempotent import once
from rexec.server.api.leaving import unless, while_connected
from rexec.server.api.problems import Json, dumps, invalid
from rexec.server.api.routing import P, S, operation, socket_route
from rexec.server.core.services import Services
from rexec.server.ports.guest import Frame, Stream
from rexec.server.ports.records import ContainerRow, ExecResult, Principal

router = APIRouter(tags=["exec"])
_EXEC = "/api/containers/{reference}/exec"
_PROCESSES = "/api/containers/{reference}/processes"
ProcessId = Annotated[str, Path(pattern="^[A-Za-z0-9_-]{1,64}$")]
_STREAMS = {"o": "stdout", "e": "stderr"}
_MOST_LOGS = 1 << 20
"""More than a guest keeps of a stream."""
_LATE: Shape = inside.Late | Problem
_PROCESS = ("not_found", *INSIDE)
_STREAMED = Raw(
    "text/event-stream",
    'event: stdout\ndata: {"data":"hello\\n"}\n\nevent: exit\ndata: {"exit_code":0,"reason":"exited"}\n\n',
)
_LOGS = Raw("application/octet-stream", "hello\n")


def wanted(body: RunCommand) -> dict[str, Any]:
    return {
        "argv": body.argv,
        "cwd": body.cwd,
        "env": body.env or {},
        "user": body.user,
        "timeout": float(body.timeout),
    }


def text(name: str, data: bytes) -> dict[str, str]:
    """As text where it is UTF-8, else both as far as it is and whole in base64."""
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {name: data.decode(errors="replace"), f"{name}_b64": base64.b64encode(data).decode()}


def _shown(result: ExecResult) -> dict[str, Any]:
    # A character cut by the limit is not binary output.
    cut = result.truncated
    shown: dict[str, Any] = {
        "exit_code": result.exit_code,
        "exitCode": result.exit_code,
        **text("stdout", _whole(result.stdout) if cut else result.stdout),
        **text("stderr", _whole(result.stderr) if cut else result.stderr),
        "timed_out": result.timed_out,
        "truncated": result.truncated,
        "duration_ms": result.duration_ms,
        "reason": result.reason,
    }
    if result.memory_peak is not None:
        shown["memory_peak"] = result.memory_peak
    return shown


def _whole(data: bytes) -> bytes:
    """Without the first bytes of a character whose end was cut off."""
    for back in range(1, min(4, len(data)) + 1):
        lead = data[-back]
        if lead < 0x80:
            return data
        if lead >= 0xC0:
            length = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
            return data[:-back] if back < length else data
    return data


@operation(
    router, "POST", _EXEC, scope="exec", answer={200: inside.Result, 201: inside.Process, 504: _LATE},
    refuses=("in_progress", *INSIDE),
)  # fmt: skip
async def run(request: Request, services: S, principal: P, reference: str, body: RunCommand) -> Response:
    """Run a command and wait for its end; with `detach` start it and answer 201 with its process."""
    if body.detach:
        return await _detached(request, services, principal, reference, body, body.allowed(0))
    async with while_connected(request):
        try:
            result = await services.inside.exec(principal, reference, **wanted(body), stdin=body.stdin.encode())
        except Unavailable as cut:
            raise await services.containers.after(principal, reference, cut) from cut
    shown = _shown(result)
    if result.timed_out:
        late = {"error": f"the command took longer than {float(body.timeout):g} s", "code": "timed_out"}
        return Json({**shown, **late, "request_id": request.state.request_id}, 504)
    return Json(shown)


@operation(router, "POST", _EXEC + "/stream", scope="exec", answer=_STREAMED, refuses=INSIDE)
async def run_stream(services: S, principal: P, reference: str, body: RunCommand) -> Response:
    """Run a command; its output comes as server-sent events while it runs."""
    stack = AsyncExitStack()
    opening = services.inside.exec_stream(principal, reference, **wanted(body))
    stream = await stack.enter_async_context(opening)
    return Followed(_events(stream, _frames(services, principal, reference, stream), body.stdin.encode()), stack)


class Followed(EventSourceResponse):
    """Events of something that is closed with them, also when nobody ever asked for the first."""

    def __init__(self, events: AsyncIterator[dict[str, str]], closing: AsyncExitStack) -> None:
        super().__init__(events, ping=15, headers={"X-Accel-Buffering": "no"})
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._closing:
            await super().__call__(scope, receive, send)


async def _frames(services: Services, principal: Principal, reference: str, stream: Stream) -> AsyncIterator[Frame]:
    """To the command's end. Raises what became of its container, where that was the end of it."""
    try:
        while (frame := await stream.receive()) is not None:
            yield frame
    except Unavailable as cut:
        raise await services.containers.after(principal, reference, cut) from cut


async def _events(stream: Stream, frames: AsyncIterator[Frame], given: bytes) -> AsyncIterator[dict[str, str]]:
    feeding = asyncio.create_task(_feed(stream, given))
    try:
        async for frame in frames:
            kind, data = _told(frame)
            yield {"event": kind, "data": dumps(data).decode()}
    except RexecError as problem:
        yield {"event": "error", "data": dumps(_problem(problem)).decode()}
    finally:
        feeding.cancel()
        await asyncio.wait([feeding])


def _problem(error: RexecError) -> dict[str, Any]:
    return {"error": error.message, **error.extras, "code": error.code}


async def _feed(stream: Stream, given: bytes) -> None:
    """A command may write before it reads on, and end before it has read all: that is told by what it sends."""
    with suppress(Unavailable):
        await _send_input(stream, given)
        await stream.close_input()


@socket_route(router, _EXEC + "/stream", scope="exec")
async def run_socket(socket: WebSocket, services: S, principal: P, reference: str) -> None:
    """Run a command with live input: first `start {…}`, then `stdin`, `eof`, `signal`, `resize`."""
    await services.containers.running(principal, reference)
    await sockets.accept(socket)
    try:
        await _run(socket, services, principal, reference)
        await sockets.close(socket)
    except RexecError as error:
        with suppress(*sockets.GONE):
            await sockets.say(socket, {"type": "error", **_problem(error)})
        await sockets.fail(socket, error)
    except sockets.GONE:
        return
    except asyncio.CancelledError:
        await sockets.close(socket, sockets.DRAINING, "the server is draining: run it again")
        raise


async def _run(socket: WebSocket, services: Services, principal: Principal, reference: str) -> None:
    first = await socket.receive()
    if first["type"] == "websocket.disconnect":
        return
    start = sockets.parsed(first.get("text") or "")
    if start is None or start.pop("type") != "start":
        raise Invalid("the first message must be start {command, …}")
    tty = start.pop("tty", None)
    size = _size(tty) if tty is not None else None
    body = _validated(start)
    async with services.inside.exec_stream(principal, reference, tty=size, **wanted(body)) as stream:
        # The input's end does not end the command: only its exit, or the client's leaving, does.
        await sockets.first_of(
            _outgoing(socket, _frames(services, principal, reference, stream)),
            _incoming(socket, stream, body.stdin.encode()),
            sockets.left(socket),
        )


async def _outgoing(socket: WebSocket, frames: AsyncIterator[Frame]) -> None:
    async for frame in frames:
        kind, data = _told(frame)
        await sockets.say(socket, {"type": kind, **data})


async def _incoming(socket: WebSocket, stream: Stream, given: bytes) -> None:
    with suppress(Unavailable):
        await _send_input(stream, given)
    while (message := await socket.receive())["type"] != "websocket.disconnect":
        # How the command ended is told by what it sent last, not by that it no longer listens.
        with suppress(Unavailable):
            await _pass_on(stream, message.get("bytes"), message.get("text"))


async def _pass_on(stream: Stream, data: bytes | None, text: str | None) -> None:
    if data is not None:
        return await _send_input(stream, data)
    said = sockets.parsed(text or "") or {"type": ""}
    match said["type"]:
        case "stdin" if isinstance(said.get("data"), str):
            await _send_input(stream, said["data"].encode("utf-8", "replace"))
        case "stdin" if isinstance(said.get("data_b64"), str):
            await _send_input(stream, _decoded(said["data_b64"]))
        case "eof":
            await stream.close_input()
        case "signal" if isinstance(said.get("signal"), str | int):
            await stream.send_control({"type": "signal", "signal": said["signal"]})
        case "resize":
            cols, rows = _size(said)
            await stream.send_control({"type": "resize", "cols": cols, "rows": rows})
        case _:
            raise Invalid("unknown message: send stdin, eof, signal or resize")
    return None


async def _send_input(stream: Stream, data: bytes) -> None:
    if data:
        await stream.send("i", data)


def _told(frame: Frame) -> tuple[str, dict[str, Any]]:
    if frame.kind in _STREAMS:
        shown = text("data", frame.payload)
        return _STREAMS[frame.kind], shown
    message = frame.control()
    kind = str(message.pop("type", "message"))
    if kind == "exit":
        message["exitCode"] = message.get("exit_code")
    return kind, message


def _size(said: Any) -> tuple[int, int]:
    match said:
        case {"cols": int(cols), "rows": int(rows)} if 1 <= cols <= 10_000 and 1 <= rows <= 10_000:
            return cols, rows
    raise Invalid("cols and rows must be numbers from 1 to 10000")


def _decoded(data: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise Invalid("data_b64 must be base64") from error


def _validated(start: dict[str, Any]) -> RunCommand:
    try:
        return RunCommand.model_validate(start)
    except ValidationError as error:
        raise invalid(RequestValidationError(error.errors())) from error


@operation(router, "POST", _PROCESSES, scope="exec", answer={201: inside.Process}, refuses=INSIDE, creates=True)
async def start(request: Request, services: S, principal: P, reference: str, body: StartProcess) -> Response:
    """Start a command that goes on by itself."""
    return await _detached(request, services, principal, reference, body, body.timeout)


async def _detached(
    request: Request, services: Services, principal: Principal, reference: str, body: RunCommand, timeout: float
) -> Response:  # fmt: skip
    """The guest finds a process by the id that the key gives it: a retry after a crash starts nothing twice."""

    async def work() -> tuple[int, dict[str, Any]]:
        row, guest = await services.inside.guest(principal, reference)
        command = services.inside.request(row, **{**wanted(body), "timeout": timeout, "stdin": body.stdin.encode()})
        return 201, await guest.start(command, _process_id(principal, row, request.headers.get("idempotency-key")))

    return await once(request, services, principal, work)


def _process_id(principal: Principal, row: ContainerRow, key: str | None) -> str:
    if key is None:
        return secrets.token_hex(8)
    return hashlib.sha256(f"{principal.user_id}\n{row.id}\n{key}".encode()).hexdigest()[:16]


@operation(router, "GET", _PROCESSES, scope="exec", answer=inside.Processes, refuses=INSIDE)
async def processes(services: S, principal: P, reference: str) -> Response:
    """List what was started to go on by itself."""
    _, guest = await services.inside.guest(principal, reference)
    return Json(await guest.call("GET", "/v1/processes"))


@operation(router, "GET", _PROCESSES + "/{process}", scope="exec", answer=inside.Process, refuses=_PROCESS)
async def process(services: S, principal: P, reference: str, process: ProcessId) -> Response:
    """Show one."""
    _, guest = await services.inside.guest(principal, reference)
    return Json(await guest.call("GET", f"/v1/processes/{process}"))


@operation(router, "GET", _PROCESSES + "/{process}/logs", scope="exec", answer=_LOGS, refuses=_PROCESS)
async def process_logs(
    request: Request, services: S, principal: P, reference: str, process: ProcessId,
    stream: Annotated[str, Query(pattern="^(stdout|stderr)$")] = "stdout",
    offset: Annotated[int, Query(ge=0, lt=1 << 62)] = 0,
) -> Response:  # fmt: skip
    """Its output from a byte offset, as far as it is kept."""
    _only_known(request, "stream", "offset")
    _, guest = await services.inside.guest(principal, reference)
    query: dict[str, str | bytes] = {"stream": stream, "offset": str(offset)}
    async with guest.download(f"/v1/processes/{process}/logs", query=query) as download:
        told = {name: _position(download.headers.get(name, "")) for name in ("rexec-offset", "rexec-end")}
        data = bytearray()
        async for chunk in download.chunks():
            data += chunk
            if len(data) > _MOST_LOGS:
                raise Broken("the guest answered with more than it keeps", code="guest_protocol")
    return Response(bytes(data), media_type="application/octet-stream", headers=told)


def _only_known(request: Request, *names: str) -> None:
    """Of the query: who asks for more, as for a log that is followed, is not given less in silence."""
    for name in request.query_params:
        if name not in (*names, "ticket"):
            details = [{"field": name[:64], "message": "is not a parameter of this request"}]
            raise Invalid(f"{name[:64]} is not a parameter of this request", details=details)


def _position(text: str) -> str:
    if not text.isdecimal() or len(text) > 19:
        raise Broken("the guest answered without an offset", code="guest_protocol")
    return text


@operation(router, "POST", _PROCESSES + "/{process}/signal", scope="exec", answer=inside.Nothing, refuses=_PROCESS)
async def signal(services: S, principal: P, reference: str, process: ProcessId, body: SignalProcess) -> Response:
    """Send it a signal, by name or number."""
    _, guest = await services.inside.guest(principal, reference)
    return Json(await guest.call("POST", f"/v1/processes/{process}/signal", json={"signal": body.signal}))


@operation(router, "GET", _PROCESSES + "/{process}/wait", scope="exec", answer=inside.Process, refuses=_PROCESS)
async def wait(
    services: S, principal: P, reference: str, process: ProcessId, timeout: Annotated[float, Query(ge=0, le=60)] = 60
) -> Response:
    """Wait for its end, at most a minute."""
    _, guest = await services.inside.guest(principal, reference)
    query: dict[str, str | bytes] = {"timeout": f"{timeout:g}"}
    waiting = guest.call("GET", f"/v1/processes/{process}/wait", query=query, patience=timeout)
    ended = await unless(services.draining, waiting)
    if ended is None:
        raise Unavailable("the server is ending: ask again", code="draining")
    return Json(ended)


@operation(router, "DELETE", _PROCESSES + "/{process}", scope="exec", answer=inside.Nothing, refuses=_PROCESS)
async def end(services: S, principal: P, reference: str, process: ProcessId) -> Response:
    """End it and forget it."""
    _, guest = await services.inside.guest(principal, reference)
    return Json(await guest.call("DELETE", f"/v1/processes/{process}"))
