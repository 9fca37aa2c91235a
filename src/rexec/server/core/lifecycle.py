"""How a container's status may move, and the only place that moves it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from rexec.errors import Broken, Conflict
from rexec.server.core.describe import describe
from rexec.server.ports.records import ContainerRow, Observation, Phase, Reason, Status, Target
from rexec.server.ports.store import ContainerFilter, Transaction

MOVES: Mapping[Status, frozenset[Status]] = {
    Status.CREATING: frozenset({Status.RUNNING, Status.STOPPING, Status.ERROR, Status.DELETED}),
    Status.RUNNING: frozenset(
        {Status.PAUSED, Status.STOPPING, Status.STOPPED, Status.STARTING, Status.ERROR, Status.DELETED}
    ),
    Status.PAUSED: frozenset(
        {Status.RUNNING, Status.STOPPING, Status.STOPPED, Status.STARTING, Status.ERROR, Status.DELETED}
    ),
    Status.STOPPING: frozenset({Status.STOPPED, Status.ERROR, Status.DELETED}),
    Status.STOPPED: frozenset({Status.STARTING, Status.ERROR, Status.DELETED}),
    Status.STARTING: frozenset({Status.RUNNING, Status.STOPPING, Status.ERROR, Status.DELETED}),
    Status.ERROR: frozenset({Status.STARTING, Status.DELETED}),
    Status.DELETED: frozenset(),
}


class Action(StrEnum):
    """What the reconciler does next with one container."""

    NOTHING = "nothing"
    CREATE = "create"
    START = "start"
    STOP = "stop"
    PAUSE = "pause"
    RESUME = "resume"
    DELETE = "delete"


_PLANS: Mapping[Status, Mapping[Target, Action]] = {
    Status.CREATING: {Target.RUNNING: Action.CREATE, Target.PAUSED: Action.CREATE, Target.STOPPED: Action.STOP},
    Status.RUNNING: {Target.PAUSED: Action.PAUSE, Target.STOPPED: Action.STOP},
    Status.PAUSED: {Target.RUNNING: Action.RESUME, Target.STOPPED: Action.STOP},
    Status.STOPPING: dict.fromkeys((Target.RUNNING, Target.PAUSED, Target.STOPPED), Action.STOP),
    Status.STARTING: {Target.RUNNING: Action.START, Target.PAUSED: Action.START, Target.STOPPED: Action.STOP},
    Status.STOPPED: {},
    Status.ERROR: {},
    Status.DELETED: {},
}


_SWITCHED = frozenset({Status.RUNNING, Status.PAUSED})
REFUSED: Mapping[str, frozenset[Status]] = {
    "start": frozenset({Status.STOPPING}),
    "stop": frozenset({Status.CREATING, Status.ERROR}),
    "pause": frozenset(Status) - _SWITCHED,
    "resume": frozenset(Status) - _SWITCHED,
}
"""Where what a user asks for is a conflict with where the container is."""


def check(row: ContainerRow, verb: str) -> None:
    """Raises `Conflict` (`wrong_state`)."""
    if row.status in REFUSED[verb]:
        raise wrong_state(row, verb)


def wrong_state(row: ContainerRow, verb: str) -> Conflict:
    return Conflict(f"cannot {verb} a container that is {row.status}", code="wrong_state", status=str(row.status))


def plan(status: Status, target: Target) -> Action:
    """The next step from where a container is to where it should be. `stopped` and `error` are left by a start only,
    which passes the limits and says `starting` in its own transaction."""
    if target is Target.DELETED:
        return Action.NOTHING if status is Status.DELETED else Action.DELETE
    return _PLANS[status].get(target, Action.NOTHING)


def ended(observation: Observation) -> tuple[Status, Reason, str]:
    """What an observed end of a container that should run makes of it."""
    code = observation.exit_code
    if observation.phase is Phase.MISSING:
        return Status.ERROR, Reason.LOST, "The container is gone from the engine; a start rebuilds it without its data."
    if observation.out_of_memory:
        return Status.ERROR, Reason.OUT_OF_MEMORY, "The container ran out of memory."
    if code == 0:
        return Status.STOPPED, Reason.EXITED, "The container was shut down from inside."
    if code == _LOST_BY_ENGINE:
        return Status.STARTING, Reason.ENGINE_RESTARTED, "The engine or its host restarted; the container starts again."
    if code == _KILLED:
        return Status.ERROR, Reason.KILLED, "The container was killed from outside."
    return Status.ERROR, Reason.EXITED, f"The container's first process ended with code {code}."


_LOST_BY_ENGINE = 255
"""Docker's exit code for a container whose end it did not see: the host went down."""
_KILLED = 137

_EVENTS = {
    Status.RUNNING: "container_started",
    Status.PAUSED: "container_paused",
    Status.STOPPED: "container_stopped",
    Status.ERROR: "container_error",
}


async def transition(
    tx: Transaction, row: ContainerRow, status: Status, now: datetime, **changes: Any
) -> ContainerRow | None:
    """Move `row` to `status`, with its event in the same transaction; None when somebody else moved it first.

    `reason` and `message` are cleared unless given. Raises `Broken` for a move that is not in `MOVES`."""
    if status not in MOVES[row.status]:
        raise Broken(f"a container cannot go from {row.status} to {status}", code="illegal_move")
    await tx.users.lock(row.user_id)
    wanted = {"reason": None, "message": None, "attempts": 0, **changes}
    settled = str(status) == str(wanted.get("target", row.target)) or status in (Status.ERROR, Status.DELETED)
    moved = await tx.containers.update(row, status=status, settled_at=now if settled else None, **wanted)
    if moved is None:
        return None
    if status is not Status.DELETED:
        resumed = row.status is Status.PAUSED and status is Status.RUNNING
        event = "container_resumed" if resumed else _EVENTS.get(status, "container_updated")
        await tell(tx, moved, event, describe(moved, now), now)
    tx.after_commit("work")
    return moved


async def tell(tx: Transaction, row: ContainerRow, type: str, data: Mapping[str, Any], now: datetime) -> None:
    """One entry of the owner's event log, and a wake for who reads it."""
    await tx.events.append(row.user_id, type, row.id, data, now)
    tx.after_commit(f"user:{row.user_id}", f"container:{row.id}")


async def retire(tx: Transaction, user_id: str, reason: Reason, message: str, now: datetime) -> None:
    """All containers of an account that ended are deleted; its row is locked."""
    for row in await tx.containers.list(ContainerFilter(user_id, limit=10_000)):
        gone = await tx.containers.update(
            row, deleted_at=now, target=Target.DELETED, attempts=0, reason=reason, message=message
        )
        if gone is not None:
            await tell(tx, gone, "container_deleted", describe(gone, now), now)
    tx.after_commit("work")
