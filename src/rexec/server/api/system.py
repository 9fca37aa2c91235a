"""How the server is, what it speaks, and the page."""

from __future__ import annotations

import html
from importlib.metadata import version
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import FileResponse, HTMLResponse, Response

from rexec.answers import system as told
from rexec.answers.answer import Raw
from rexec.errors import NotFound, RexecError, Unauthenticated
from rexec.server.api.credentials import find
from rexec.server.api.problems import Json
from rexec.server.api.routing import S, operation
from rexec.server.core.access import require

router = APIRouter(tags=["system"])
_STATIC = Path(__file__).parents[1] / "static"
_VERSION = version("rexec")
_UNBUILT = "<!doctype html><title>Rexec</title><p>Rexec runs. The page is not built: <code>make web</code>."


@operation(router, "HEAD", "/health", scope=None, answer=told.Health)
@operation(router, "GET", "/health", scope=None, answer=told.Health)
async def health() -> Response:
    """Whether the server is alive."""
    return Json({"status": "ok"})


@operation(router, "HEAD", "/ready", scope=None, answer={200: told.Ready, 503: told.NotReady})
@operation(router, "GET", "/ready", scope=None, answer={200: told.Ready, 503: told.NotReady})
async def ready(request: Request, services: S) -> Response:
    """Whether engine and database really answer."""
    parts: dict[str, str] = {}
    for name, part in (("engine", services.engine), ("database", services.database)):
        try:
            await part.ping()
        except RexecError as error:
            parts[name] = error.message
        else:
            parts[name] = "ok"
    good = all(state == "ok" for state in parts.values())
    if good:
        return Json({"status": "ready", **parts})
    broken = {
        "error": "not ready", "status": "not ready", **parts, "code": "unavailable",
        "request_id": request.state.request_id,
    }  # fmt: skip
    return Json(broken, 503, {"Retry-After": "2"})


@operation(router, "GET", "/api/version", scope=None, answer=told.Version)
async def which() -> Response:
    """The version of the server."""
    return Json({"version": _VERSION, "api": 1, "name": "rexec"})


@operation(
    router, "GET", "/metrics", scope=None, answer=Raw(CONTENT_TYPE_LATEST, "rexec_http_request_seconds_count 12.0\n"),
    refuses=("token_required", "invalid_token", "scope_required", "unavailable"),
)  # fmt: skip
async def metrics(request: Request, services: S) -> Response:
    """Prometheus metrics, for this machine and admins."""
    client = request.client
    if client is None or not ip_address(client.host).is_loopback or "x-forwarded-for" in request.headers:
        found = find(request.scope, request.headers)
        if found.kind != "token":
            raise Unauthenticated("metrics are for this machine and admins", code="token_required")
        require(await services.access.authenticate(found.text), "admin")
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


@operation(router, "GET", "/api/openapi.json", scope=None, answer=told.Description)
async def openapi(request: Request) -> Response:
    """This description."""
    return Json(request.app.openapi())


@operation(router, "GET", "/api/docs", scope=None, answer=Raw("text/html", "<!doctype html>…"))
async def docs(request: Request) -> Response:
    """This description, for people."""
    return HTMLResponse(_page(request.app.openapi()))


def _page(described: dict[str, Any]) -> str:
    rows = []
    for path, verbs in described["paths"].items():
        for verb, does in verbs.items():
            statuses = " ".join(status for status in does["responses"] if status[0] == "2")
            cells = (f"<b>{verb.upper()}</b>", f"<code>{html.escape(path)}</code>", does.get("x-scope") or "public",
                     html.escape(does.get("summary", "")), statuses)  # fmt: skip
            rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    style = (
        "body{font:15px/1.5 system-ui;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#e6edf3;background:#0b0e13}"
    )
    style += "td{padding:.25rem .75rem;border-top:1px solid #223}a{color:#5eead4}"
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Rexec API</title><style>{style}</style>"
        f"<h1>Rexec API {_VERSION}</h1><p>Whole and for programs: <a href=/api/openapi.json>openapi.json</a>. "
        "Sockets: <code>/ws/events</code>, <code>/ws/terminal/{container}</code>, "
        "<code>/ws/ports/{container}/{port}</code>, <code>/api/containers/{container}/exec/stream</code>, "
        "<code>/api/containers/{container}/files/watch</code>.</p>"
        f"<table><tr><td>Method<td>Path<td>Scope<td>What<td>Answers</tr>{''.join(rows)}</table></html>"
    )


@router.api_route("/{path:path}", methods=["GET", "HEAD"], include_in_schema=False)
async def page(path: str) -> Response:
    """The web page and its files; other paths of the page's own are its index."""
    if path.startswith(("api/", "ws/")) or path in ("api", "ws"):
        raise NotFound("not found")
    if not (_STATIC / "index.html").is_file():
        return HTMLResponse(
            "<!doctype html><title>Rexec</title><p>Rexec runs. The page is not built: <code>make web</code>."
        )
    wanted = (_STATIC / path).resolve()
    if path and wanted.is_file() and wanted.is_relative_to(_STATIC.resolve()):
        kept = "public, max-age=31536000, immutable" if path.startswith("assets/") else "no-cache"
        return FileResponse(wanted, headers={"Cache-Control": kept})
    if path and "." in path.rpartition("/")[2]:
        raise NotFound("not found")
    return FileResponse(_STATIC / "index.html", headers={"Cache-Control": "no-cache"})
