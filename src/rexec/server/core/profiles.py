"""Who one is, what one may use, and what one uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rexec.server.core.accounts import describe_user, found
from rexec.server.core.opensockets import OpenSockets
from rexec.server.core.tiers import SMALLEST, Tiers
from rexec.server.ports.records import ContainerRow, Principal, Status
from rexec.server.ports.store import ContainerFilter, Database

_SIZES = {"memory_mb": "memory_mb", "cpu_shares": "cpu_millis", "disk_mb": "disk_mb"}


@dataclass(frozen=True, slots=True)
class Profiles:
    database: Database
    tiers: Tiers
    sockets: OpenSockets

    async def of(self, principal: Principal) -> dict[str, Any]:
        async with self.database.reading() as tx:
            user = found(await tx.users.get(principal.user_id))
            rows = await tx.containers.list(ContainerFilter(principal.user_id, limit=10_000))
        usage = {**_used(rows), "sockets": await self.sockets.total(principal.user_id)}
        return {
            "user": describe_user(user), "scopes": sorted(principal.scopes), "limits": self._limits(principal),
            "usage": usage,
        }  # fmt: skip

    def _limits(self, principal: Principal) -> dict[str, Any]:
        tier, ranges, admin = self.tiers.of(principal.tier), self.tiers.ranges(principal), principal.is_admin
        sizes = {
            wire: {"default": ranges[field].default, "max": ranges[field].max, "min": getattr(SMALLEST, field)}
            for wire, field in _SIZES.items()
        }
        return {
            "containers": self.tiers.container_limit(principal),
            **sizes,
            "session_seconds": None if admin else tier.session_seconds,
            "creates_per_minute": None if admin else tier.creates_per_minute,
            "requests_per_minute": None if admin else tier.requests_per_minute,
            "sockets": self.tiers.socket_limit(principal),
            "terminals": tier.terminals,
        }


def _used(rows: list[ContainerRow]) -> dict[str, Any]:
    counted = [row for row in rows if row.status is not Status.ERROR]
    sums = {wire: sum(getattr(row.limits, field) for row in counted) for wire, field in _SIZES.items()}
    running = sum(row.status is Status.RUNNING for row in counted)
    return {"containers": len(counted), "running": running, **sums}
