"""JSON as it is taken: no key twice, no NaN."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from rexec.errors import Invalid


def loads(text: str | bytes) -> Any:
    """Raises `ValueError`, whatever is wrong: of two values for one key nobody can say which was meant."""
    try:
        decoded = text if isinstance(text, str) else text.decode()
        return json.loads(decoded, object_pairs_hook=_once, parse_constant=_refused)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except UnicodeDecodeError as error:
        raise ValueError("it is not UTF-8") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:64]!r} is given twice")
    return found


def _refused(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a value of JSON")


class _Strict(Request):
    async def json(self) -> Any:
        try:
            return loads(await self.body())
        except json.JSONDecodeError:
            raise
        except ValueError as error:
            raise json.JSONDecodeError(str(error), "", 0) from error


class StrictRoute(APIRoute):
    """A route whose JSON body is read by `loads`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        bare = self.body_field is None and "requestBody" not in (self.openapi_extra or {})

        async def strictly(request: Request) -> Response:
            strict = _Strict(request.scope, request.receive)
            if bare and request.method not in ("GET", "HEAD"):
                _check_empty(await strict.body())
            return await handle(strict)

        return strictly


def _check_empty(body: bytes) -> None:
    """An empty object is nothing as well."""
    try:
        given = loads(body) if body.strip() else {}
    except ValueError as error:
        raise Invalid(f"the body is not valid JSON: {error}") from error
    if given != {}:
        field = next(iter(given))[:64] if isinstance(given, dict) else ""
        message = "is not a key of this request" if field else "must be empty"
        raise Invalid(f"{field or 'the body'} {message}", details=[{"field": field, "message": message}])
