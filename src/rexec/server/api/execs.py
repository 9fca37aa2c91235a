"""Commands: run and wait, stream, or leave running."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from sse_starlette import EventSourceResponse
from starlette.responses import Response

from rexec.answers import inside
from rexec.answers.answer import Raw, Shape
from rexec.answers.refusals import INSIDE, Problem
from rexec.errors import Invalid, RexecError
from rexec.models import RunCommand, SignalProcess, StartProcess
from rexec.server.api import sockets
from rexec.server.api.idempotent import once
from rexec.server.api.leaving import while_connected
from rexec.server.api.problems import Json, dumps, invalid
from rexec.server.api.routing import P, S, operation, socket_route
from rexec.server.core.inside import MAX_OUTPUT
from rexec.server.ports.guest import Frame, Stream
from rexec.server.ports.records import ExecResult

router = APIRouter(tags=["exec"])
_EXEC = "/api/containers/{reference}/exec"
_PROCESSES = "/api/containers/{reference}/processes"
_STREAMS = {"o": "stdout", "e": "stderr"}
_LATE: Shape = inside.Late | Problem
_PROCESS = ("not_found", *INSIDE)
_STREAMED = Raw(
    "text/event-stream",
    'event: stdout\ndata: {"data":"hello\\n"}\n\nevent: exit\ndata: {"exit_code":0,"reason":"exited"}\n\n',
)
_LOGS = Raw("application/octet-stream", "hello\n")


def wanted(body: RunCommand) -> dict[str, Any]:
    return {"argv": body.argv, "cwd": body.cwd, "env": body.env, "user": body.user, "timeout": float(body.timeout)}


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


@operation(router, "POST", _EXEC, scope="exec", answer={200: inside.Result, 504: _LATE}, refuses=INSIDE)
async def run(request: Request, services: S, principal: P, reference: str, body: RunCommand) -> Response:
    """Run a command and wait for its end."""
    async with while_connected(request):
        result = await services.inside.exec(principal, reference, **wanted(body), stdin=body.stdin.encode())
    shown = _shown(result)
    if result.timed_out:
        late = {"error": f"the command took longer than {float(body.timeout):g} s", "code": "timed_out"}
        return Json({**shown, **late, "request_id": request.state.request_id}, 504)
    return Json(shown)


@operation(router, "POST", _EXEC + "/stream", scope="exec", answer=_STREAMED, refuses=INSIDE)
async def run_stream(services: S, principal: P, reference: str, body: RunCommand) -> Response:
    """Run a command; its output comes as server-sent events while it runs."""
    opening = services.inside.exec_stream(principal, reference, **wanted(body))
    stream = await opening.__aenter__()

    async def tell() -> AsyncIterator[dict[str, str]]:
        error: BaseException | None = None
        try:
            await _send_input(stream, body.stdin.encode())
            await stream.close_input()
            while (frame := await stream.receive()) is not None:
                kind, data = _told(frame)
                yield {"event": kind, "data": dumps(data).decode()}
        except RexecError as problem:
            yield {"event": "error", "data": dumps({"error": problem.message, "code": problem.code}).decode()}
        except BaseException as problem:
            error = problem
            raise
        finally:
            await opening.__aexit__(type(error) if error else None, error, None)

    return EventSourceResponse(tell(), ping=15, headers={"X-Accel-Buffering": "no"})


@socket_route(router, _EXEC + "/stream", scope="exec")
async def run_socket(socket: WebSocket, services: S, principal: P, reference: str) -> None:
    """Run a command with live input: first `start {…}`, then `stdin`, `eof`, `signal`, `resize`."""
    await services.containers.running(principal, reference)
    await sockets.accept(socket)
    try:
        start = sockets.parsed(await socket.receive_text())
        if start is None or start.pop("type") != "start":
            raise Invalid("the first message must be start {command, …}")
        tty = start.pop("tty", None)
        size = _size(tty) if tty is not None else None
        body = _validated(start)
        async with services.inside.exec_stream(principal, reference, tty=size, **wanted(body)) as stream:
            await _send_input(stream, body.stdin.encode())
            # The input's end does not end the command: only its exit, or the client's leaving, does.
            await sockets.first_of(_outgoing(socket, stream), _incoming(socket, stream))
        await sockets.close(socket)
    except RexecError as error:
        await sockets.say(socket, {"type": "error", "error": error.message, "code": error.code})
        await sockets.fail(socket, error)
    except sockets.GONE:
        return


async def _outgoing(socket: WebSocket, stream: Stream) -> None:
    while (frame := await stream.receive()) is not None:
        kind, data = _told(frame)
        await sockets.say(socket, {"type": kind, **data})


async def _incoming(socket: WebSocket, stream: Stream) -> None:
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        if message.get("bytes") is not None:
            await _send_input(stream, message["bytes"])
            continue
        said = sockets.parsed(message["text"]) or {"type": ""}
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

    async def work() -> tuple[int, dict[str, Any]]:
        row, guest = await services.inside.guest(principal, reference)
        command = services.inside.request(row, **wanted(body))
        given = {"cwd": command.cwd, "user": command.user}
        asked = {
            "argv": list(command.argv), "env": command.env, "timeout_ms": int(command.timeout * 1000),
            "stdin": base64.b64encode(body.stdin.encode()).decode(), "max_output": MAX_OUTPUT,
            **{name: value for name, value in given.items() if value is not None},
        }  # fmt: skip
        return 201, await guest.call("POST", "/v1/processes", json=asked)

    return await once(request, services, principal, work)


@operation(router, "GET", _PROCESSES, scope="exec", answer=inside.Processes, refuses=INSIDE)
async def processes(services: S, principal: P, reference: str) -> Response:
    """List what was started to go on by itself."""
    _, guest = await services.inside.guest(principal, reference)
    return Json(await guest.call("GET", "/v1/processes"))


@operation(router, "GET", _PROCESSES + "/{process}", scope="exec", answer=inside.Process, refuses=_PROCESS)
async def process(services: S, principal: P, reference: str, process: int) -> Response:
    """Show one."""
    _, guest = await services.inside.guest(principal, reference)
    return Json(await guest.call("GET", f"/v1/processes/{process}"))


@operation(router, "GET", _PROCESSES + "/{process}/logs", scope="exec", answer=_LOGS, refuses=_PROCESS)
async def process_logs(
    services: S, principal: P, reference: str, process: int,
    stream: Annotated[str, Query(pattern="^(stdout|stderr)$")] = "stdout",
    offset: Annotated[int, Query(ge=0, lt=1 << 62)] = 0,
) -> Response:  # fmt: skip
    """Its output from a byte offset, as far as it is kept."""
    _, guest = await services.inside.guest(principal, reference)
    query: dict[str, str | bytes] = {"stream": stream, "offset": str(offset)}
    async with guest.download(f"/v1/processes/{process}/logs", query=query) as download:
        data = b"".join([chunk async for chunk in download.chunks()])
        told = {name: download.headers.get(name, "0") for name in ("rexec-offset", "rexec-end")}
    return Response(data, media_type="application/octet-stream", headers=told)


@operation(router, "POST", _PROCESSES + "/{process}/signal", scope="exec", answer=inside.Nothing, refuses=_PROCESS)
async def signal(services: S, principal: P, reference: str, process: int, body: SignalProcess) -> Response:
    """Send it a signal, by name or number."""
    _, guest = await services.inside.guest(principal, reference)
    return Json(await guest.call("POST", f"/v1/processes/{process}/signal", json={"signal": body.signal}))


@operation(router, "GET", _PROCESSES + "/{process}/wait", scope="exec", answer=inside.Process, refuses=_PROCESS)
async def wait(
    services: S, principal: P, reference: str, process: int, timeout: Annotated[float, Query(ge=0, le=60)] = 60
) -> Response:
    """Wait for its end, at most a minute."""
    _, guest = await services.inside.guest(principal, reference)
    query: dict[str, str | bytes] = {"timeout": f"{timeout:g}"}
    return Json(await guest.call("GET", f"/v1/processes/{process}/wait", query=query))


@operation(router, "DELETE", _PROCESSES + "/{process}", scope="exec", answer=inside.Nothing, refuses=_PROCESS)
async def end(services: S, principal: P, reference: str, process: int) -> Response:
    """End it and forget it."""
    _, guest = await services.inside.guest(principal, reference)
    return Json(await guest.call("DELETE", f"/v1/processes/{process}"))
