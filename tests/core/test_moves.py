"""The table of moves, the planner, and what an observed end makes of a container."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from contracts.rows import NOW, container, user
from rexec.errors import Broken
from rexec.server.api.gate import is_public
from rexec.server.app import create_api
from rexec.server.bus import LocalBus
from rexec.server.core.access import SCOPES
from rexec.server.core.lifecycle import MOVES, Action, ended, plan, transition
from rexec.server.ports.records import Observation, Phase, Reason, Status, Target
from rexec.server.store import SqlDatabase, migrate

ROOT = Path(__file__).parents[2]


def test_every_plan_leads_towards_its_target_and_deletion_is_always_possible() -> None:
    for status in Status:
        for target in Target:
            action = plan(status, target)
            if target is Target.DELETED:
                assert action is (Action.NOTHING if status is Status.DELETED else Action.DELETE)
            if str(status) == str(target):
                assert action is Action.NOTHING
        assert status is Status.DELETED or Status.DELETED in MOVES[status]


@pytest.mark.parametrize(
    ("observation", "status", "reason"),
    [
        (Observation("k", Phase.EXITED, exit_code=0), Status.STOPPED, Reason.EXITED),
        (Observation("k", Phase.EXITED, exit_code=1), Status.ERROR, Reason.EXITED),
        (Observation("k", Phase.EXITED, exit_code=137), Status.ERROR, Reason.KILLED),
        (Observation("k", Phase.EXITED, exit_code=137, out_of_memory=True), Status.ERROR, Reason.OUT_OF_MEMORY),
        (Observation("k", Phase.EXITED, exit_code=255), Status.STARTING, Reason.ENGINE_RESTARTED),
        (Observation("k", Phase.MISSING), Status.ERROR, Reason.LOST),
    ],
)
def test_an_end_has_its_status_and_reason(observation: Observation, status: Status, reason: Reason) -> None:
    assert ended(observation)[:2] == (status, reason)
    assert status in MOVES[Status.RUNNING]


async def test_a_move_is_written_with_its_event_or_not_at_all(tmp_path: Path) -> None:
    owner = user()
    row = container(owner)
    path = str(tmp_path / "db")
    await migrate.main(path)
    async with SqlDatabase(path, LocalBus()) as database:
        async with database.transaction() as tx:
            await tx.users.insert(owner)
            await tx.containers.insert(row)
        with pytest.raises(Broken):
            async with database.transaction() as tx:
                await transition(tx, row, Status.PAUSED, NOW)
        async with database.transaction() as tx:
            moved = await transition(tx, row, Status.RUNNING, NOW, progress=100)
            assert moved is not None
            assert await transition(tx, row, Status.ERROR, NOW) is None
        async with database.reading() as tx:
            [event] = await tx.events.after(owner.id, 0, 10)
        assert (event.type, event.data["status"], event.data["progress"]) == ("container_started", "running", 100)


@pytest.mark.parametrize("script", ["lifecycle-docs", "route-docs"])
def test_the_generated_pages_are_current(script: str) -> None:
    ran = subprocess.run(
        [sys.executable, ROOT / "scripts" / script, "--check"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_route_has_a_scope_or_is_public_on_purpose() -> None:
    for path, verbs in create_api().openapi()["paths"].items():
        for verb, told in verbs.items():
            assert (told.get("x-scope") in SCOPES) != is_public(path), f"{verb} {path}"
            assert told["summary"], f"{verb} {path}"
            of_all = {"400", "401", "403", "429", "503"} if told.get("x-scope") else {"200"}
            assert of_all <= told["responses"].keys(), f"{verb} {path}"
