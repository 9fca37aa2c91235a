"""What each plan allows, and whether a wish fits it and the host."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from pydantic import ValidationError

from rexec.errors import Invalid, OutOfSpace, Unavailable
from rexec.server.ports.bus import Bus
from rexec.server.ports.records import Capacity, Limits, Principal
from rexec.server.ports.store import Database
from rexec.server.settings import Tier

SMALLEST = Limits(memory_mb=256, cpu_millis=250, disk_mb=1024)
_WIRE_NAMES = {"memory_mb": "memory_mb", "cpu_millis": "cpu_shares", "disk_mb": "disk_mb"}
_DISK_RESERVE_MB = 512
_TOPIC = "tiers"


@dataclass(frozen=True, slots=True)
class Range:
    default: int
    max: int
    bound: str
    """What sets the maximum: `the tier free`, or `this host`."""


class Tiers:
    """`capacity` gives the engine's last known capacity, without asking it."""

    def __init__(self, tiers: Mapping[str, Tier], capacity: Callable[[], Capacity | None]) -> None:
        self._given = dict(tiers)
        self._tiers = dict(tiers)
        self._capacity = capacity

    def adopt(self, changes: Mapping[str, Mapping[str, Any]]) -> None:
        """Changes over what the settings say. Raises `Invalid`."""
        self._tiers = {name: changed(tier, changes.get(name, {})) for name, tier in self._given.items()}

    def of(self, name: str) -> Tier:
        try:
            return self._tiers[name]
        except KeyError:
            raise Invalid(f"there is no tier {name}", code="unknown_tier", tiers=sorted(self._tiers)) from None

    @property
    def names(self) -> list[str]:
        return list(self._tiers)

    def container_limit(self, principal: Principal) -> int | None:
        return None if principal.is_admin else self.of(principal.tier).containers

    def socket_limit(self, principal: Principal) -> int | None:
        return None if principal.is_admin else self.of(principal.tier).sockets

    def ranges(self, principal: Principal) -> dict[str, Range]:
        """By the field names of `Limits`."""
        tier, capacity = self.of(principal.tier), self._capacity()
        host = {} if capacity is None else {"memory_mb": capacity.memory_mb, "cpu_millis": capacity.cpus * 1000}
        if capacity is not None and capacity.disk_total_mb:
            host["disk_mb"] = capacity.disk_total_mb
        return {
            field: _range(getattr(tier, field), getattr(tier, f"{field}_max"), host.get(field), principal.tier)
            for field in _WIRE_NAMES
        }

    def admit(self, principal: Principal, wanted: Mapping[str, int | None]) -> Limits:
        """`wanted` by the field names of `Limits`; None is the default. Raises `Invalid`, naming each field that is out
        of range with its range and the tier."""
        limits, details = {}, []
        for field, bounds in self.ranges(principal).items():
            value, least = wanted.get(field), getattr(SMALLEST, field)
            limits[field] = bounds.default if value is None else value
            if value is not None and not least <= value <= bounds.max:
                message = f"must be between {least} and {bounds.max} ({bounds.bound})"
                details.append({"field": _WIRE_NAMES[field], "message": message, "min": least, "max": bounds.max})
        if details:
            raise Invalid(
                f"{details[0]['field']} {details[0]['message']}",
                code="out_of_range",
                details=details,
                tier=principal.tier,
            )
        return Limits(**limits)

    def check_host(self) -> None:
        """Whether the host takes one more container at all. Raises `OutOfSpace` or `Unavailable`."""
        capacity = self._capacity()
        if capacity is None:
            raise Unavailable("the engine is away", code="engine_away", retry_after=5)
        if capacity.disk_total_mb and capacity.disk_free_mb < _DISK_RESERVE_MB:
            raise OutOfSpace("there is no disk left for another container")


def _range(default: int, most: int, host: int | None, tier: str) -> Range:
    if host is not None and host < most:
        return Range(min(default, host), host, "what this host has")
    return Range(default, most, f"the tier {tier}")


def changed(tier: Tier, changes: Mapping[str, Any]) -> Tier:
    """Raises `Invalid` where a default would be above its maximum."""
    try:
        new = Tier.model_validate({**tier.model_dump(), **changes})
    except ValidationError as error:
        raise Invalid("these are no values for a tier", code="invalid_tier") from error
    for field in _WIRE_NAMES:
        least, default, most = getattr(SMALLEST, field), getattr(new, field), getattr(new, f"{field}_max")
        if not least <= default <= most:
            message = f"must be between {least} and {field}_max, {most}"
            raise Invalid(f"{field} {message}", code="out_of_range", details=[{"field": field, "message": message}])
    return new


class ChangedTiers:
    """What admins changed about tiers: kept in the store, over the settings, and taken up by every server. An async
    context manager."""

    def __init__(self, database: Database, bus: Bus, tiers: Tiers) -> None:
        self._database = database
        self._bus = bus
        self._tiers = tiers
        self._following: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._adopt()
        self._following = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])

    async def change(self, name: str, changes: Mapping[str, Any]) -> Tier:
        changed(self._tiers.of(name), changes)
        async with self._database.transaction() as tx:
            kept = (await tx.tiers.all()).get(name, {})
            await tx.tiers.put(name, {**kept, **changes})
            tx.after_commit(_TOPIC)
        await self._adopt()
        return self._tiers.of(name)

    async def _adopt(self) -> None:
        async with self._database.reading() as tx:
            self._tiers.adopt(await tx.tiers.all())

    async def _follow(self) -> None:
        async with self._bus.subscribe(_TOPIC) as subscription:
            while True:
                await subscription.wait()
                with suppress(Unavailable, Invalid):
                    await self._adopt()
