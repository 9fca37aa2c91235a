"""Events, accounts and the small shared tables."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

from contracts.rows import NOW, user
from rexec.errors import Conflict
from rexec.server.bus import LocalBus
from rexec.server.ports.records import IdempotencyRow, SessionRow, TokenRow
from rexec.server.store import SqlDatabase


async def test_seq_has_no_holes_under_concurrent_writers_of_two_servers(
    url: str, database: SqlDatabase, bus: LocalBus
) -> None:
    owner = user()
    async with database.transaction() as tx:
        await tx.users.insert(owner)
    async with SqlDatabase(url, bus) as other:

        async def write(through: SqlDatabase, number: int) -> None:
            async with through.transaction() as tx:
                await tx.users.lock(owner.id)
                await tx.events.append(owner.id, "t", "c", {"n": number}, NOW)
                if number % 7 == 0:
                    raise KeyError(number)

        writing = [write((database, other)[n % 2], n) for n in range(60)]
        failed = [error for error in await asyncio.gather(*writing, return_exceptions=True) if error]
    assert len(failed) == 9
    assert all(isinstance(error, KeyError) for error in failed)
    async with database.reading() as tx:
        seen = await tx.events.after(owner.id, 0, 100)
        assert [event.seq for event in seen] == list(range(1, 52))
        assert await tx.events.bounds(owner.id) == (1, 51)


async def test_events_replay_and_are_trimmed(database: SqlDatabase) -> None:
    owner = user()
    async with database.transaction() as tx:
        await tx.users.insert(owner)
        assert await tx.events.bounds(owner.id) == (1, 0)
        await tx.events.append(owner.id, "a", "c1", {"x": 1}, NOW - timedelta(days=9))
        for n in range(5):
            await tx.events.append(owner.id, "b", "c2", {"n": n}, NOW)
        assert [event.data for event in await tx.events.of_container("c1", 0, 10)] == [{"x": 1}]
        assert [event.seq for event in await tx.events.after(owner.id, 4, 10)] == [5, 6]
        assert await tx.events.trim(NOW - timedelta(days=1), 100) == 1
        assert await tx.events.bounds(owner.id) == (2, 6)
        await tx.events.trim(NOW - timedelta(days=1), 2)
        assert await tx.events.bounds(owner.id) == (5, 6)


async def test_topics_are_published_after_the_commit_and_only_then(database: SqlDatabase, bus: LocalBus) -> None:
    owner = user()
    async with bus.subscribe("user:x") as subscription:
        waiting = asyncio.create_task(subscription.wait())
        try:
            async with database.transaction() as tx:
                tx.after_commit("user:x")
                raise KeyError
        except KeyError:
            await asyncio.sleep(0)
        assert not waiting.done()
        async with database.transaction() as tx:
            await tx.users.insert(owner)
            tx.after_commit("user:x")
            await asyncio.sleep(0)
            assert not waiting.done()
        await waiting


async def test_tokens_sessions_and_users_come_back_with_one_another(database: SqlDatabase) -> None:
    owner = user(expires_at=NOW, is_guest=True)
    token = TokenRow("t", owner.id, "ci", b"\x01" * 32, "rexec_ab", frozenset({"exec", "files"}), NOW, None, None, None)
    session = SessionRow("s", owner.id, b"old", frozenset({"exec"}), NOW, NOW + timedelta(days=1), NOW, None, "agent")
    async with database.transaction() as tx:
        await tx.users.insert(owner)
        await tx.tokens.insert(token)
        await tx.sessions.insert(session)
    async with database.transaction() as tx:
        assert await tx.tokens.by_digest(token.digest) == (token, owner)
        assert await tx.tokens.by_digest(b"\x02" * 32) is None
        assert await tx.sessions.get("s") == (session, owner)
        assert await tx.sessions.rotate("s", b"wrong", b"new", NOW) is False
        assert await tx.sessions.rotate("s", b"old", b"new", NOW) is True
        assert await tx.sessions.rotate("s", b"old", b"newer", NOW) is False
        assert len(await tx.sessions.list(owner.id, NOW)) == 1
        assert await tx.sessions.revoke("s", NOW) is True
        assert await tx.sessions.list(owner.id, NOW) == []
        assert await tx.tokens.revoke("somebody", "t", NOW) is False
        assert await tx.tokens.revoke(owner.id, "t", NOW) is True
        assert await tx.tokens.list(owner.id) == []
        assert [found.id for found in await tx.users.expired_guests(NOW, 5)] == [owner.id]
        assert await tx.users.update(owner.id, tier="pro", disabled_at=NOW) == replace(
            owner, tier="pro", disabled_at=NOW
        )
        assert await tx.users.expired_guests(NOW, 5) == []
        assert await tx.users.by_username(owner.username) is None, "guests share names"


async def test_one_of_many_begins_a_remembered_request(database: SqlDatabase) -> None:
    row = IdempotencyRow("u", "k", "/api/containers", b"d", None, None, False, None, NOW)

    async def begin() -> bool:
        async with database.transaction() as tx:
            return await tx.idempotency.begin(row) is None

    assert sum(await asyncio.gather(*(begin() for _ in range(20)))) == 1
    async with database.transaction() as tx:
        await tx.idempotency.subject("u", "k", "c1")
        await tx.idempotency.finish("u", "k", 202, {"id": "c1"})
        kept = await tx.idempotency.begin(row)
        assert kept is not None
        assert (kept.status, kept.answer, kept.subject) == (202, {"id": "c1"}, "c1")
        await tx.idempotency.forget("u", "k")
        assert await tx.idempotency.begin(row) is None
        assert await tx.idempotency.trim(NOW + timedelta(seconds=1)) == 1


async def test_counters_count_together_and_keys_are_made_once(url: str, database: SqlDatabase, bus: LocalBus) -> None:
    async with SqlDatabase(url, bus) as other:

        async def hit(through: SqlDatabase) -> int:
            async with through.transaction() as tx:
                return await tx.counters.hit("k", 7, 2, NOW)

        counts = await asyncio.gather(*(hit((database, other)[n % 2]) for n in range(20)))
        assert sorted(counts) == list(range(2, 42, 2))

        async def key(through: SqlDatabase, value: bytes) -> bytes:
            async with through.transaction() as tx:
                return await tx.keys.get_or_create("jwt", value)

        made = await asyncio.gather(*(key((database, other)[n % 2], bytes([n])) for n in range(10)))
        assert len(set(made)) == 1
    async with database.transaction() as tx:
        assert await tx.counters.read("k", 7) == 40
        assert await tx.counters.trim(NOW) == 1
        assert await tx.counters.read("k", 7) == 0


async def test_a_quarantine_remembers_when_it_began(database: SqlDatabase) -> None:
    async with database.transaction() as tx:
        assert await tx.quarantine.enter("k", NOW) == NOW
        assert await tx.quarantine.enter("k", NOW + timedelta(days=1)) == NOW
        assert await tx.quarantine.all() == {"k": NOW}
        await tx.quarantine.leave("k")
        await tx.quarantine.leave("k")
        assert await tx.quarantine.all() == {}


async def test_a_registered_name_is_taken_until_its_account_is_deleted(database: SqlDatabase) -> None:
    async with database.transaction() as tx:
        for owner in (user(is_guest=True), user(is_guest=True), user()):
            await tx.users.insert(replace(owner, username="ann"))

    async def register() -> bool:
        try:
            async with database.transaction() as tx:
                await tx.users.insert(replace(user(), username="ann"))
        except Conflict:
            return False
        return True

    assert not any(await asyncio.gather(*(register() for _ in range(5))))
    async with database.transaction() as tx:
        ann = await tx.users.by_username("ann")
        assert ann is not None
        assert not ann.is_guest
        await tx.users.update(ann.id, deleted_at=NOW)
        assert await tx.users.by_username("ann") is None
        assert ann.id not in [found.id for found in await tx.users.list(100, None)]
    assert sum(await asyncio.gather(*(register() for _ in range(5)))) == 1


async def test_a_token_takes_its_sessions_with_it_and_an_account_takes_all(database: SqlDatabase) -> None:
    owner = user()
    first, second = (
        TokenRow(name, owner.id, "ci", name.encode(), "rexec_ab", frozenset({"exec"}), NOW, None, None, None)
        for name in ("t1", "t2")
    )
    opened = SessionRow("s1", owner.id, b"r", frozenset(), NOW, NOW + timedelta(days=1), NOW, None, "agent", "t1")
    async with database.transaction() as tx:
        await tx.users.insert(owner)
        for token in (first, second):
            await tx.tokens.insert(token)
        await tx.sessions.insert(opened)
        await tx.sessions.insert(replace(opened, id="s2", token_id="t2"))
    async with database.transaction() as tx:
        assert await tx.tokens.revoke(owner.id, "t1", NOW)
        assert [session.id for session in await tx.sessions.list(owner.id, NOW)] == ["s2"]
        assert (await tx.tokens.get("t2")) == (second, owner)
        await tx.tokens.revoke_all(owner.id, NOW)
        await tx.sessions.revoke_all(owner.id, NOW)
        assert await tx.tokens.list(owner.id) == []
        assert await tx.sessions.list(owner.id, NOW) == []
        assert await tx.sessions.trim(NOW) == 0
        assert await tx.sessions.trim(NOW + timedelta(seconds=1)) == 2


async def test_a_remembered_request_that_made_something_is_not_abandoned(database: SqlDatabase) -> None:
    row = IdempotencyRow("u", "k", "/x", b"d", None, None, False, None, NOW, "one", NOW)
    async with database.transaction() as tx:
        assert await tx.idempotency.begin(row) is None
        await tx.idempotency.abandon("u", "k")
        assert await tx.idempotency.begin(row) is None
        await tx.idempotency.claim("u", "k", "two", NOW + timedelta(minutes=1))
        await tx.idempotency.subject("u", "k", "c1")
        await tx.idempotency.abandon("u", "k")
        kept = await tx.idempotency.begin(row)
    assert kept == replace(row, claimed_by="two", claimed_until=NOW + timedelta(minutes=1), subject="c1")


async def test_sockets_are_counted_over_servers_and_tiers_remember_changes(database: SqlDatabase) -> None:
    later = NOW + timedelta(minutes=1)
    async with database.transaction() as tx:
        await tx.sockets.put("u", "one", 2, later)
        await tx.sockets.put("u", "one", 3, later)
        await tx.sockets.put("u", "two", 4, NOW)
        assert await tx.sockets.elsewhere("u", "one", NOW) == 0
        assert await tx.sockets.elsewhere("u", "two", NOW) == 3
        await tx.sockets.replace("one", {"u": 1, "v": 2}, later)
        assert await tx.sockets.elsewhere("u", "two", NOW) == 1
        await tx.sockets.replace("one", {}, later)
        assert await tx.sockets.elsewhere("v", "two", NOW) == 0
        await tx.tiers.put("free", {"containers": 1})
        await tx.tiers.put("free", {"containers": None})
        assert await tx.tiers.all() == {"free": {"containers": None}}
