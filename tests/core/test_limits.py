"""Tiers, rate limits, tickets, secrets, names, settings: the small rules."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag

from rexec.errors import Conflict, Invalid, RateLimited, Unauthenticated
from rexec.server.bus import LocalBus
from rexec.server.core.access import ALL_BUT_ADMIN, Access
from rexec.server.core.accounts import Accounts
from rexec.server.core.idempotency import Idempotency
from rexec.server.core.names import generate
from rexec.server.core.ratelimit import RateLimits
from rexec.server.core.secrets import Secrets
from rexec.server.core.tickets import Tickets
from rexec.server.core.tiers import Tiers
from rexec.server.core.users import Users
from rexec.server.ports.records import Capacity, Enforced, Principal
from rexec.server.settings import Settings
from rexec.server.store import SqlDatabase, migrate

FREE = Principal("u", "ann", "free", False, False, ALL_BUT_ADMIN, None)


@dataclass
class Time:
    now: datetime = datetime(2030, 1, 1, 12, 0, 30, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqlDatabase]:
    async with SqlDatabase(str(tmp_path / "db"), LocalBus()) as database:
        await migrate.main(str(tmp_path / "db"))
        yield database


def host(memory: int) -> Tiers:
    capacity = Capacity(2, memory, 100_000, 50_000, "amd64", Enforced())
    return Tiers(Settings().tiers, lambda: capacity)


def test_a_small_host_makes_maxima_smaller_and_says_so() -> None:
    assert host(65_536).admit(FREE, {}).memory_mb == 2048
    assert host(1024).admit(FREE, {}).memory_mb == 1024
    with pytest.raises(Invalid, match="what this host has") as refused:
        host(1024).admit(FREE, {"memory_mb": 2048, "disk_mb": 1})
    assert [detail["field"] for detail in refused.value.extras["details"]] == ["memory_mb", "disk_mb"]
    with pytest.raises(Invalid, match="the tier free"):
        host(65_536).admit(FREE, {"memory_mb": 4097})


async def test_two_servers_keep_a_limit_together_and_tell_when_to_return(database: SqlDatabase) -> None:
    clock = Time()
    servers = [RateLimits(database, clock), RateLimits(database, clock)]
    for turn in range(100):
        await servers[turn // 5 % 2].spend("user:u", 100)
    for server in servers:
        with pytest.raises(RateLimited) as refused:
            await server.spend("user:u", 100)
        assert refused.value.extras["retry_after"] == 31
    clock.now += timedelta(seconds=31)
    assert (await servers[0].spend("user:u", 100)).limit == 100


async def test_what_is_rolled_back_does_not_count(database: SqlDatabase) -> None:
    limits = RateLimits(database, Time())
    for _ in range(5):
        with pytest.raises(KeyError):
            async with database.transaction() as tx:
                await limits.spend_in(tx, "creates:u", 1)
                raise KeyError
    async with database.transaction() as tx:
        await limits.spend_in(tx, "creates:u", 1)
    with pytest.raises(RateLimited):
        async with database.transaction() as tx:
            await limits.spend_in(tx, "creates:u", 1)


async def test_tickets_and_sessions_end_and_fit_one_path(database: SqlDatabase) -> None:
    clock = Time()
    access = Access(database, LocalBus(), clock, b"k" * 32)
    accounts = Accounts(database, clock, access, guest_seconds=100)
    signed, returned = await accounts.guest("ann", None, None)
    principal = await access.authenticate(signed.token)
    assert (principal.is_guest, returned) == (True, False)
    again, returned = await accounts.guest("ann", None, principal)
    assert (again.user.id, returned) == (signed.user.id, True)
    tickets = Tickets(clock, access)
    ticket = tickets.make(principal, "/api/events?since=3")
    assert (await tickets.redeem(ticket, "/api/events")).user_id == principal.user_id
    with pytest.raises(Unauthenticated):
        await tickets.redeem(ticket, "/api/containers")
    with pytest.raises(Unauthenticated):
        await access.authenticate(ticket)
    clock.now += timedelta(seconds=61)
    with pytest.raises(Unauthenticated):
        await tickets.redeem(ticket, "/api/events")
    clock.now += timedelta(seconds=60)
    access.forget()
    with pytest.raises(Unauthenticated):
        await access.authenticate(signed.token)


async def test_a_refresh_token_works_once_and_its_reuse_ends_the_session(database: SqlDatabase) -> None:
    access = Access(database, LocalBus(), Time(), b"k" * 32)
    accounts = Accounts(database, Time(), access, guest_seconds=100)
    _, token = await Users(database, Time(), host(4096), "free").make("ann", None, None, is_admin=False)
    signed = await accounts.sign_in(await access.authenticate(token), None)
    fresh = await accounts.refresh(signed.refresh_token)
    await access.authenticate(fresh.token)
    with pytest.raises(Unauthenticated):
        await accounts.refresh(signed.refresh_token)
    access.forget()
    with pytest.raises(Unauthenticated):
        await access.authenticate(fresh.token)


async def test_the_same_key_gives_the_same_answer_through_a_crash(database: SqlDatabase) -> None:
    first = Idempotency(database, Time(), "here")
    assert await first.begin(FREE, "k", "/x", b"body", secret=False) is None
    with pytest.raises(Conflict, match="still runs"):
        await first.begin(FREE, "k", "/x", b"body", secret=False)
    async with database.transaction() as tx:
        await first.tie(tx, FREE, "k", "c1")
    after_crash = Idempotency(database, Time(), "here")
    known = await after_crash.begin(FREE, "k", "/x", b"body", secret=False)
    assert known is not None
    assert known.subject == "c1"
    async with after_crash.working(FREE, "k"):
        await after_crash.finish(FREE, "k", 202, {"id": "c1"})
    known = await after_crash.begin(FREE, "k", "/x", b"body", secret=False)
    assert known is not None
    assert known.answer == {"id": "c1"}
    with pytest.raises(Conflict, match="another request"):
        await after_crash.begin(FREE, "k", "/x", b"other", secret=False)
    assert await after_crash.begin(replace(FREE, user_id="v"), "k", "/x", b"other", secret=False) is None


def test_a_sealed_environment_opens_for_its_own_container_only() -> None:
    secrets = Secrets(b"k" * 32)
    sealed = secrets.seal({"A": "ü"}, "c1")
    assert "ü".encode() not in sealed
    assert secrets.open(sealed, "c1") == {"A": "ü"}
    for broken, context in ((sealed, "c2"), (sealed[:-1] + b"x", "c1")):
        with pytest.raises(InvalidTag):
            secrets.open(broken, context)


def test_names_are_valid_and_many() -> None:
    names = {generate() for _ in range(500)}
    assert len(names) > 480
    assert all(name.replace("-", "").isalnum() and len(name) <= 64 for name in names)


def test_settings_come_from_file_and_environment_and_hide_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rexec.toml").write_text('bind = "0.0.0.0:1"\nworkers = 3\n[tiers.free]\ncontainers = 9\n')
    monkeypatch.setenv("REXEC_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("REXEC_BIND", "127.0.0.1:2")
    monkeypatch.setenv("REXEC_DATABASE_URL", "postgresql://u:hidden@h/d")
    monkeypatch.setenv("REXEC_ALLOWED_ORIGINS", "https://a.example, https://b.example")
    settings = Settings()
    assert (settings.bind, settings.workers, settings.tiers["free"].containers) == ("127.0.0.1:2", 3, 9)
    assert settings.tiers["free"].memory_mb == 2048
    assert settings.allowed_origins == ("https://a.example", "https://b.example")
    assert "hidden" not in str(settings.masked())
    monkeypatch.setenv("REXEC_BIND", "nonsense")
    with pytest.raises(ValueError, match="host:port"):
        Settings()
