"""How a route is declared: its scope, its rate class, what it answers."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Depends
from starlette.requests import HTTPConnection

from rexec.server.core.access import require
from rexec.server.core.services import Services
from rexec.server.ports.records import Principal

Endpoint: TypeAlias = Callable[..., Awaitable[Any]]
_ALWAYS = (400, 401, 403, 404, 405, 409, 413, 415, 429, 500, 501, 502, 503, 504, 507)
_PUBLICLY = (400, 401, 403, 404, 405, 413, 415, 429, 500, 503)


async def services_of(connection: HTTPConnection) -> Services:
    services: Services = connection.app.state.services
    return services


async def principal_of(connection: HTTPConnection) -> Principal:
    principal: Principal = connection.state.principal
    return principal


S = Annotated[Services, Depends(services_of)]
P = Annotated[Principal, Depends(principal_of)]


def operation(
    router: APIRouter, method: str, path: str, *, scope: str | None, ok: int | tuple[int, ...] = 200,
    creates: bool = False, example: Any = None, media: str = "application/json", **options: Any,
) -> Callable[[Endpoint], Endpoint]:  # fmt: skip
    """Register an endpoint. `scope` None: public. `creates`: takes an `Idempotency-Key`."""

    def register(endpoint: Endpoint) -> Endpoint:
        @functools.wraps(endpoint)
        async def checked(*arguments: Any, **values: Any) -> Any:
            if scope is not None:
                require(values["principal"], scope)
            return await endpoint(*arguments, **values)

        answers = (ok,) if isinstance(ok, int) else ok
        content: dict[str, Any] = {"schema": {}} if example is None else {"schema": {}, "example": example}
        responses: dict[int | str, dict[str, Any]] = {
            status: {"description": "Done", **({"content": {media: content}} if status != 204 else {})}
            for status in answers
        }
        for status in _PUBLICLY if scope is None else _ALWAYS:
            responses.setdefault(status, {"$ref": "#/components/responses/Problem"})
        extra = {"x-scope": scope, "x-idempotent": creates, "x-rate": _rate(path, scope, creates)}
        router.add_api_route(
            path, checked, methods=[method], responses=responses, openapi_extra=extra, response_model=None,
            status_code=answers[0], summary=(endpoint.__doc__ or "").partition("\n")[0].rstrip("."), **options,
        )  # fmt: skip
        return endpoint

    return register


def _rate(path: str, scope: str | None, creates: bool) -> str:
    if scope is None:
        return "login" if path.startswith("/api/auth/") else "none"
    return "requests, creates" if creates and path == "/api/containers" else "requests"
