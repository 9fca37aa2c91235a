"""How a route is declared: its scope, its rate class, what it answers, what it refuses with."""

from __future__ import annotations

import functools
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Depends
from pydantic import BeforeValidator
from starlette.requests import HTTPConnection
from starlette.responses import Response

from rexec.answers import refusals
from rexec.answers.answer import Raw, Shape, example_of
from rexec.server.api.strict import StrictRoute
from rexec.server.core.access import require
from rexec.server.core.services import Services
from rexec.server.ports.records import Principal

Endpoint: TypeAlias = Callable[..., Awaitable[Any]]
_WITH_BODY = ("POST", "PUT", "PATCH")
_DIGITS = re.compile(r"-?[0-9]{1,19}", re.ASCII)
SOCKET_SCOPES: dict[str, str] = {}
"""By the path of each WebSocket; OpenAPI does not know them."""
ANSWERS: dict[str, dict[str, dict[int, Shape]]] = {}
"""What each route answers with, by path, method and status. FastAPI is not told: it would build a validator for each,
an eighth of the server's memory for a description that few ask for."""


def _whole(value: Any) -> Any:
    if isinstance(value, str) and not _DIGITS.fullmatch(value):
        raise ValueError("must be a whole number")
    return value


Whole = Annotated[int, BeforeValidator(_whole)]
"""An integer of a query, without what pydantic takes besides: `1.0`, `1_000`, spaces."""


async def services_of(connection: HTTPConnection) -> Services:
    services: Services = connection.app.state.services
    return services


async def principal_of(connection: HTTPConnection) -> Principal:
    principal: Principal = connection.state.principal
    return principal


S = Annotated[Services, Depends(services_of)]
P = Annotated[Principal, Depends(principal_of)]


def operation(
    router: APIRouter, method: str, path: str, *, scope: str | None, answer: Shape | Mapping[int, Shape],
    refuses: Sequence[str] = (), creates: bool = False, judge: Callable[..., None] | None = None,
    takes: Mapping[str, Any] | None = None,
) -> Callable[[Endpoint], Endpoint]:  # fmt: skip
    """Register an endpoint. `scope` None: public. `answer`: the model of its 200, or models by status. `refuses`: the
    codes (`rexec.answers.refusals`) it may give besides those of its kind. `creates`: takes an `Idempotency-Key`.
    `judge` sees the arguments before the scope is looked at: what can never work is 400 for everybody. `takes`: the
    schemas, by media type, of a body that the endpoint reads itself."""

    def register(endpoint: Endpoint) -> Endpoint:
        @functools.wraps(endpoint)
        async def checked(*arguments: Any, **values: Any) -> Any:
            if judge is not None:
                judge(**values)
            if scope is not None:
                require(values["principal"], scope)
            return await endpoint(*arguments, **values)

        answers = dict(answer) if isinstance(answer, Mapping) else {200: answer}
        ANSWERS.setdefault(path, {})[method] = answers
        codes = [*_of_its_kind(method, path, scope, creates=creates), *refuses]
        extra: dict[str, Any] = {"x-scope": scope, "x-idempotent": creates, "x-rate": _rate(path, scope, creates)}
        if takes is not None:
            content = {media: {"schema": schema} for media, schema in takes.items()}
            extra["requestBody"] = {"required": True, "content": content}
        router.add_api_route(
            path, checked, methods=[method], openapi_extra=extra, response_model=None, status_code=next(iter(answers)),
            responses={**refusals.described(codes), **{status: _told(shape) for status, shape in answers.items()}},
            summary=(endpoint.__doc__ or "").partition("\n")[0].rstrip("."), route_class_override=StrictRoute,
            response_class=Response,
        )  # fmt: skip
        return endpoint

    return register


def socket_route(router: APIRouter, path: str, *, scope: str) -> Callable[[Endpoint], Endpoint]:
    """Register a WebSocket."""

    def register(endpoint: Endpoint) -> Endpoint:
        @functools.wraps(endpoint)
        async def checked(*arguments: Any, **values: Any) -> None:
            require(values["principal"], scope)
            await endpoint(*arguments, **values)

        SOCKET_SCOPES[path] = scope
        router.add_api_websocket_route(path, checked)
        return endpoint

    return register


def _told(shape: Shape) -> dict[str, Any]:
    if isinstance(shape, Raw):
        return {
            "description": "Done", "content": {shape.media: {"schema": {"type": "string"}, "example": shape.example}}
        }  # fmt: skip
    return {"description": "Done", "content": {"application/json": {"example": example_of(shape)}}}


def _of_its_kind(method: str, path: str, scope: str | None, *, creates: bool) -> Iterator[str]:
    if scope is not None:
        yield from refusals.ANYBODY
    if path.startswith("/api/auth/"):
        yield from ("rate_limited", "origin_refused", "unavailable")
    if method in _WITH_BODY:
        yield from refusals.BODY
    if "{reference}" in path:
        yield from refusals.ONE
    if creates:
        yield from ("in_progress", "key_reused", "already_done")


def _rate(path: str, scope: str | None, creates: bool) -> str:
    if scope is None:
        return "login" if path.startswith("/api/auth/") else "none"
    return "requests, creates" if creates and path == "/api/containers" else "requests"
