"""`Idempotency-Key` around a creating endpoint."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request

from rexec.server.api.problems import Json
from rexec.server.core.services import Services
from rexec.server.ports.records import Principal
from rexec.server.ports.store import Transaction

Work = Callable[[], Awaitable[tuple[int, dict[str, Any]]]]


async def once(
    request: Request, services: Services, principal: Principal, work: Work, *, secret: bool = False,
    replay: Callable[[str], Awaitable[dict[str, Any]]] | None = None,
) -> Json:  # fmt: skip
    """`replay` builds the answer from the id of what was made, when the server died before it had answered."""
    key = key_of(request)
    if key is None:
        return _answer(*await work())
    ledger = services.idempotency
    known = await ledger.begin(principal, key, request.url.path, await request.body(), secret=secret)
    if known is not None and known.answer is not None:
        return _answer(known.status or 200, known.answer)
    async with ledger.working(principal, key):
        try:
            if known is not None and known.subject is not None and replay is not None:
                status, body = 202, await replay(known.subject)
            else:
                status, body = await work()
        except Exception:
            await ledger.abandon(principal, key)
            raise
        await ledger.finish(principal, key, status, None if secret else body)
    return _answer(status, body)


def key_of(request: Request) -> str | None:
    return request.headers.get("idempotency-key")


def tying(
    request: Request, services: Services, principal: Principal
) -> Callable[[Transaction, str], Awaitable[None]] | None:
    """For the transaction that makes something: remember under the request's key what was made."""
    key = key_of(request)
    if key is None:
        return None

    async def tie(tx: Transaction, subject: str) -> None:
        await services.idempotency.tie(tx, principal, key, subject)

    return tie


def _answer(status: int, body: dict[str, Any]) -> Json:
    headers = {"Location": f"/api/containers/{body['id']}"} if status == 202 and "id" in body else {}
    return Json(body, status, headers)
