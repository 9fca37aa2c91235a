"""What is told of a creation's progress, and what of it to a reader that is behind."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from world import world

from rexec.server.core.events import PROGRESS, coalesced
from rexec.server.ports.records import EventRow, PullProgress

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def _event(seq: int, type: str, container: str, **data: Any) -> EventRow:
    return EventRow("usr", seq, type, container, {"id": container, **data}, NOW)


def test_of_each_stage_the_last_progress_is_told_and_all_else_whole() -> None:
    rows = [
        _event(1, "container_created", "a"),
        _event(2, PROGRESS, "a", stage="pulling", progress=10),
        _event(3, PROGRESS, "b", stage="pulling", progress=5),
        _event(4, PROGRESS, "a", stage="pulling", progress=20),
        _event(5, "container_updated", "a"),
        _event(6, "container_updated", "a"),
        _event(7, PROGRESS, "a", stage="creating", progress=60),
    ]
    assert [row.seq for row in coalesced(rows)] == [1, 3, 4, 5, 6, 7]


async def told(folder: Path, *parts: PullProgress) -> tuple[list[int], float]:
    """The bytes that a creation told of its pull, and the seconds that it took."""
    async with world(folder) as w:
        w.engine.parts = parts
        begin = time.monotonic()
        row = await w.running()
        details = [event.data["detail"] for event in await w.events(row.id) if "detail" in event.data]
        return [detail["current"] for detail in details], time.monotonic() - begin


async def test_of_a_pull_at_most_four_parts_a_second_are_told(tmp_path: Path) -> None:
    current, seconds = await told(tmp_path, *(PullProgress("layer", part, 100) for part in range(100)))
    assert 1 < len(current) <= 4 * seconds
    assert current == sorted(current)


async def test_of_a_short_pull_its_end_is_told(tmp_path: Path) -> None:
    current, _ = await told(tmp_path, *(PullProgress("layer", part, 3) for part in (1, 2, 3)))
    assert current == [3]
