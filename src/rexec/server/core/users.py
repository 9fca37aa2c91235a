"""The users of a server, as its admins see and change them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rexec.errors import Conflict
from rexec.server.core.access import ALL_BUT_ADMIN, SCOPES, ends
from rexec.server.core.accounts import BeforeCommit, found, new_token, new_user, token_row
from rexec.server.core.clock import Clock
from rexec.server.core.lifecycle import retire
from rexec.server.core.tiers import Tiers
from rexec.server.ports.records import Principal, Reason, UserRow
from rexec.server.ports.store import Database


@dataclass(frozen=True, slots=True)
class Users:
    database: Database
    clock: Clock
    tiers: Tiers
    default_tier: str

    async def list(self, limit: int, after: str | None) -> list[UserRow]:
        async with self.database.reading() as tx:
            return await tx.users.list(limit, after)

    async def get(self, user_id: str) -> UserRow:
        async with self.database.reading() as tx:
            return found(await tx.users.get(user_id))

    async def make(
        self, username: str, email: str | None, tier: str | None, *, is_admin: bool,
        before_commit: BeforeCommit | None = None,
    ) -> tuple[UserRow, str]:  # fmt: skip
        """With a first token of all scopes that it may have. `before_commit` takes part."""
        self.tiers.of(tier or self.default_tier)
        now, made = self.clock(), new_token()
        user = new_user(username, email, tier or self.default_tier, now, is_admin=is_admin)
        scopes = frozenset(SCOPES) if is_admin else ALL_BUT_ADMIN
        async with self.database.transaction() as tx:
            await tx.users.insert(user)
            await tx.tokens.insert(token_row(user.id, "first", made, scopes, now, None))
            if before_commit is not None:
                await before_commit(tx, user.id)
        return user, made

    async def change(self, principal: Principal, user_id: str, tier: str | None, disabled: bool | None) -> UserRow:
        changes: dict[str, Any] = {}
        if tier is not None:
            self.tiers.of(tier)
            changes["tier"] = tier
        if disabled is not None:
            if disabled:
                self._another(principal, user_id, "disable")
            changes["disabled_at"] = self.clock() if disabled else None
        async with self.database.transaction() as tx:
            user = found(await tx.users.lock(user_id))
            if changes:
                user = found(await tx.users.update(user_id, **changes))
                ends(tx, user_id)
        return user

    async def delete(self, principal: Principal, user_id: str) -> UserRow:
        """With its containers, tokens and sessions; its name is free."""
        self._another(principal, user_id, "delete")
        now = self.clock()
        async with self.database.transaction() as tx:
            user = found(await tx.users.lock(user_id))
            await tx.users.update(user_id, disabled_at=now, deleted_at=now)
            await tx.tokens.revoke_all(user_id, now)
            await tx.sessions.revoke_all(user_id, now)
            await retire(tx, user_id, Reason.USER, "The account was deleted.", now)
            ends(tx, user_id)
        return user

    def _another(self, principal: Principal, user_id: str, verb: str) -> None:
        if user_id == principal.user_id:
            raise Conflict(f"an admin cannot {verb} itself", code="wrong_state")
