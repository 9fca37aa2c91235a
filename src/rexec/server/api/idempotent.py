"""`Idempotency-Key` around a creating endpoint."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request

from rexec.errors import RexecError
from rexec.server.api.problems import Json
from rexec.server.core.services import Services
from rexec.server.ports.records import Principal

Work = Callable[[], Awaitable[tuple[int, dict[str, Any]]]]


async def once(
    request: Request, services: Services, principal: Principal, work: Work, *, secret: bool = False,
    replay: Callable[[str], Awaitable[dict[str, Any]]] | None = None,
) -> Json:  # fmt: skip
    """`replay` builds the answer from the id of what was made, when the server died before it had answered."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return _answer(*await work())
    ledger = services.idempotency
    known = await ledger.begin(principal, key, request.url.path, await request.body(), secret=secret)
    if known is not None:
        if known.answer is not None:
            return _answer(known.status or 200, known.answer)
        if known.subject is not None and replay is not None:
            return _answer(202, await replay(known.subject))
    try:
        status, body = await work()
    except BaseException as error:
        if isinstance(error, RexecError | Exception):
            await ledger.forget(principal, key)
        raise
    await ledger.finish(principal, key, status, None if secret else body)
    return _answer(status, body)


def _answer(status: int, body: dict[str, Any]) -> Json:
    headers = {"Location": f"/api/containers/{body['id']}"} if status == 202 and "id" in body else {}
    return Json(body, status, headers)
