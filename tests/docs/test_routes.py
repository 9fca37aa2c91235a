"""Every route has a scope or is public on purpose, and the table of routes says what is so."""

from __future__ import annotations

import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest
from fastapi import FastAPI, WebSocket
from fastapi.routing import APIRoute, APIWebSocketRoute

from rexec.server.api.gate import is_public
from rexec.server.api.routing import SOCKET_SCOPES
from rexec.server.app import create_api
from rexec.server.core.access import SCOPES

ROOT = Path(__file__).parents[2]


def check(api: FastAPI) -> int:
    """How many routes there are. Raises `AssertionError` for one that everybody could use by mistake."""
    seen = 0
    included = [route.original_router.routes for route in api.routes if hasattr(route, "original_router")]
    for route in [*api.routes, *chain.from_iterable(included)]:
        if isinstance(route, APIWebSocketRoute):
            assert SOCKET_SCOPES.get(route.path) in SCOPES, route.path
        elif isinstance(route, APIRoute) and not (is_public(route.path) and not route.include_in_schema):
            extra = route.openapi_extra or {}
            assert "x-scope" in extra, route.path
            assert extra["x-scope"] in SCOPES or (extra["x-scope"] is None and is_public(route.path)), route.path
            assert extra["x-rate"], route.path
        else:
            continue
        seen += 1
    return seen


def test_every_route_has_a_scope_or_is_public() -> None:
    assert check(create_api()) > 60


def test_a_route_without_a_scope_does_not_pass() -> None:
    plain, open_socket = create_api(), create_api()

    @plain.get("/api/forgotten")
    async def forgotten() -> None: ...

    @open_socket.websocket("/ws/forgotten")
    async def follow(socket: WebSocket) -> None: ...

    for api in (plain, open_socket):
        with pytest.raises(AssertionError, match="forgotten"):
            check(api)


def test_the_table_names_every_operation_of_the_description_with_its_scope() -> None:
    checked = subprocess.run([sys.executable, ROOT / "scripts/route-docs", "--check"], check=False, capture_output=True)
    assert checked.returncode == 0, checked.stdout
    table = (ROOT / "docs/routes.md").read_text()
    for path, verbs in create_api().openapi()["paths"].items():
        for verb, told in verbs.items():
            assert f"| {verb.upper()} | `{path}` | {told.get('x-scope') or 'public'} |" in table
    for path, scope in SOCKET_SCOPES.items():
        assert f"| WS | `{path}` | {scope} |" in table
