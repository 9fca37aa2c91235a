"""Whether there is room for a container, and until when: asked inside the transaction that makes or starts it."""

from __future__ import annotations

from datetime import datetime, timedelta

from rexec.errors import Conflict, Invalid, LimitReached
from rexec.server.core.access import principal_of
from rexec.server.core.names import generate
from rexec.server.core.tiers import Tiers
from rexec.server.ports.records import ContainerRow, Principal, Status
from rexec.server.ports.store import Transaction

_NAME_ATTEMPTS = 5


class Admission:
    """The caller holds its owner's lock."""

    def __init__(self, tiers: Tiers) -> None:
        self._tiers = tiers

    def limit(self, principal: Principal) -> int | None:
        return self._tiers.container_limit(principal)

    async def room(self, tx: Transaction, principal: Principal, again: ContainerRow | None = None) -> None:
        """For one more, or for `again` to run once more: one in `error` was not counted. Raises `LimitReached`."""
        limit = self.limit(principal)
        if limit is None:
            return
        current = await tx.containers.count(principal.user_id)
        counted = again is not None and again.status is not Status.ERROR
        if current - counted >= limit:
            raise LimitReached(
                "container limit reached",
                current=current,
                limit=limit,
                tier=principal.tier,
                message="Upgrade your plan to create more containers",
            )

    async def owner(self, tx: Transaction, principal: Principal, row: ContainerRow) -> Principal:
        """Whose limits and session bind a container, whoever acts on it."""
        user = None if row.user_id == principal.user_id else await tx.users.get(row.user_id)
        return principal if user is None else principal_of(user, frozenset(), None)

    async def name(self, tx: Transaction, principal: Principal, wanted: str | None) -> str:
        """`wanted`, or one that is made up. Raises `Conflict` (`name_taken`)."""
        for _ in range(_NAME_ATTEMPTS):
            candidate = wanted or generate()
            if not await tx.containers.count_living(principal.user_id, candidate):
                return candidate
            if wanted is not None:
                break
        raise Conflict("container with this name already exists", code="name_taken", name=candidate)

    def expiry(self, principal: Principal, now: datetime) -> datetime | None:
        """The tier's session from now on, and never past the account's own end."""
        seconds = self._session(principal)
        return _earlier(None if seconds is None else now + timedelta(seconds=seconds), principal.expires_at)

    def renewal(
        self, principal: Principal, seconds: int | None, now: datetime, ends: datetime | None
    ) -> datetime | None:
        """`ends`: the owner's account. Raises `Invalid` for more than the tier's session."""
        session = self._session(principal)
        if session is not None and seconds is not None and seconds > session:
            message = f"must be at most {session} (the tier {principal.tier})"
            details = [{"field": "seconds", "message": message, "min": 1, "max": session}]
            raise Invalid(f"seconds {message}", code="out_of_range", details=details, tier=principal.tier)
        lasts = seconds or session
        return _earlier(now + timedelta(seconds=lasts) if lasts else None, ends)

    def _session(self, principal: Principal) -> int | None:
        return None if principal.is_admin else self._tiers.of(principal.tier).session_seconds


def _earlier(first: datetime | None, second: datetime | None) -> datetime | None:
    return min((at for at in (first, second) if at is not None), default=None)
