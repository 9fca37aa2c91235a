"""Files in a container, streamed both ways."""

from __future__ import annotations

import asyncio
import base64
import mimetypes
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import PurePosixPath
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from python_multipart.multipart import parse_options_header
from sse_starlette import EventSourceResponse
from starlette.background import BackgroundTask
from starlette.responses import Response, StreamingResponse

from rexec.answers import inside
from rexec.answers.answer import Raw, Shape
from rexec.answers.refusals import INSIDE
from rexec.errors import Invalid, RexecError
from rexec.models import MakeDirectory, MoveFile, UploadFile, decoded
from rexec.server.api import sockets
from rexec.server.api.forms import Form
from rexec.server.api.problems import Json, dumps, invalid
from rexec.server.api.routing import P, S, operation, socket_route
from rexec.server.api.strict import loads
from rexec.server.core.services import Services
from rexec.server.ports.guest import Download, Stream
from rexec.server.ports.records import Principal

router = APIRouter(tags=["files"])
_FILES = "/api/containers/{reference}/files"
_MODE = "^[0-7]{3,4}$"
_HOME = "/home/user/"
_WHOLE, _PACKED = "/v1/files", "/v1/files/archive"
_CONDITIONS = ("range", "if-range")
_KEPT = ("content-length", "content-range", "accept-ranges", "etag")
_LONG_WORK = 900
"""Seconds for what may have to copy or remove millions of files."""
_PIECE = 1 << 18
_CHANGE = 'event: change\ndata: {"type": "create", "path": "/home/user/new", "is_dir": false}\n\n'
_FILE = ("not_found", "permission_denied", *INSIDE)
_WRITING = (*_FILE, "disk_full")
_BYTES = Raw("application/octet-stream", "hello\n")
_BINARY = {"type": "string", "format": "binary"}
_FORM = {"type": "object", "properties": {"file": _BINARY}, "required": ["file"]}
_LISTS: Shape = inside.Folder | list[inside.Entry]
Path = Annotated[str | None, Query(max_length=4096)]
PathB64 = Annotated[str | None, Query(max_length=8192)]


def _path(path: str | None, path_b64: str | None, field: str = "path") -> bytes:
    try:
        raw = decoded(path_b64) if path_b64 is not None else (path or "").encode("utf-8", "surrogateescape")
    except ValueError as error:
        raise Invalid(str(error), details=[{"field": f"{field}_b64", "message": str(error)}]) from error
    if not raw.startswith(b"/") or b"\x00" in raw:
        message = "must be an absolute path in the container"
        raise Invalid(f"{field} {message}", details=[{"field": field, "message": message}])
    return raw


def _listed(entry: Mapping[str, Any]) -> dict[str, Any]:
    """With the keys that existing clients read, too."""
    return {**entry, "is_dir": entry.get("type") == "dir", "isDir": entry.get("type") == "dir",
            "modTime": entry.get("mod_time")}  # fmt: skip


@asynccontextmanager
async def _opened(
    services: Services, principal: Principal, reference: str, target: str, path: bytes, wanted: Mapping[str, str]
) -> AsyncGenerator[tuple[Download, dict[str, str]], None]:
    """A download, and the head of the answer that it makes."""
    _, guest = await services.inside.guest(principal, reference)
    name = _name(path)
    kind = mimetypes.guess_type(name)[0]
    told: tuple[str, ...] = _KEPT
    if target == _PACKED:
        name, kind, told = f"{name or 'root'}.tar", "application/x-tar", ()
    async with guest.download(target, query={"path": path}, headers=wanted) as download:
        head = {name.title(): download.headers[name] for name in told if name in download.headers}
        head |= {
            "Content-Type": kind or "application/octet-stream", "Content-Security-Policy": "sandbox",
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}",
        }  # fmt: skip
        yield download, head


async def _download(
    services: Services, principal: Principal, reference: str, target: str, path: bytes, wanted: Mapping[str, str]
) -> Response:
    async with AsyncExitStack() as stack:
        download, head = await stack.enter_async_context(_opened(services, principal, reference, target, path, wanted))
        kept = stack.pop_all()
        return StreamingResponse(
            _closing(download.chunks(), kept), download.status, head, background=BackgroundTask(kept.aclose)
        )


async def _closing(chunks: AsyncIterator[bytes], stack: AsyncExitStack) -> AsyncIterator[bytes]:
    async with stack:
        async for chunk in chunks:
            yield chunk


@operation(
    router, "GET", _FILES, scope="files", answer={200: _BYTES, 206: _BYTES}, refuses=(*_FILE, "range_not_satisfiable")
)
async def download(
    request: Request, services: S, principal: P, reference: str, path: Path = None, path_b64: PathB64 = None
) -> Response:
    """Download a file, whole or a range; with `If-Range` only of the same content."""
    raw = _path(path, path_b64)
    wanted = {name: request.headers[name] for name in _CONDITIONS if name in request.headers}
    return await _download(services, principal, reference, _WHOLE, raw, wanted)


@operation(router, "HEAD", _FILES, scope="files", answer=_BYTES, refuses=_FILE)
async def look(services: S, principal: P, reference: str, path: Path = None, path_b64: PathB64 = None) -> Response:
    """The head of a download."""
    async with _opened(services, principal, reference, _WHOLE, _path(path, path_b64), {}) as (_, head):
        answer = Response(headers=head)
        if "Content-Length" not in head:
            del answer.headers["content-length"]
        return answer


@operation(router, "GET", _FILES + "/archive", scope="files", answer=Raw("application/x-tar", "(tar)"), refuses=_FILE)
async def archive(services: S, principal: P, reference: str, path: Path = None, path_b64: PathB64 = None) -> Response:
    """Download a folder as a tar stream."""
    raw = _path(path, path_b64)
    return await _download(services, principal, reference, _PACKED, raw, {})


@operation(
    router, "PUT", _FILES + "/archive", scope="files", answer=inside.Unpacked, refuses=_WRITING,
    takes={"application/x-tar": _BINARY},
)  # fmt: skip
async def unpack(
    request: Request, services: S, principal: P, reference: str, path: Path = None, path_b64: PathB64 = None,
    user: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:  # fmt: skip
    """Unpack a tar stream, compressed by gzip or not, into a folder."""
    _, guest = await services.inside.guest(principal, reference)
    query: dict[str, str | bytes] = {"path": _path(path, path_b64), **({"user": user} if user else {})}
    return Json(await guest.upload(_PACKED, query=query, body=request.stream()))


async def _upload(
    services: Services, principal: Principal, reference: str, path: bytes, body: AsyncIterator[bytes],
    mode: str | None = None, user: str | None = None,
) -> Response:  # fmt: skip
    row, guest = await services.inside.guest(principal, reference)
    given = {"mode": mode, "user": user, "new_user": row.user}
    query: dict[str, str | bytes] = {"path": path, "mkdirs": "true"}
    query.update({name: value for name, value in given.items() if value})
    answer = await guest.upload(_WHOLE, query=query, body=body)
    entry = _listed(answer.get("entry") or {})
    return Json({"message": "file uploaded", **entry})


@operation(
    router, "PUT", _FILES, scope="files", answer=inside.Changed, refuses=_WRITING,
    takes={"application/octet-stream": _BINARY},
)  # fmt: skip
async def upload(
    request: Request, services: S, principal: P, reference: str, path: Path = None, path_b64: PathB64 = None,
    mode: Annotated[str | None, Query(pattern=_MODE)] = None, user: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:  # fmt: skip
    """Upload a file: the body is its content. A failure leaves the old one."""
    return await _upload(services, principal, reference, _path(path, path_b64), request.stream(), mode, user)


@operation(
    router, "POST", _FILES, scope="files", answer=inside.Changed, refuses=_WRITING,
    takes={"multipart/form-data": _FORM, "application/json": UploadFile.model_json_schema()},
)  # fmt: skip
async def upload_form(
    request: Request, services: S, principal: P, reference: str, path: Path = None, path_b64: PathB64 = None
) -> Response:
    """Upload a file as a multipart form (`file`, and `path` by query), or as JSON `{path, content: base64}`."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind == b"multipart/form-data":
        form = Form(options, request.stream())
        body = form.content()
        target = _path(path if path is not None or path_b64 is not None else _HOME, path_b64)
        if target.endswith(b"/"):
            target += await form.filename()
        return await _upload(services, principal, reference, target, body)
    if kind != b"application/json":
        raise Invalid("the body must be multipart/form-data or application/json", code="unsupported_media_type")
    # As large as an upload may be: parsed beside the event loop.
    name, content = await asyncio.to_thread(_from_json, await request.body())

    async def whole() -> AsyncIterator[bytes]:
        for start in range(0, len(content), _PIECE):
            yield content[start : start + _PIECE]

    return await _upload(services, principal, reference, _path(name, None), whole())


def _from_json(body: bytes) -> tuple[str, bytes]:
    try:
        wanted = UploadFile.model_validate(loads(body))
    except ValidationError as error:
        raise invalid(RequestValidationError(error.errors())) from error
    except ValueError as error:
        raise Invalid(f"the body is not valid JSON: {error}") from error
    return wanted.path, _content(wanted.content)


def _content(text: str) -> bytes:
    try:
        return decoded(text)
    except ValueError as error:
        raise Invalid("content must be base64", details=[{"field": "content", "message": str(error)}]) from error


@operation(router, "GET", _FILES + "/list", scope="files", answer=_LISTS, refuses=_FILE)
async def listed(
    services: S, principal: P, reference: str, path: Path = None, path_b64: PathB64 = None,
    depth: Annotated[int, Query(ge=1, le=16)] = 1, format: str | None = None,
) -> Response:  # fmt: skip
    """List a folder."""
    raw = _path(path if path is not None or path_b64 is not None else "/home/user", path_b64)
    _, guest = await services.inside.guest(principal, reference)
    query: dict[str, str | bytes] = {"path": raw, **({"depth": str(depth)} if depth > 1 else {})}
    answer = await guest.call("GET", "/v1/files/list", query=query)
    entries = [_listed(entry) for entry in answer.get("files", [])]
    return Json(entries if format == "array" else {**answer, "files": entries, "count": len(entries)})


@operation(router, "GET", _FILES + "/stat", scope="files", answer=inside.Entry, refuses=_FILE)
async def stat(services: S, principal: P, reference: str, path: Path = None, path_b64: PathB64 = None) -> Response:
    """Show one entry without following it."""
    raw = _path(path, path_b64)
    _, guest = await services.inside.guest(principal, reference)
    answer = await guest.call("GET", "/v1/files/stat", query={"path": raw})
    return Json(_listed(answer.get("entry") or answer))


@operation(router, "POST", _FILES + "/mkdir", scope="files", answer=inside.Changed, refuses=_WRITING)
async def mkdir(
    services: S, principal: P, reference: str, body: MakeDirectory | None = None, path: Path = None,
    path_b64: PathB64 = None,
) -> Response:  # fmt: skip
    """Make a folder and those above it."""
    body = body or MakeDirectory()
    raw = _path(body.path or path, body.path_b64 or path_b64)
    row, guest = await services.inside.guest(principal, reference)
    asked = {"path_b64": base64.b64encode(raw).decode(), "parents": True, "user": body.user or row.user}
    answer = await guest.call("POST", "/v1/files/mkdir", json=asked | ({"mode": body.mode} if body.mode else {}))
    return Json({"message": "folder created", **_listed(answer.get("entry") or {})})


@operation(router, "POST", _FILES + "/move", scope="files", answer=inside.Changed, refuses=_WRITING)
async def move(services: S, principal: P, reference: str, body: MoveFile) -> Response:
    """Move or rename."""
    source = _path(body.source, body.source_b64, "from")
    target = _path(body.to, body.to_b64, "to")
    _, guest = await services.inside.guest(principal, reference)
    asked = {
        "from_b64": base64.b64encode(source).decode(), "to_b64": base64.b64encode(target).decode(),
        "overwrite": body.overwrite,
    }  # fmt: skip
    answer = await guest.call("POST", "/v1/files/move", json=asked, patience=_LONG_WORK)
    return Json({"message": "moved", **_listed(answer.get("entry") or {})})


@operation(router, "DELETE", _FILES, scope="files", answer=inside.FileDeleted, refuses=_FILE)
async def delete(
    services: S, principal: P, reference: str, path: Path = None, path_b64: PathB64 = None, recursive: bool = True
) -> Response:
    """Delete a file or a folder with all in it."""
    raw = _path(path, path_b64)
    _, guest = await services.inside.guest(principal, reference)
    query: dict[str, str | bytes] = {"path": raw, "recursive": "true" if recursive else "false"}
    await guest.call("DELETE", _WHOLE, query=query, patience=_LONG_WORK)
    return Json({"message": "deleted", **_told(raw)})


@operation(router, "GET", _FILES + "/watch", scope="files", refuses=_FILE, answer=Raw("text/event-stream", _CHANGE))
async def watch_events(
    services: S, principal: P, reference: str, path: Path = None, path_b64: PathB64 = None, recursive: bool = True
) -> Response:
    """Changes beneath a folder as they happen, as server-sent events; upgraded to a WebSocket the same as messages."""
    raw = _path(path, path_b64)
    _, guest = await services.inside.guest(principal, reference)
    async with AsyncExitStack() as stack:
        stream = await stack.enter_async_context(guest.watch(raw, recursive=recursive))
        kept = stack.pop_all()

        async def tell() -> AsyncIterator[dict[str, str]]:
            async with kept:
                try:
                    async for change in _changes(stream):
                        kind = "end" if change["type"] == "end" else "change"
                        yield {"event": kind, "data": dumps(change).decode()}
                except RexecError as error:
                    yield {"event": "end", "data": dumps({"error": error.message, "code": error.code}).decode()}

        return EventSourceResponse(
            tell(), ping=15, headers={"X-Accel-Buffering": "no"}, background=BackgroundTask(kept.aclose)
        )


@socket_route(router, _FILES + "/watch", scope="files")
async def watch(socket: WebSocket, services: S, principal: P, reference: str) -> None:
    """Changes beneath a folder as they happen."""
    query = socket.query_params
    raw = _path(query.get("path"), query.get("path_b64"))
    _, guest = await services.inside.guest(principal, reference)
    async with guest.watch(raw, recursive=query.get("recursive", "true") == "true") as stream:
        await sockets.accept(socket)

        async def tell() -> None:
            async for change in _changes(stream):
                await sockets.say(socket, change)
                if change["type"] == "end":
                    await sockets.close(socket, reason=change["reason"])

        try:
            await sockets.first_of(tell(), sockets.until_left(socket))
        except RexecError as error:
            await sockets.fail(socket, error)
        except sockets.GONE:
            return
        await sockets.close(socket)


async def _changes(stream: Stream) -> AsyncIterator[dict[str, Any]]:
    """To the `end`, which says why nothing more comes."""
    while (frame := await stream.receive()) is not None:
        change = frame.control()
        yield change
        if change["type"] == "end":
            return


def _told(path: bytes) -> dict[str, str]:
    try:
        return {"path": path.decode()}
    except UnicodeDecodeError:
        return {"path": path.decode(errors="replace"), "path_b64": base64.b64encode(path).decode()}


def _name(path: bytes) -> str:
    return PurePosixPath(path.decode(errors="replace")).name
