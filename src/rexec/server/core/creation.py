"""One creation or start, from a row to a container whose guest answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

from rexec.errors import Broken, RexecError, Unavailable
from rexec.server.core.clock import Clock
from rexec.server.core.events import PROGRESS
from rexec.server.core.layers import Layer, Layers
from rexec.server.core.lifecycle import ended, tell, transition
from rexec.server.core.progress import MESSAGES, at
from rexec.server.core.turns import Turns
from rexec.server.ports.engine import Engine, ProgressCallback
from rexec.server.ports.guest import Guests
from rexec.server.ports.records import (
    ContainerRow,
    Image,
    Observation,
    Phase,
    PullProgress,
    Reason,
    Spec,
    Stage,
    Status,
)
from rexec.server.ports.store import Database

_MESSAGES_PER_SECOND = 4
_ALL_MESSAGES_PER_SECOND = 50
"""Over all containers: hundreds may wait for one bake, whose every word would be written hundreds of times."""
_LAST_LINES = 500
_LAST_WORDS = 500
_DEATHS = (b"fatal error: ", b"panic: ")
"""How the guest begins to tell what it dies of; where it was at that moment follows at length."""
_UNSEEN = 1.0
"""Seconds without an answer after which the engine is asked."""


class Superseded(Exception):
    """Somebody else wrote the row: what is being done may no longer be wanted."""


class Creation:
    """Tells how far it is. Every step may be repeated after a crash."""

    def __init__(
        self, database: Database, engine: Engine, guests: Guests, clock: Clock, *,
        layers: Layers, turns: Turns, pull_timeout: float, guest_timeout: float,
    ) -> None:  # fmt: skip
        self._database = database
        self._engine = engine
        self._guests = guests
        self._clock = clock
        self._layers = layers
        self._turns = turns
        self._pull_timeout = pull_timeout
        self._guest_timeout = guest_timeout
        self._waiting: dict[str, asyncio.Future[Observation]] = {}
        self._reporting = 0

    async def create(self, row: ContainerRow) -> ContainerRow:
        row, image = await self._image(row)
        row = await self._tell(row, Stage.CREATING)
        await self._guests.expect(row.engine_key)
        row = await self._tell(row, Stage.STARTING)
        row, layer = await self._layer(row, image)
        observed = await self._engine.start(_spec(row, layer.ref if layer else image.ref))
        if row.stage is not Stage.CONFIGURING:
            row = await self._tell(row, Stage.CONFIGURING)
        await self._answering(row)
        return await self._running(row, observed, degraded=layer.degraded if layer else ())

    async def start(self, row: ContainerRow) -> ContainerRow:
        """Of one that was there before; rebuilt, without its data, where the engine no longer has it."""
        missing = (await self._engine.inspect(row.engine_key)).phase is Phase.MISSING
        reference = _reference(row)
        changes: dict[str, Any] = {}
        if missing:
            async with self._turns.aside(row.id):
                image = await self._engine.prepare(reference, _unheard, timeout=self._pull_timeout)
                role = row.role
                layer = None if role is None else await self._layers.prepare(role, image, _unheard)
            reference = layer.ref if layer else image.ref
            changes = {
                "reason": Reason.RECREATED,
                "message": "The engine had lost the container: it was rebuilt without its data.",
                "degraded": layer.degraded if layer else (),
            }
        await self._guests.expect(row.engine_key)
        observed = await self._engine.start(_spec(row, reference))
        await self._answering(row)
        return await self._running(row, observed, **changes)

    def ended(self, observation: Observation) -> None:
        """Told by the watch: whoever waits for the guest of this container need not wait any longer."""
        waiting = self._waiting.get(observation.engine_key)
        if waiting is not None and not waiting.done():
            waiting.set_result(observation)

    async def _image(self, row: ContainerRow) -> tuple[ContainerRow, Image]:
        row = await self._tell(row, Stage.PULLING)
        async with self._reported(row, Stage.PULLING) as (progress, latest), self._turns.aside(row.id):
            image = await self._engine.prepare(_reference(row), progress, timeout=self._pull_timeout)
        return latest(), image

    async def _layer(self, row: ContainerRow, image: Image) -> tuple[ContainerRow, Layer | None]:
        if (role := row.role) is None:
            return row, None
        baked = await self._layers.baked(role, image)
        if baked is not None:
            return row, baked
        row = await self._tell(row, Stage.CONFIGURING)
        async with self._reported(row, Stage.CONFIGURING) as (progress, latest), self._turns.aside(row.id):
            layer = await self._layers.prepare(role, image, progress)
        return latest(), layer

    async def _answering(self, row: ContainerRow) -> None:
        """Until the guest answers. Raises `Broken` (`setup_failed`) with its last words when it does not."""
        died: asyncio.Future[Observation] = asyncio.get_running_loop().create_future()
        self._waiting[row.engine_key] = died
        answer = asyncio.create_task(self._guests.wait(row.engine_key, self._guest_timeout))
        try:
            waited: list[asyncio.Future[Any]] = [answer, died]
            done, _ = await asyncio.wait(waited, timeout=_UNSEEN, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                await self._look(row.engine_key)
                await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise Unavailable(ended(died.result())[2], code="guest_unreachable")
            answer.result()
        except Unavailable as error:
            if error.code != "guest_unreachable":
                raise
            words = await self._last_words(row.engine_key)
            message = f"The container did not get ready: {error.message}" + (
                f" Its last words: {words}" if words else ""
            )
            raise Broken(message, code=Reason.SETUP_FAILED) from error
        finally:
            self._waiting.pop(row.engine_key, None)
            answer.cancel()
            await asyncio.wait([answer])

    async def _look(self, engine_key: str) -> None:
        """It may have ended before anybody waited for its guest."""
        with suppress(RexecError):
            observed = await self._engine.inspect(engine_key)
            if observed.phase in (Phase.EXITED, Phase.MISSING):
                self.ended(observed)

    async def _last_words(self, engine_key: str) -> str:
        with suppress(RexecError):
            return _said(await self._engine.logs(engine_key, tail=_LAST_LINES))
        return ""

    async def _running(self, row: ContainerRow, observed: Observation, **changes: Any) -> ContainerRow:
        now = self._clock()
        async with self._database.transaction() as tx:
            await tx.users.lock(row.user_id)
            moved = await transition(
                tx, row, Status.RUNNING, now, stage=Stage.READY, progress=100,
                engine_id=observed.engine_id, ip_address=observed.ip_address, started_at=observed.started_at or now,
                enforced=observed.enforced, **{"reason": None, "message": None, **changes},
            )  # fmt: skip
            if moved is None:
                raise Superseded
            if row.status is Status.CREATING:
                await tell(tx, moved, PROGRESS, _progress(moved, MESSAGES[Stage.READY], None), now)
        return moved

    async def _tell(self, row: ContainerRow, stage: Stage, part: PullProgress | None = None) -> ContainerRow:
        """Write and tell one stage; progress that would fall stays where it is (a creation that goes on after a crash
        passes its stages again)."""
        now, text = self._clock(), (part.message if part else None) or MESSAGES[stage]
        progress = max(row.progress, at(stage, part))
        async with self._database.transaction() as tx:
            await tx.users.lock(row.user_id)
            told = await tx.containers.update(row, stage=stage, progress=progress, message=text)
            if told is None:
                raise Superseded
            await tell(tx, told, PROGRESS, _progress(told, text, part), now)
        return told

    @asynccontextmanager
    async def _reported(self, row: ContainerRow, stage: Stage) -> AsyncGenerator[tuple[ProgressCallback, Any], None]:
        """A callback for progress within a stage, written at most four times a second; and the row as last written."""
        grew, over = asyncio.Event(), asyncio.Event()
        state: dict[str, Any] = {"row": row, "part": None}

        def progress(part: PullProgress) -> None:
            state["part"] = part
            grew.set()

        async def write() -> None:
            """Waits first: the stage itself was told just now. What comes too soon at the end is left out, for the next
            stage says more; but not when it is all there is."""
            told = False
            while True:
                pause = max(1 / _MESSAGES_PER_SECOND, self._reporting / _ALL_MESSAGES_PER_SECOND)
                due = not await _within(pause, over)
                await grew.wait()
                grew.clear()
                part, state["part"] = state["part"], None
                if part is not None and (due or not told):
                    state["row"], told = await self._tell(state["row"], stage, part), True
                if over.is_set() and state["part"] is None:
                    return

        self._reporting += 1
        writing = asyncio.create_task(write())
        try:
            yield progress, lambda: state["row"]
        finally:
            self._reporting -= 1
            # Ended between two writes, never within one: a row must not be written behind its reader's back.
            over.set()
            grew.set()
            await asyncio.wait([writing])
        if (error := writing.exception()) is not None:
            raise error


async def _within(seconds: float, event: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False


def _progress(row: ContainerRow, message: str, part: PullProgress | None) -> dict[str, Any]:
    data = {"id": row.id, "stage": str(row.stage), "message": message, "progress": row.progress}
    if part is not None:
        data["detail"] = {"layer": part.layer, "current": part.current, "total": part.total}
    return data


def _reference(row: ContainerRow) -> str:
    return row.custom_image or row.image


def _unheard(progress: PullProgress) -> None:
    """A start tells no progress."""


def _spec(row: ContainerRow, image: str) -> Spec:
    return Spec(engine_key=row.engine_key, image=image, limits=row.limits, hostname=row.id.split("-")[0])


def _said(logged: bytes) -> str:
    begins = max(logged.rfind(death) for death in _DEATHS)
    words = logged[-_LAST_WORDS:] if begins < 0 else logged[begins:].partition(b"\n\n")[0][:_LAST_WORDS]
    return words.decode(errors="replace").strip()
