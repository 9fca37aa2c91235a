"""What a reader that is behind is told of a creation's progress."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rexec.server.core.events import PROGRESS, coalesced
from rexec.server.ports.records import EventRow

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
